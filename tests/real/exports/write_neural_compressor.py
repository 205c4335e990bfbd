"""Files of Intel's Neural Compressor: its PyTorch half goes by PT2E, its ONNX half is a package of
its own (onnx-neural-compressor).

    python write_neural_compressor.py SETTING FILE
"""

from __future__ import annotations

from pathlib import Path

from digits_network import SHAPE, digits_network, export, feeds, float_file, main, train


def of_torch(target: Path) -> None:
    import torch
    from neural_compressor.torch.export import export as exported
    from neural_compressor.torch.quantization import convert, get_default_static_config, prepare

    free = {0: torch.export.Dim("batch", min=1, max=1024)}
    example = (torch.rand(4, *SHAPE[1:]),)
    program = exported(train(digits_network()), example, dynamic_shapes=(free,))
    prepared = prepare(program, get_default_static_config())
    for feed in feeds():
        prepared(torch.from_numpy(feed["digit"]))
    export(convert(prepared), target, dynamo=True, opset_version=20)


def of_onnx(target: Path) -> None:
    from onnx_neural_compressor.data_reader import CalibrationDataReader
    from onnx_neural_compressor.quantization import QuantFormat, quantize
    from onnx_neural_compressor.quantization.config import StaticQuantConfig

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rewind()

        def get_next(self) -> dict | None:
            return next(self._left, None)

        def rewind(self) -> None:
            self._left = iter(feeds())

    config = StaticQuantConfig(calibration_data_reader=Reader(), quant_format=QuantFormat.QDQ)
    quantize(str(float_file(target.parent)), str(target), config)


SETTINGS = {"torch": of_torch, "onnx": of_onnx}

if __name__ == "__main__":
    main(SETTINGS)
