"""Which answers changed: McNemar, classes, calibration, flips; of models made to differ so."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from int8gate.analysis.full_accuracy import (
    class_changes,
    compare_in_full,
    expected_calibration_error,
    holm,
    mcnemar,
)
from int8gate.reporting.answers import SHOWN, changed_answers
from int8gate.validation.answers import AnswerCollector, Answers, answers_in
from int8gate.validation.comparing.sample_scores import Predictions, read, store
from int8gate.validation.metrics.registry import metric

CLASSES, SAMPLES = 10, 2000


def scores(labels: np.ndarray, wrong: np.ndarray, sureness: float = 4.0) -> np.ndarray:
    """Logits (n, classes): the label ahead by `sureness`, or the class behind it where `wrong`."""
    answer = np.where(wrong, (labels + 1) % CLASSES, labels)
    return sureness * np.eye(CLASSES)[answer] + 0.1 * np.arange(CLASSES)


def predictions(outputs: np.ndarray, labels: np.ndarray, sources=None) -> Predictions:
    collector = AnswerCollector()
    for start in range(0, len(labels), 300):
        part = slice(start, start + 300)
        collector.add(outputs[part], labels[part])
    rows = metric("top1").sample_statistics(outputs, labels)
    sources = np.arange(len(labels)) if sources is None else sources
    return Predictions("m-r", "top1", "set", rows, sources, answers_in(collector.arrays()))


@pytest.fixture(scope="module")
def both() -> tuple[Predictions, Predictions]:
    """Float is wrong in a tenth of each class; the quantized model loses 40% of class 3 besides,
    gains one sample of class 5, and is less sure.
    """
    labels = np.arange(SAMPLES) % CLASSES
    wrong = (np.arange(SAMPLES) // CLASSES) % 10 == 0
    later = wrong | ((labels == 3) & ((np.arange(SAMPLES) // CLASSES) % 5 < 2))
    later[5] = False
    float_scores, quantized = scores(labels, wrong), scores(labels, later, sureness=2.0)
    return predictions(float_scores, labels), predictions(quantized, labels)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_flipped_sample_is_shown_as_it_is(both, channels):
    def picture(number: int) -> np.ndarray:
        return np.random.default_rng(number).integers(0, 256, (6, 9, channels), np.uint8)

    told = compare_in_full(*both)
    shown = changed_answers(told, "tflite_int8", picture).pictures
    assert len(shown) == SHOWN < len(told.flips)
    for flip, each in zip(told.flips, shown, strict=False):
        kind, _, content = each.uri.partition(",")
        assert kind == "data:image/png;base64"
        drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        assert np.array_equal(drawn.reshape(6, 9, channels), picture(flip.sample))
        assert each.about.startswith(f"sample {flip.sample}, label {flip.label}: ")
        assert each.about.endswith(flip.what)


def test_what_was_built_in_is_found(both):
    told = compare_in_full(*both)
    assert told.change.drop == pytest.approx(59 / SAMPLES)
    assert (told.mcnemar.lost, told.mcnemar.gained) == (60, 1)
    assert told.mcnemar.p_value < 1e-12
    assert [each.number for each in told.classes if each.is_significant] == [3]
    third = told.classes[3]
    assert third.drop == pytest.approx(60 / 200)
    assert 0.2 < third.lower_95 < third.drop < third.upper_95 < 0.4
    assert (third.samples, third.sources) == (200, 200)
    fifth = told.classes[5]
    assert fifth.drop == pytest.approx(-1 / 200)
    assert fifth.lower_95 <= fifth.drop <= fifth.upper_95
    assert len(told.flips) == 61
    assert [flip.what for flip in told.flips].count("lost") == 60
    (gained,) = [flip for flip in told.flips if flip.what == "gained"]
    assert (gained.sample, gained.label, gained.before, gained.now) == (5, 5, 6, 5)
    assert told.calibration.margin_change < -0.2
    assert told.calibration.margin_upper_95 < 0
    assert told.left_out == ()


def test_equal_models_have_nothing_to_tell(both):
    told = compare_in_full(both[0], both[0])
    assert told.change.drop == 0
    assert told.mcnemar.p_value == 1
    assert not told.flips
    assert not any(each.is_significant for each in told.classes)
    assert all(each.lower_95 <= 0 <= each.upper_95 for each in told.classes)
    assert told.calibration.margin_change == 0


def test_answers_go_through_the_file_of_predictions(both, tmp_path):
    kept = store(tmp_path, both[1])
    again = read(kept.path, kept.sha256)
    assert compare_in_full(both[0], again) == compare_in_full(*both)
    assert kept.path.stat().st_size < 20_000


def test_without_answers_it_says_what_is_left_out(both):
    plain = [Predictions(p.case, p.metric, "set", p.statistics, p.sources) for p in both]
    told = compare_in_full(*plain)
    assert told.mcnemar.lost == 60
    assert (told.classes, told.calibration, told.flips) == ((), None, ())
    assert len(told.left_out) == 2
    other = Predictions("m-r", "top1", "another", plain[0].statistics, plain[0].sources)
    with pytest.raises(ValueError, match="not the same evaluation set"):
        compare_in_full(plain[0], other)


def test_many_classes_without_a_change_seldom_have_one_that_is_significant():
    rng = np.random.default_rng(0)
    labels, found = np.arange(2000) % 50, 0
    for _ in range(10):
        rows = []
        for flip in (rng.random(2000) < 0.05, rng.random(2000) < 0.05):
            rows.append(np.column_stack([~flip, np.ones(2000)]).astype(float))
        told = class_changes(metric("top1"), *rows, np.arange(2000), labels)
        found += any(each.is_significant for each in told)
        assert min(each.p_value for each in told) < 0.5
    assert found <= 3


def test_classes_of_a_segmenter_are_those_of_its_unions():
    rng = np.random.default_rng(1)
    union = rng.integers(50, 100, (300, 3)).astype(float)
    union[:, 2] = 0  # a class that is nowhere
    met = np.floor(union * 0.9)
    lost = met.copy()
    lost[:, 1] *= rng.uniform(0.8, 0.95, 300)
    rows = [np.hstack([each, union]) for each in (met, lost)]
    first, second = class_changes(metric("mean_iou"), *rows, np.arange(300))
    assert (first.number, first.drop, first.p_corrected) == (0, 0, 1)
    assert second.number == 1
    assert second.drop == pytest.approx(0.9 * 0.125, abs=0.01)
    assert second.is_significant
    assert second.lower_95 < second.drop < second.upper_95
    noise = [np.hstack([met * rng.uniform(0.9, 1, (300, 3)), union]) for _ in range(2)]
    assert not any(
        e.is_significant for e in class_changes(metric("mean_iou"), *noise, np.arange(300))
    )


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_mcnemar_is_the_binomial_of_what_changed(lost, gained, same):
    from scipy.stats import binom

    before = np.repeat([True, False, True], [lost, gained, same])
    now = np.repeat([False, True, True], [lost, gained, same])
    told = mcnemar(before, now, np.arange(len(before)))
    assert (told.lost, told.gained) == (lost, gained)
    fewer, total = min(lost, gained), lost + gained
    assert told.p_value == pytest.approx(min(1, 2 * binom.cdf(fewer, total, 0.5)) if total else 1)


def test_samples_of_one_source_count_once():
    before, now = np.ones(100, bool), np.arange(100) >= 20
    sources = np.arange(100) // 20
    assert mcnemar(before, now, sources).p_value == 1  # one source lost
    assert mcnemar(before, now, np.arange(100)).p_value < 1e-4


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_keeps_the_order_and_never_lowers(values):
    corrected = holm(values)
    assert (corrected >= np.array(values)).all()
    assert (corrected <= 1).all()
    assert (np.diff(corrected[np.argsort(values, kind="stable")]) >= 0).all()
    assert corrected.min() == pytest.approx(min(1, min(values) * len(values)))


def test_the_calibration_error_of_known_confidences():
    label = np.zeros(100, np.int32)
    answer = (np.arange(100) >= 80).astype(np.int32)  # 80% right
    for sureness, wanted in ((0.8, 0.0), (0.95, 0.15), (0.5, 0.3)):
        sure = np.full(100, sureness, np.float16)
        told = expected_calibration_error(Answers(label, answer, sure, sure))
        assert told == pytest.approx(wanted, abs=1e-3)


def test_probabilities_stay_and_logits_go_through_softmax():
    labels = np.array([0, 1])
    probabilities = np.array([[0.7, 0.2, 0.05], [0.1, 0.8, 0.1]])  # 8 bits do not add up to 1
    for outputs, sure in (
        (probabilities, [0.7 / 0.95, 0.8]),
        (np.array([[5.0, 1.0, 0.0], [0.0, 2.0, 0.0]]), [0.9756, 0.7870]),
    ):
        collector = AnswerCollector()
        collector.add(outputs, labels)
        told = answers_in(collector.arrays())
        assert told.answer.tolist() == [0, 1]
        assert told.confidence == pytest.approx(sure, abs=1e-3)
        assert (told.margin < told.confidence).all()
    for outputs, of in (
        (np.ones((2, 4, 4, 3)), np.ones((2, 4, 4), int)),
        (np.ones((2, 1)), labels),
    ):
        collector = AnswerCollector()
        collector.add(outputs, of)
        assert collector.arrays() == {}


def test_answers_of_a_file_that_fit_nothing_are_refused():
    whole = {
        f"answers/{name}": np.zeros(3, kind)
        for name, kind in (
            ("label", "i4"),
            ("answer", "i4"),
            ("confidence", "f2"),
            ("margin", "f2"),
        )
    }
    assert len(answers_in(whole)) == 3
    with pytest.raises(ValueError, match="answers/margin is missing"):
        answers_in({name: of for name, of in whole.items() if "margin" not in name})
    with pytest.raises(ValueError, match="answers/answer is float64"):
        answers_in(whole | {"answers/answer": np.zeros(3)})
