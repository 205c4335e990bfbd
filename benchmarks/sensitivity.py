"""The ranking of a ResNet-50's layers by sensitivity: ours against the naive loop's, and its cost.

    python -m benchmarks.sensitivity [--side 224] [--width 1.0] [--samples 32] [--contender ours]

The network is transformers' ResNetForImageClassification of ResNet-50's depths with random weights
of a fixed seed, whose normalizations have seen some pictures; `--side` and `--width` make it
smaller. Each contender works in a process of its own, from the float ONNX file and the samples to a
figure for each of the 54 layers, the SQNR at the output with that layer alone quantized.

naive   onnxruntime.quantization.quantize_static with nodes_to_quantize=[one layer], then inference
        over all samples, for each layer
ours    `analysis.ranking`: calibrated once, quantized in memory, suffixes only, with as many
        samples as the order needs
aimet   aimet_onnx's analyze_per_layer_sensitivity, where it is installed

Ours is told with and without the calibration, which the recipe needs in any case. Seconds are of
the CPU, with all threads, without imports. Results that were measured before are
taken from `--kept DIR` (a JSON for each contender), so that one can be run again by itself.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks import sensitivity_contenders as contenders

CONTENDERS = tuple(contenders.CONTENDERS)
SEED, CLASSES = 0, 1000
OPSET = 18


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=224, help="pixels")
    parser.add_argument("--width", type=float, default=1.0, help="times ResNet-50's channels")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument(
        "--depths", type=int, nargs=4, default=(3, 4, 6, 3), help="bottlenecks of the four stages"
    )
    parser.add_argument("--contender", action="append", choices=CONTENDERS)
    parser.add_argument("--kept", type=Path, help="where network and results stay")
    parser.add_argument("--child", choices=CONTENDERS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(run(asked.child, asked.kept)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        compare(asked, asked.kept or Path(scratch))


def compare(asked, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "float.onnx").is_file():
        write_network(folder, asked.side, asked.width, asked.samples, asked.depths)
    results = {}
    for name in CONTENDERS:
        file = folder / f"{name}.json"
        if not file.is_file() or name in (asked.contender or ()):
            if asked.contender and name not in asked.contender:
                continue
            if name == "aimet" and importlib.util.find_spec("aimet_onnx") is None:
                print("aimet: absent (aimet-onnx is not installed here)")
                continue
            file.write_text(in_a_process(name, folder))
        results[name] = json.loads(file.read_text())
        print(f"{name}: {results[name]['cpu_s']:.1f} CPU s, {results[name]['wall_s']:.1f} s")
        if "calibration_cpu_s" in results[name]:
            print(f"    of these {results[name]['calibration_cpu_s']:.1f} CPU s for calibration")
    for name in ("ours", "aimet"):
        if {name, "naive"} <= results.keys():
            layers = [
                each for each in results["naive"]["sqnr_db"] if each in results[name]["sqnr_db"]
            ]
            columns = [[results[n]["sqnr_db"][each] for each in layers] for n in ("naive", name)]
            rank = float(spearmanr(*columns).statistic)
            print(f"{name} against naive: Spearman {rank:.4f} over {len(layers)} layers")


def in_a_process(name: str, folder: Path) -> str:
    command = [sys.executable, "-m", "benchmarks.sensitivity", "--child", name, "--kept", folder]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


def run(name: str, folder: Path) -> dict:
    """SQNR in dB by layer, and seconds."""
    found = contenders.CONTENDERS[name](folder / "float.onnx", folder / "samples.npy")
    return {"sqnr_db": found.sqnr_db, "cpu_s": found.cpu_s, "wall_s": found.wall_s} | found.about


def write_network(
    folder: Path, side: int, width: float, samples: int, depths: Sequence[int]
) -> None:
    """The float file, ready to quantize, and pictures (n, side, side, 3) of 0..1."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    from int8gate.calibration_data import load
    from int8gate.quantizers.toolchains.onnx.from_torch import quiet
    from int8gate.quantizers.toolchains.onnx.prepare import prepare

    drawn = load("classification", "evaluation", (side, side), 3)
    pictures = next(drawn.batches(samples))[0].astype(np.float32) / 255
    np.save(folder / "samples.npy", pictures)
    torch.manual_seed(SEED)
    config = ResNetConfig(
        embedding_size=round(64 * width),
        hidden_sizes=[round(channels * width) for channels in (256, 512, 1024, 2048)],
        depths=list(depths),
        num_labels=CLASSES,
    )
    network = ResNetForImageClassification(config).train()
    turned = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())
    with torch.no_grad(), quiet():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the mean over what it sees
        network(turned)
        exported = torch.onnx.export(
            logits_of(network.eval()),
            (turned[:1],),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            verbose=False,
        )
        exported.save(str(folder / "exported.onnx"), external_data=False)
    prepare(folder / "exported.onnx", folder / "float.onnx")


def logits_of(network):
    """A module of pictures to logits alone."""
    import torch

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, pictures):
            return self.network(pictures).logits

    return Logits()


if __name__ == "__main__":
    main()
