"""Answers that agree with the float model's: of a classifier, whatever shape its scores have."""

from __future__ import annotations

import numpy as np
import onnx_files
import pytest
from data_folders import write

from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.folders import open_data
from int8gate.calibration_data.preprocessing import SIGNED_UNIT
from int8gate.model_zoo.spec import Network
from int8gate.validation.around_network import Scoring
from int8gate.validation.evaluation import evaluate

SIDE = 16
TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, {side}, {side}] image) => (float[1, 5, 1, 1] scores) {{
    scores = Conv <kernel_shape = [{side}, {side}]> (image, w)
}}
"""


@pytest.fixture(scope="module")
def scoring(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(40):
        write(folder / f"{number}.png", number)
    samples = open_data(folder, "other", "evaluation", Fit((SIDE, SIDE)))
    network = Network("", (SIDE, SIDE, 3), (SIDE, SIDE), 5)
    decode = "int8gate.model_zoo.user_models.decoding:rows"
    return Scoring(samples, SIGNED_UNIT, (), network, decode, agreement="classification")


@pytest.mark.parametrize(("sign", "least", "most"), [(1, 1, 1), (-1, 0, 0)])
def test_scores_of_one_place_agree_by_their_class(scoring, sign, least, most, tmp_path):
    kernel = np.random.default_rng(0).normal(0, 1, (5, 3, SIDE, SIDE)).astype(np.float32)
    files = [
        onnx_files.save(
            onnx_files.with_weights(TEXT.format(side=SIDE), {"w": factor * kernel}),
            tmp_path / f"{name}.onnx",
        )
        for name, factor in (("model", sign), ("reference", 1))
    ]
    found = evaluate(*files, scoring, 30, None, tmp_path)
    assert least <= found["agreement"] <= most
