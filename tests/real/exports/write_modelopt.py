"""Files that NVIDIA's ModelOpt writes: of a PyTorch network, and of an ONNX file.

python write_modelopt.py SETTING FILE
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from digits_network import digits_network, export, feeds, float_file, for_training, main, train


def of_torch(target: Path, config: str = "INT8_DEFAULT_CFG", trains: bool = False, **settings):
    """`mtq.quantize`, its ranges calibrated, then trained where asked, and `torch.onnx.export`."""
    import modelopt.torch.quantization as mtq
    import torch

    network = train(digits_network())
    samples = torch.from_numpy(for_training()[0][:200])
    quantized = mtq.quantize(network, getattr(mtq, config), lambda model: model(samples))
    if trains:
        train(quantized.train(), epochs=1, rate=5e-4)
    export(quantized.eval(), target, **({"opset_version": 17} | settings))


def of_onnx(target: Path, **settings) -> None:
    from modelopt.onnx.quantization import quantize

    quantize(
        str(float_file(target.parent)),
        quantize_mode="int8",
        calibration_data={"digit": np.concatenate([feed["digit"] for feed in feeds()])},
        calibration_eps=["cpu"],
        output_path=str(target),
        **settings,
    )


SETTINGS = {
    "torch": of_torch,
    "torch_qat": lambda to: of_torch(to, trains=True),
    "onnx_entropy": lambda to: of_onnx(to, calibration_method="entropy"),
    "onnx_max": lambda to: of_onnx(to, calibration_method="max"),
    "onnx_float16": lambda to: of_onnx(to, high_precision_dtype="fp16"),
}

if __name__ == "__main__":
    main(SETTINGS)
