"""Files that Qualcomm's AIMET (aimet-onnx) writes of an ONNX file.

python write_aimet.py SETTING FILE
"""

from __future__ import annotations

from pathlib import Path

import onnx
from aimet_onnx.quantsim import QuantizationSimModel
from digits_network import feeds, float_file, main


def qdq(target: Path, opset: int = 17, folds: bool = True, types: dict | None = None, **settings):
    """A simulation, its encodings computed, as QuantizeLinear and DequantizeLinear."""
    model = onnx.load(str(float_file(target.parent, opset=opset)))
    if folds:
        from aimet_onnx.batch_norm_fold import fold_all_batch_norms_to_weight

        fold_all_batch_norms_to_weight(model)
    simulation = QuantizationSimModel(model, **(types or {}))
    simulation.compute_encodings(feeds())
    onnx.save(simulation.to_onnx_qdq(**settings), str(target))


SETTINGS = {
    "qdq": qdq,
    "stored_integers": lambda to: qdq(to, prequantize_constants=True, export_int32_bias=True),
    "signed": lambda to: qdq(to, force_activation_as="signed"),
    "bias_int32": lambda to: qdq(to, export_int32_bias=True),
    "opset_20": lambda to: qdq(to, opset=20),
    "normalizations_left": lambda to: qdq(to, folds=False),
    "with_16_bits": lambda to: qdq(to, opset=20, types={"activation_type": "int16"}),
}

if __name__ == "__main__":
    main(SETTINGS)
