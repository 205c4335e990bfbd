"""Our recipes beside other quantizers, on the same float files and the same calibration samples.

    python -m benchmarks.peers vit efficientnet_b0 --environments ~/peers [--recipe onnx_int8+cle]
        [--wide 6]

Each model of the zoo (compact profile) is exported once. What quantizes it runs in a process of its
own, from float file and samples to a quantized file; a peer in an environment of its own
(`peer_environments.py`), which is made below `--environments` where it is not there yet. One that
cannot be made, or does not take the file, is reported with the reason. A float `.tflite` goes to
the peers of ONNX by tf2onnx, which writes the same network as `.onnx`. `--wide N` adds each of our
recipes with the N layers that lose most left in float32, as some peers leave layers: their order is
that of `analysis.sensitivity` on the first 64 evaluation samples.

All files are scored by our evaluation, on the same samples, against the float artifact: the task's
metric, its drop with the upper 95% bound (paired), SQNR at the output, and of the logits where the
output is a softmax; the share of multiply-accumulates (ONNX) or operators (TFLite) that compute on
integers, which says what the accuracy was bought with; CPU seconds and peak memory of calibration
and quantization, without imports; size; and host latency, in turn with the float file. ONNX files
run with exact sums (`runtimes.ort.sums`) on every host.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.peer_environments import ENVIRONMENTS, Absent, python_of
from benchmarks.peer_settings import SETTINGS, Setting
from int8gate.cli.opened_case import calibrated_recipe, opened_pipeline
from int8gate.quantizers.declared_recipes import declared_model
from int8gate.quantizers.recipe import recipe
from int8gate.runtimes.artifact import TFLITE

HERE = Path(__file__).parent
COLUMNS = ("quantizer", "setting", "metric", "drop", "up to", "SQNR", "logits", "integer", "CPU s")
COLUMNS += ("peak MB", "KB", "ms", "times float")
WIDTH = 200


@dataclass(frozen=True)
class Material:
    """The files of a model that quantizers start from, by what they are called in `Setting`.

    `onnx` is the float artifact, or what tf2onnx made of it; `saved_model` there is of Keras alone.
    """

    files: dict[str, Path]
    samples: Path

    def source(self, setting: Setting) -> Path:
        if setting.takes not in self.files:
            raise Absent(f"takes a {setting.takes}, and the model comes as none")
        return self.files[setting.takes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", help="names of the zoo")
    parser.add_argument("--environments", type=Path, required=True, help="where the peers' are")
    parser.add_argument("--recipe", action="append", help="of ours; the default one by default")
    parser.add_argument("--wide", action="append", type=int, help="ours with N layers in float32")
    parser.add_argument("--peer", action="append", choices=[*ENVIRONMENTS], help="only these")
    parser.add_argument("--samples", type=int, help="of the evaluation set; all by default")
    parser.add_argument("--artifact-cache", help="a directory, or none")
    asked = parser.parse_args()
    for name in asked.models:
        compare(name, asked)


def compare(name: str, asked: argparse.Namespace) -> None:
    from benchmarks.peer_scores import Judge

    spec = declared_model(name, None)
    first = calibrated_recipe(spec, "there is nothing to compare")
    recipes = [recipe(each) for each in asked.recipe or [first.name]]
    recipes = [each for each in recipes if each.toolchain == first.toolchain]
    table = Table(*COLUMNS, title=f"{name}, against float {first.toolchain}", show_edge=False)
    console = Console(width=WIDTH)
    with (
        opened_pipeline(spec, first, asked.artifact_cache, "compact") as pipeline,
        tempfile.TemporaryDirectory() as scratch,
    ):
        judge = Judge(spec, first, pipeline, asked.samples)
        material = _material(judge, Path(scratch), asked.environments)
        pixels = {"pixel_range": spec.preprocessing.range}
        ours = [(each.name, {}) for each in recipes]
        for each in recipes if asked.wide else ():
            worst = _worst_layers(pipeline, spec, each)
            ours += [(f"{each.name}, {n} float", {"float32": worst[:n]}) for n in asked.wide]
        form = judge.float_file.suffix[1:]
        chosen = [Setting("ours", name, form, pixels | wide) for name, wide in ours]
        chosen += [each for each in SETTINGS if not asked.peer or each.peer in asked.peer]
        for number, setting in enumerate(chosen):
            console.log(f"{name}: {setting.peer} {setting.name}")
            folder = Path(scratch) / str(number)
            folder.mkdir()
            try:
                found = _quantized(setting, material, folder, asked.environments)
                row = judge.row(folder / found["file"], found)
            except Absent as absent:
                row = [f"absent: {absent}"]
            table.add_row(setting.peer, setting.name, *row)
            console.log("  ".join(row))  # whatever happens to the rest
    console.print(table)


def _worst_layers(pipeline, spec, chosen) -> list[str]:
    """Names of the recipe's layers, the one that loses most alone first."""
    from int8gate.analysis.sensitivity import measure

    found = measure(pipeline, spec, chosen, samples=64, with_metric=False)
    return [row.layer.name for row in found.rows]


def _material(judge, scratch: Path, environments: Path) -> Material:
    floats, files = judge.float_file, {}
    files[floats.suffix[1:]] = floats
    if judge.saved_model:
        files["saved_model"] = judge.saved_model
    if floats.name == TFLITE:
        target = scratch / "float.onnx"
        try:
            command = [python_of("tf2onnx", environments), "-m", "tf2onnx.convert"]
            _run([*command, "--tflite", floats, "--output", target, "--opset", "18"])
            files["onnx"] = target
        except Absent as absent:
            print(f"no float ONNX file for the peers that take one: {absent}")
    return Material(files, judge.samples)


def _quantized(setting: Setting, material: Material, folder: Path, environments: Path) -> dict:
    """What the contender's process says: `file` in the folder, `cpu_s`, `peak_mb`."""
    source = material.source(setting)
    own = folder / f"float{source.suffix}"  # some write beside what they read
    shutil.copytree(source, own) if source.is_dir() else shutil.copyfile(source, own)
    if setting.peer == "ours":
        command = [sys.executable, HERE / "peer_ours.py", setting.name.partition(",")[0]]
    else:
        python = python_of(setting.peer, environments)
        command = [python, HERE / "peer_contenders.py", setting.peer]
    told = _run([*command, own, material.samples, folder, json.dumps(setting.options)])
    return json.loads(told.splitlines()[-1])


def _run(command: list, run: Callable = subprocess.run) -> str:
    done = run([str(part) for part in command], capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise Absent(lines[-1][:120] if lines else f"exit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
