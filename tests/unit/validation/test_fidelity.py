"""Fidelity by output and channel: what hides in pooled figures, and what must not look like it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sample_records import sample_results

from int8gate.reporting import details
from int8gate.reporting.rows import rows_of
from int8gate.validation import gates
from int8gate.validation.expectations import expectations_for
from int8gate.validation.fidelity import (
    SQNR_CEILING_DB,
    OutputFidelity,
    least_cosine,
    worst_sqnr,
)

EXPECTED = expectations_for("net-onnx_int8")
SAMPLES = 60


def row(reference, quantized, batches: int = 1, is_integer: bool = False) -> dict:
    compared = OutputFidelity("out", is_integer)
    pairs = (np.array_split(values, batches) for values in (reference, quantized))
    for pair in zip(*pairs, strict=True):
        compared.add(*pair)
    return json.loads(json.dumps(compared.row()))  # it goes into a record


def in_eight_bits(values: np.ndarray) -> np.ndarray:
    """As INT8 stores a tensor: one scale, a range that reaches zero."""
    low, high = min(values.min(), 0), max(values.max(), 0)
    step = (high - low) / 255 or 1.0
    return np.round(values / step) * step


def gate(rows: list[dict], agreement=None, task="other"):
    return gates.fidelity_gate(rows, agreement, EXPECTED, task, "net-onnx_int8")


def softmax(logits: np.ndarray) -> np.ndarray:
    likely = np.exp(logits - logits.max(-1, keepdims=True))
    return likely / likely.sum(-1, keepdims=True)


def detector(rng, layout: str, classes: int = 6, anchors: int = 300) -> np.ndarray:
    """Boxes of 0..640 and scores of 0..1 in one tensor, (n, 4 + classes, anchors) or the
    channels last.
    """
    boxes = rng.uniform(0, 640, (SAMPLES, anchors, 4))
    fires = rng.random((SAMPLES, anchors, classes)) < 0.02
    scores = np.where(fires, rng.uniform(0.3, 1, fires.shape), rng.uniform(0, 0.02, fires.shape))
    joined = np.concatenate([boxes, scores], axis=-1)
    return joined if layout == "last" else joined.transpose(0, 2, 1)


class TestFigures:
    def test_over_batches_is_that_of_the_whole(self):
        rng = np.random.default_rng(0)
        reference = rng.normal(3, 1, (40, 10))
        quantized = np.round(reference * 8) / 8
        whole, parts = row(reference, quantized), row(reference, quantized, batches=7)
        assert parts["sqnr_db"] == pytest.approx(whole["sqnr_db"])
        noise = np.mean((reference - quantized) ** 2, axis=0)
        signal = reference.var(axis=0)
        expected = 10 * math.log10(signal.sum() / noise.sum())
        assert whole["sqnr_db"] == pytest.approx(expected)
        alone = 10 * np.log10(signal / noise)
        worst = whole["worst_channel"]
        assert worst["channel"] == int(alone.argmin())
        assert worst["sqnr_db"] == pytest.approx(alone.min())
        assert worst["rms_error"] == pytest.approx(math.sqrt(noise[alone.argmin()]))

    def test_a_mean_is_no_signal_and_a_bias_is_noise(self):
        values = np.random.default_rng(0).normal(0, 1, (400, 1))
        moved = row(values + 1e5, values + 1e5 + 0.1)
        assert moved["sqnr_db"] == pytest.approx(20, abs=0.5)

    def test_cosine_is_of_all_values(self):
        from sklearn.metrics.pairwise import cosine_similarity

        rng = np.random.default_rng(0)
        pair = rng.normal(3, 1, (40, 10)), rng.normal(3, 1, (40, 10))
        expected = cosine_similarity(*(values.reshape(1, -1) for values in pair))[0, 0]
        assert row(*pair, batches=3)["cosine"] == pytest.approx(expected, abs=1e-6)

    def test_a_step_halved_gains_six_db(self):
        values = np.linspace(-1, 1, 100_001)[:, None]
        coarse, fine = (row(values, np.round(values * s) / s)["sqnr_db"] for s in (64, 128))
        assert fine - coarse == pytest.approx(6.02, abs=0.05)

    def test_there_is_no_infinity_for_json(self):
        values, zeros = np.random.default_rng(0).normal(0, 1, (9, 3)), np.zeros((9, 3))
        assert row(values, values)["sqnr_db"] == pytest.approx(SQNR_CEILING_DB)
        assert row(values, zeros)["cosine"] is None
        assert row(zeros, values)["sqnr_db"] is None
        assert worst_sqnr([]) is None
        assert least_cosine([]) is None
        with pytest.raises(ValueError, match="output out holds NaN or infinity"):
            row(values, values * np.inf)
        with pytest.raises(ValueError, match=r"output out: float .* differ in shape"):
            row(values, zeros[:, :2])

    @pytest.mark.parametrize(
        ("shape", "axis", "of"),
        [
            ((10,), 1, 10),
            ((6, 7, 5), 3, 5),
            ((5, 9, 9), 1, 5),
            ((50, 7), 2, 7),
            ((7, 50), 1, 7),
            ((5, 9), 2, 9),  # fewer anchors than columns
            ((1, 1, 10), 3, 10),
            ((10, 1, 1), 1, 10),
            ((1, 17, 3), 3, 3),
            ((12, 9, 1), 3, 1),  # one map
            ((1, 12, 9), 1, 1),
            ((5000,), 1, 1),  # places
            ((), 0, 1),
        ],
    )
    def test_channels_lie_along_the_axis_that_differs(self, shape, axis, of):
        rng = np.random.default_rng(1)
        ndim = len(shape) + 1
        scale = 10.0 ** rng.uniform(-1, 1, of)
        along = [1] * ndim
        along[axis] = of
        values = rng.normal(0, 1, (SAMPLES, *shape)) * (scale.reshape(along) if of > 1 else 1)
        noisy = values.copy()
        at = 2 % of
        where = [slice(None)] * ndim
        if of > 1:
            where[axis] = at
        noisy[tuple(where)] = rng.permutation(noisy[tuple(where)])
        worst = row(values, noisy)["worst_channel"]
        assert (worst["channel"], worst["of"]) == (at, of)
        assert ndim == 1 or of == 1 or worst["axis"] == axis


class TestWhatPoolingHid:
    @pytest.mark.parametrize("layout", ["first", "last"])
    @pytest.mark.parametrize("classes", [1, 6])
    def test_scores_of_zero_beside_boxes(self, layout, classes):
        values = detector(np.random.default_rng(0), layout, classes)
        lost = in_eight_bits(values)
        noise = ((values - lost) ** 2).sum()
        assert 10 * math.log10((values**2).sum() / noise) > 45  # what was gated
        result = gate([row(values, lost)])
        assert result.status == "failed"
        assert "output out, channel 4" in result.message
        assert "is constant in the artifact" in result.message
        assert "8 bits over 0..640 have steps of 2.51" in result.message

    @pytest.mark.parametrize("layout", ["first", "last"])
    def test_the_same_boxes_and_scores_apart_hold(self, layout):
        values = detector(np.random.default_rng(0), layout)
        parts = np.split(values, [4], axis=1 if layout == "first" else 2)
        assert gate([row(part, in_eight_bits(part)) for part in parts]).status == "passed"

    def test_an_output_that_is_noise_beside_a_good_one(self):
        rng = np.random.default_rng(0)
        boxes, scores = rng.uniform(0, 640, (SAMPLES, 4)), softmax(rng.normal(0, 3, (SAMPLES, 10)))
        good = row(boxes, in_eight_bits(boxes))
        rows = [good, row(scores, rng.permutation(scores)) | {"name": "scores"}]
        result = gate(rows)
        assert result.status == "failed"
        assert result.message.startswith("measured: output scores: SQNR of -")
        assert worst_sqnr(rows) < 3 < good["sqnr_db"]

    def test_little_about_much(self):
        values = 290 + 0.05 * np.random.default_rng(0).normal(0, 1, (SAMPLES, 10))
        result = gate([row(values, in_eight_bits(values))])
        assert result.status == "failed"
        assert "steps of 1.14" in result.message
        moved = values - 290
        assert gate([row(moved, in_eight_bits(moved))]).status == "passed"

    def test_whole_numbers_are_not_pooled(self):
        rng = np.random.default_rng(0)
        likely = softmax(rng.normal(0, 4, (200, 10)))
        found = in_eight_bits(likely)
        best, other = (each.argmax(axis=1)[:, None] for each in (likely, found))
        rows = [row(likely, found), row(best, other, is_integer=True)]
        assert rows[1]["equal"] > 0.97
        assert rows[1]["sqnr_db"] is None
        assert gate(rows).status == "passed"
        shuffled = [rows[0], row(best, rng.permutation(other), is_integer=True)]
        assert "of its whole numbers are as in float" in gate(shuffled).message

    def test_of_a_ranking_the_first_counts(self):
        rng = np.random.default_rng(0)
        likely = softmax(rng.normal(0, 6, (300, 10)))
        found = in_eight_bits(likely) + 1e-6 * rng.random(likely.shape)  # ties fall anyhow
        ranks, others = (np.argsort(-each, axis=1)[:, :5] for each in (likely, found))
        found = row(ranks, others, is_integer=True)
        assert found["equal"] < 0.9 < 0.97 < found["first_equal"]
        assert gate([found]).status == "passed"
        for damaged in (np.zeros_like(others), rng.permutation(others), others[:, ::-1]):
            assert gate([row(ranks, damaged, is_integer=True)]).status == "failed"

    def test_a_class_map_of_one_class(self):
        maps = (np.random.default_rng(0).random((SAMPLES, 20, 20)) < 0.02).astype(int)
        result = gate([row(maps, 0 * maps, is_integer=True)])
        assert "varies in float and is constant in the artifact" in result.message


class TestWhatMustNotBeRed:
    @pytest.mark.parametrize("classes", [3, 10, 1000])
    def test_classes_that_never_occur(self, classes):
        rng = np.random.default_rng(0)
        logits = rng.normal(0, 1, (SAMPLES, classes))
        occur = max(2, classes // 3)
        logits[np.arange(SAMPLES), rng.integers(0, occur, SAMPLES)] += 12
        logits[:, occur:] -= 6
        likely = softmax(logits)
        noisy = in_eight_bits(softmax(logits + rng.normal(0, 0.05, logits.shape)))
        assert np.unique(noisy[:, -1]).size == 1  # a constant of INT8, and of no matter
        assert gate([row(likely, noisy)]).status == "passed"

    def test_scores_of_many_classes_of_which_a_few_occur(self):
        rng = np.random.default_rng(0)
        values = 1 / (1 + np.exp(-rng.normal(-7, 1, (SAMPLES, 300, 20))))
        for which in range(12):
            at = rng.random((SAMPLES, 300)) < 0.002 * (which + 1)
            values[..., which][at] = rng.uniform(0.4, 1, at.sum())
        assert gate([row(values, in_eight_bits(values))]).status == "passed"

    def test_channels_that_are_constant(self):
        values = np.random.default_rng(0).uniform(0, 3, (SAMPLES, 6))
        values[:, 2], values[:, 4] = 0, 1.5
        found = row(values, in_eight_bits(values))
        assert gate([found]).status == "passed"
        assert 0 < found["constant_error"] < 0.01
        damaged = in_eight_bits(values)
        damaged[:, 2] = 1
        assert "what is constant in float is off by 33%" in gate([row(values, damaged)]).message

    def test_outputs_that_are_constant_beside_one_that_is_not(self):
        anchors = np.tile([[0.5, 2.0]], (SAMPLES, 1))
        scores = np.random.default_rng(0).uniform(0, 1, (SAMPLES, 3))
        rows = [row(values, in_eight_bits(values)) for values in (anchors, scores)]
        assert rows[0]["sqnr_db"] is None
        assert gate(rows).status == "passed"
        assert "no signal" in gate(rows[:1]).message

    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        shape=st.sampled_from([(5,), (40,), (6, 6, 4), (4, 6, 6), (30, 5), (7, 30), (9, 9, 1)]),
        spread=st.floats(0, 0.8),
        offset=st.floats(-0.5, 0.5),
        squash=st.sampled_from([lambda v: v, lambda v: np.maximum(v, 0), lambda v: np.tanh(v)]),
    )
    def test_rounding_to_eight_bits_holds(self, seed, shape, spread, offset, squash):
        rng = np.random.default_rng(seed)
        axis = 0 if shape[-1] > shape[0] else len(shape) - 1  # of the channels
        scale = np.exp(rng.normal(0, spread, shape[axis]))
        scale = scale.reshape(-1, *[1] * (len(shape) - 1 - axis))
        values = squash(rng.normal(offset, 1, (SAMPLES, *shape)) * scale)
        spreads = np.moveaxis(values, axis + 1, 0).reshape(shape[axis], -1).std(axis=1)
        # 20 dB, which the gate asks, are a deviation of 2.9 steps: of one step a channel has 11.
        assume(spreads.min() > 3 * np.ptp(values) / 255)
        result = gate([row(values, in_eight_bits(values))])
        assert result.status == "passed", result.message


def zeroed(values, rng):
    return np.zeros_like(values)


def constant(values, rng):
    return np.full_like(values, values.mean())


def still(values, rng):
    """The first sample's, for every one."""
    return np.broadcast_to(values[:1], values.shape)


