"""Scales and integers of weights for each channel, in one step: those of the stock quantizer."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization.quant_utils import (
    compute_data_quant_params,
    quantize_onnx_initializer,
)

from int8gate.quantizers.toolchains.onnx.weight_scales import channel_integers, channel_scales

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(arrays(np.float32, array_shapes(min_dims=1, max_dims=4, max_side=4), elements=FINITE))
def test_scales_are_those_of_the_stock_quantizer_bit_for_bit(weights):
    for axis in range(weights.ndim):
        stock = [
            compute_data_quant_params(weights.take(i, axis).ravel(), TensorProto.INT8, True)[1]
            for i in range(weights.shape[axis])
        ]
        found = channel_scales(weights, axis)
        assert found is not None
        assert found.dtype == np.float32
        assert np.array_equal(found, np.array(stock))


@given(
    arrays(np.float32, array_shapes(min_dims=1, max_dims=4, max_side=4), elements=FINITE),
    st.floats(0.25, 4, width=32),
)
def test_integers_are_those_of_the_stock_quantizer(weights, wider):
    """With scales that are learned, and so too small for some weights, too."""
    for axis in range(weights.ndim):
        scales = channel_scales(weights, axis)
        assert scales is not None
        scales = np.maximum(scales * np.float32(wider), np.finfo(np.float32).tiny)
        stock = quantize_onnx_initializer(
            numpy_helper.from_array(weights, "w"),
            TensorProto.INT8,
            np.zeros(len(scales), np.int8),
            scales,
            axis,
        )
        assert np.array_equal(channel_integers(weights, scales, axis), numpy_helper.to_array(stock))


def test_what_is_not_finite_is_left_to_the_stock_quantizer():
    weights = np.ones((2, 3), np.float32)
    weights[1, 1] = np.inf
    assert channel_scales(weights, 0) is None
