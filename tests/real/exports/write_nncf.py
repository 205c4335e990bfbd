"""Files that NNCF writes: of an ONNX file, and of a PyTorch network that it wrapped.

python write_nncf.py SETTING FILE
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("NNCF_EXTENSION_LOAD_TIMEOUT", "0")  # it compiles for minutes, once

import nncf
import numpy as np
import onnx
from digits_network import digits_network, export, feeds, float_file, for_evaluation, main, train


def of_onnx(target: Path, **settings) -> None:
    model = onnx.load(str(float_file(target.parent)))
    data = nncf.Dataset(feeds())
    onnx.save(nncf.quantize(model, data, subset_size=200, **settings), str(target))


def of_torch(target: Path, strips: bool = True, **settings) -> None:
    """`nncf.quantize` of the module, `nncf.strip`, and the export, as NNCF documents them."""
    import torch

    network = train(digits_network())
    samples = [torch.from_numpy(feed["digit"]) for feed in feeds()]
    data = nncf.Dataset(samples)
    quantized = nncf.quantize(network, data, subset_size=200)
    if strips:
        quantized = nncf.strip(quantized, do_copy=False, example_input=samples[0])
    export(quantized, target, **({"opset_version": 17} | settings))
    with torch.no_grad():  # ONNX Runtime has no kernel for OpenVINO's operators in it
        scores = quantized(torch.from_numpy(for_evaluation()[0]))
    np.save(target.with_suffix(".npy"), scores.numpy())


SETTINGS = {
    "onnx": of_onnx,
    "onnx_mixed": lambda to: of_onnx(to, preset=nncf.QuantizationPreset.MIXED),
    "onnx_for_npu": lambda to: of_onnx(to, target_device=nncf.TargetDevice.NPU),
    "torch": of_torch,
    "torch_unstripped": lambda to: of_torch(to, strips=False),
}

if __name__ == "__main__":
    main(SETTINGS)