def shuffled(values, rng):
    return values[rng.permutation(len(values))]


def without_zero_point(values, rng):
    low, high = min(values.min(), 0), max(values.max(), 0)
    return values + (high - low) / 2


def shifted(values, rng):
    return np.roll(values, 1, axis=0)


BREAKAGES = (zeroed, constant, still, shuffled, without_zero_point, shifted)
HEADS = {
    "classes": lambda rng: [softmax(rng.normal(0, 2, (SAMPLES, 7)))],
    "logits": lambda rng: [rng.normal(0, 3, (SAMPLES, 5))],
    "maps, channels last": lambda rng: [rng.normal(0, 2, (SAMPLES, 8, 8, 3))],
    "maps, channels first": lambda rng: [rng.normal(0, 2, (SAMPLES, 3, 8, 8))],
    "one map": lambda rng: [rng.uniform(0, 1, (SAMPLES, 9, 9, 1))],
    "boxes and scores": lambda rng: [
        rng.uniform(0, 640, (SAMPLES, 20, 4)),
        rng.uniform(0, 1, (SAMPLES, 20, 3)),
    ],
    "joined": lambda rng: [
        np.concatenate(
            [rng.uniform(0, 640, (SAMPLES, 4, 20)), rng.uniform(0, 1, (SAMPLES, 3, 20))], axis=1
        )
    ],
    "heatmaps": lambda rng: [rng.uniform(0, 1, (SAMPLES, 6, 6, 17)) ** 8],
    "number": lambda rng: [rng.normal(40, 9, (SAMPLES, 1))],
    "row": lambda rng: [rng.normal(40, 9, (SAMPLES,))],
}


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    head=st.sampled_from(sorted(HEADS)),
    breakage=st.sampled_from(BREAKAGES),
    output=st.integers(0, 1),
    channel=st.none() | st.integers(0, 20),
)
def test_an_output_or_a_channel_that_is_broken_never_passes(seed, head, breakage, output, channel):
    rng = np.random.default_rng(seed)
    floats = HEADS[head](rng)
    found = [values.copy() for values in floats]  # all else is perfect
    broken = found[output % len(found)]
    axis = 1 if head in ("joined", "maps, channels first") else broken.ndim - 1
    if channel is None or axis == 0:
        broken[...] = breakage(broken, rng)
        name = None
    else:
        name = channel % broken.shape[axis]
        where = (*[slice(None)] * axis, name)
        broken[where] = breakage(broken[where], rng)
    pairs = enumerate(zip(floats, found, strict=True))
    rows = [row(*pair) | {"name": f"out{number}"} for number, pair in pairs]
    result = gate(rows)
    assert result.status == "failed", rows
    assert f"output out{output % len(found)}" in result.message
    if name is not None and broken.shape[axis] > 1:
        assert f"channel {name}" in result.message


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_with_labels_there_is_a_floor(breakage):
    rng = np.random.default_rng(0)
    likely = softmax(rng.normal(0, 3, (SAMPLES, 10)))
    assert gates.floor_gate([row(likely, in_eight_bits(likely))], "net-tflite_int8") is None
    result = gates.floor_gate([row(likely, breakage(likely, rng))], "net-tflite_int8")
    assert result.status == "failed"
    assert "output out" in result.message


def test_the_report_shows_each_output():
    record = sample_results()["cases"][0]
    whole = row(np.arange(90).reshape(30, 3), np.arange(90).reshape(30, 3), is_integer=True)
    joined = detector(np.random.default_rng(0), "last")
    lost = row(joined, in_eight_bits(joined)) | {"name": "joined"}
    record["fidelity"] |= {"agreement": 0.985, "outputs": [lost, whole]}
    (shown,) = rows_of(sample_results() | {"cases": [record]})
    shown = dict(details.facts(shown))
    assert "98.5% of the answers as in float" in shown["Fidelity"]
    assert shown["Fidelity of out"] == "100% of its whole numbers as in float"
    told = shown["Fidelity of joined"]
    assert "(channels 4-9)" in told
    assert f"{lost['lost_count']} channels constant that vary in float" in told
