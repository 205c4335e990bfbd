"""The file to ship, out of the cache: under the name of its case, with a description beside it."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

from int8gate.engine import atomic_file
from int8gate.runtimes.artifact import sha256_of
from int8gate.runtimes.file_names import ARTIFACT
from int8gate.validation.case_summary import case_key


def export(record: dict, directory: Path) -> Path:
    """Copies the artifact of a case record to `directory`; returns the path of the copy.

    The copy is ``unet-tflite_int8.tflite``; ``unet-tflite_int8.json`` beside it says its sha256,
    its inputs and outputs with dtype, scale and zero point, and the verdict. An ONNX file with
    weights beside itself, which it knows by their name, goes to a folder ``NAME-onnx_int8/`` with
    them. Raises ValueError for an artifact that is gone or is not the one of the record, OSError
    where nothing can be written.
    """
    case, artifact = case_key(record), record.get("artifact") or {}
    source = Path(artifact.get("path") or "")
    if not source.is_file():
        raise ValueError(
            f"{case}: its artifact {source} is gone: run it again, without --artifact-cache=none"
        )
    if sha256_of(source) != artifact["sha256"]:
        raise ValueError(f"{case}: {source} is not the file that was gated: run it again")
    target = directory / f"{_stem(case)}{source.suffix}"
    if weights := sorted(source.parent.glob(f"{source.name}?*")):
        target = directory / _stem(case) / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    for file in weights:
        shutil.copyfile(file, target.parent / file.name)
    atomic_file.write(target, source.read_bytes())
    facts = _facts(record, target.relative_to(directory))
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    atomic_file.write(directory / f"{_stem(case)}.json", f"{text}\n".encode())
    return target


def withdraw(record: dict, directory: Path) -> None:
    """Removes what an earlier run exported of a case, which may not ship any more."""
    stem = _stem(case_key(record))
    for suffix in ("json", *ARTIFACT):
        (directory / f"{stem}.{suffix}").unlink(missing_ok=True)
    shutil.rmtree(directory / stem, ignore_errors=True)


def _facts(record: dict, file: Path) -> dict:
    io = record.get("io") or {}
    return {
        "file": file.as_posix(),
        "sha256": record["artifact"]["sha256"],
        "model": record["model"],
        "recipe": record["recipe"],
        "profile": record["profile"],
        "verdict": record.get("verdict"),
        "inputs": io.get("inputs"),
        "outputs": io.get("outputs"),
        "int8gate": version("int8gate"),
    }


def _stem(case: str) -> str:
    """The case as a file name; that of the other profile is ``full:unet-tflite_int8``."""
    return case.replace(":", "-")
