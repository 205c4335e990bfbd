"""The file of accepted results: TOML that people review, predictions in a folder beside it.

A case is a table `[cases.unet-tflite_int8]`; cases, and the environments that they name, stand in
the order of their names, so that a pull request shows what changed and nothing else. The
predictions go to `FILE.predictions/`, which belongs into the repository as the file does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from int8gate.engine import atomic_file
from int8gate.validation.case_summary import Figures
from int8gate.validation.comparing import sample_scores as predictions
from int8gate.validation.comparing.baseline import Baseline
from int8gate.validation.comparing.baseline_tables import figures_in, tables_of

SCHEMA = 1
HEADER = """\
# Accepted results of int8gate: what each case reached when it was last agreed to.
# `pytest --baseline FILE` fails where a case got worse by more than is allowed; what got better
# passes, and asks to be recorded. `pytest --update-baseline` writes this file: review what changes
# as code, and edit no figure by hand.
#
#   environment  the host and the versions that the figures are of
#   artifact     SHA-256 of the quantized file
#   sqnr_db      signal to quantization noise of the outputs, against the float artifact
#   accuracy     scores on the evaluation set, in the metric's unit; lower_95 and upper_95 bound the
#                quantized one; tolerance is the drop from float that its rule allowed; predictions
#                is the SHA-256 of the samples' scores in the folder beside this file
#   size_bytes   of the files
#   npu          modelled latency, and the share of operators that run on the NPU

"""


def predictions_folder(path: Path) -> Path:
    """`baseline.toml.predictions`, beside the file."""
    return path.with_name(f"{path.name}.predictions")


def read(path: Path) -> Baseline:
    """The baseline of a file.

    Raises FileNotFoundError where there is none, ValueError naming file, table and key of what is
    wrong with it.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"there is no baseline {path}: record one with --update-baseline"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    if content.get("schema") != SCHEMA:
        raise ValueError(
            f"{path}: schema = {content.get('schema')!r}, expected {SCHEMA}: record it again with "
            "--update-baseline"
        )
    return Baseline(MappingProxyType(figures_in(content, str(path))), predictions_folder(path))


def write(path: Path, baseline: Baseline, folders: Iterable[Path] = ()) -> None:
    """Writes the file and the predictions that it refers to, from `folders` or where they were.

    A reference to predictions that are nowhere is left out. The TOML takes its place in one step
    between new predictions and the removal of unused ones: a kill leaves the old file with its
    predictions, or the new one. Raises OSError where it cannot write.
    """
    folder = predictions_folder(path)
    before = [baseline.predictions] if baseline.predictions else []
    sources = [folder, *before, *folders]
    cases = {key: _brought(each, sources, folder) for key, each in baseline.cases.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_file.write(path, render(Baseline(cases)).encode())
    if folder.is_dir():
        used = [each.accuracy.predictions for each in cases.values() if each.accuracy]
        predictions.prune(folder, filter(None, used))


def render(baseline: Baseline) -> str:
    """The text of the file: the same for the same figures, in whatever order the cases came."""
    import tomli_w

    return HEADER + tomli_w.dumps({"schema": SCHEMA, **tables_of(baseline.cases)})


def _brought(figures: Figures, sources: list[Path], folder: Path) -> Figures:
    """The figures, with the predictions that they refer to in `folder`."""
    accuracy = figures.accuracy
    if accuracy is None or accuracy.predictions is None:
        return figures
    try:
        predictions.copy(accuracy.predictions, sources, folder)
    except (FileNotFoundError, ValueError):
        return replace(figures, accuracy=replace(accuracy, predictions=None))
    return figures
