"""`TensorSpec`'s arithmetic by its laws, and what a `LiteRTSession` refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_folders import refused
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny_models import IMAGE, write_all

from int8gate.calibration_data.preprocessing import Preprocessing
from int8gate.engine.file_digest import sha256_of
from int8gate.runtimes.artifact import TensorSpec

ROOT = Path(__file__).parents[3]
DTYPES = ("int8", "uint8", "int16")
FLOAT = TensorSpec("float", (1, 4), "float32")


@st.composite
def specs(draw) -> TensorSpec:
    dtype = draw(st.sampled_from(DTYPES))
    limits = np.iinfo(dtype)
    zero_point = 0 if dtype == "int16" else draw(st.integers(limits.min, limits.max))
    return TensorSpec("t", (1,), dtype, draw(st.floats(1e-6, 1e4)), zero_point)


def limits_of(spec: TensorSpec) -> tuple[float, float]:
    """The reals of the smallest and of the largest stored value."""
    limits = np.iinfo(spec.dtype)
    return tuple((np.array([limits.min, limits.max]) - spec.zero_point) * spec.scale)


@given(specs(), arrays(np.float64, 20, elements=st.floats(0, 1)))
def test_error_is_at_most_half_a_scale_inside_the_range(spec, fractions):
    low, high = limits_of(spec)
    real = low + fractions * (high - low)
    found = spec.dequantize(spec.quantize(real)).astype(np.float64)
    slack = 1e-6 * max(abs(low), abs(high))  # dequantized reals are float32
    assert np.abs(found - real).max() <= spec.scale / 2 + slack


@given(specs())
def test_every_stored_value_comes_back(spec):
    limits = np.iinfo(spec.dtype)
    stored = np.arange(limits.min, limits.max + 1).astype(spec.dtype)
    real = spec.dequantize(stored)
    assert real.dtype == np.float32
    assert (np.diff(real) > 0).all()
    back = spec.quantize(real)
    assert back.dtype == spec.dtype
    np.testing.assert_array_equal(back, stored)
    assert spec.dequantize(stored[stored == spec.zero_point]) == [0], "zero must be exact"


@given(specs(), st.floats(0, 1e30))
def test_values_beyond_the_range_saturate(spec, beyond):
    limits = np.iinfo(spec.dtype)
    low, high = limits_of(spec)
    stored = spec.quantize(np.array([low - beyond, high + beyond, -np.inf, np.inf]))
    assert stored.tolist() == [limits.min, limits.max] * 2


@given(specs(), arrays(np.float32, 30, elements=st.floats(-1e6, 1e6, width=32)))
def test_order_is_kept(spec, real):
    stored = spec.quantize(np.sort(real))
    assert (np.diff(stored.astype(int)) >= 0).all()


@given(specs())
def test_not_a_number_has_no_stored_value(spec):
    refused(lambda: spec.quantize(np.array([0.0, np.nan])), "tensor t", "NaN", spec.dtype)


@given(arrays(np.float32, (3, 4), elements=st.floats(width=32)))
def test_a_float_tensor_takes_and_gives_values_as_they_are(real):
    np.testing.assert_array_equal(FLOAT.quantize(real), real)
    np.testing.assert_array_equal(FLOAT.dequantize(real), real)
    assert FLOAT.quantize(real).dtype == FLOAT.dequantize(real).dtype == np.float32
    assert not FLOAT.is_quantized


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_all(tmp_path_factory.mktemp("models"))


@pytest.fixture
def open_session():
    from int8gate.runtimes.litert import LiteRTSession

    return LiteRTSession


def test_specs_are_those_of_the_file(models, open_session):
    from int8gate.runtimes.artifact import as_artifact
    from int8gate.runtimes.litert import describe

    session = open_session(models["int8"])
    (inputs,), (outputs,) = session.inputs, session.outputs
    assert (inputs.shape, inputs.dtype, outputs.shape) == (IMAGE, "int8", (1, 10))
    assert inputs.scale > 0
    assert -128 <= inputs.zero_point <= 127
    (real,) = open_session(models["fp32"]).inputs
    assert (real.dtype, real.scale, real.zero_point) == ("float32", None, None)
    artifact = as_artifact(models["int8"], describe(models["int8"]), {"recipe": "tflite_int8"})
    assert (artifact.inputs, artifact.outputs) == (session.inputs, session.outputs)
    assert artifact.sha256 == sha256_of(models["int8"])
    assert artifact.size_bytes == models["int8"].stat().st_size


def test_predict_quantizes_around_run(models, open_session):
    session = open_session(models["int8"])
    real = np.random.default_rng(3).normal(size=(3, *IMAGE[1:])).astype(np.float32)
    (found,) = session.predict(real)
    assert found.shape == (3, 10)
    for row in range(3):
        stored = session.inputs[0].quantize(real[row : row + 1])
        (output,) = session.run([stored])
        assert output.dtype == np.int8
        np.testing.assert_array_equal(session.outputs[0].dequantize(output)[0], found[row])
    (expected,) = open_session(models["fp32"]).predict(real)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("above", [-0.5, 0.0, 0.5])
def test_predict_feeds_the_bytes_that_a_device_feeds(models, open_session, above):
    """Pixels whose levels are `above` theirs in exact arithmetic: each is fed as pixel - 128."""
    session = open_session(models["int8"])
    (entry,) = session.inputs
    preprocessing = Preprocessing(entry.zero_point + 128 - above, 1 / entry.scale)
    pictures = np.random.default_rng(0).integers(0, 256, (4, *IMAGE[1:]), np.uint8)
    real, pixel_range = preprocessing.apply(pictures), preprocessing.uniform_range
    (expected,) = session.run_each((pictures.astype(int) - 128).astype(np.int8))
    (found,) = session.predict(real, pixel_range=pixel_range)
    np.testing.assert_array_equal(found, session.outputs[0].dequantize(expected))


def test_a_float_batch_is_not_cast_to_int8(models, open_session):
    session = open_session(models["int8"])
    for dtype in ("float32", "uint8", "int16"):
        refused(
            lambda d=dtype: session.run([np.zeros(IMAGE, d)]),
            *("int8.tflite", "takes int8", f"got {dtype}", "scale", "TensorSpec.quantize"),
            kind=TypeError,
        )
    float_session = open_session(models["fp32"])
    refused(
        lambda: float_session.run([np.zeros(IMAGE)]),
        *("fp32.tflite", "takes float32", "got float64", "convert"),
        kind=TypeError,
    )


def test_another_shape_or_number_of_inputs(models, open_session):
    session = open_session(models["int8"])
    for shape in ((2, *IMAGE[1:]), IMAGE[1:], (1, 3, 32, 32)):
        refused(lambda s=shape: session.run([np.zeros(s, np.int8)]), str(IMAGE), f"got {shape}")
    one = np.zeros(IMAGE, np.int8)
    refused(lambda: session.run([]), "takes 1 inputs, got 0")
    refused(lambda: session.run([one, one]), "takes 1 inputs, got 2")


def test_files_that_are_no_model(tmp_path, open_session):
    text = tmp_path / "text.tflite"
    for content in (b"", b"TFL3", b"just some text\n" * 20):
        text.write_bytes(content)
        refused(lambda: open_session(text), "LiteRT cannot load", str(text))
    missing = tmp_path / "absent.tflite"
    refused(lambda: open_session(missing), str(missing))


def test_truncated_models_are_refused(models, tmp_path):
    """In a process of its own: a flatbuffer read past its end is a segmentation fault."""
    content = models["int8"].read_bytes()
    kept = [len(content) * part // 10 for part in range(10)]
    for size in kept:
        (tmp_path / f"{size}.tflite").write_bytes(content[:size])
    code = (
        "import sys; from int8gate.runtimes.litert import LiteRTSession\n"
        "for path in sys.argv[1:]:\n"
        "    try: LiteRTSession(path)\n"
        "    except ValueError as error: assert path in str(error), error\n"
        "    else: sys.exit(f'{path} was loaded')"
    )
    paths = [str(tmp_path / f"{size}.tflite") for size in kept]
    found = subprocess.run(
        [sys.executable, "-c", code, *paths], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr[-500:]
