"""CER, WER and exact reads against a plain reference, and what a lost text costs."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from data_folders import refused
from hypothesis import given
from hypothesis import strategies as st

from int8gate.validation.agreement import Agreement
from int8gate.validation.metrics.registry import metric
from int8gate.validation.noninferiority import non_inferiority

LETTERS = "abé 字𝄞"
TEXTS = st.text(LETTERS, max_size=8)
LABELS = TEXTS.filter(str.strip)
PAIRS = st.lists(st.tuples(TEXTS, LABELS), min_size=1, max_size=6)
RNG = np.random.default_rng(0)


def edits(read, label) -> int:
    """The textbook's table (Wagner and Fischer 1974), a row at a time."""
    row = list(range(len(label) + 1))
    for i, have in enumerate(read, start=1):
        above, row = row, [i]
        for j, want in enumerate(label, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (have != want)))
    return row[-1]


def arrays(pairs) -> tuple[np.ndarray, np.ndarray]:
    read, labels = zip(*pairs, strict=True)
    return np.array(read, str), np.array(labels, str)


def rows_of(name: str, pairs) -> np.ndarray:
    return metric(name).sample_statistics(*arrays(pairs))


@given(PAIRS)
def test_rates_are_edits_by_what_stands_there(pairs):
    stripped = [(read.strip(), label.strip()) for read, label in pairs]
    expected = [(edits(read, label), len(label)) for read, label in stripped]
    assert np.array_equal(rows_of("cer", pairs), expected)
    words = [(read.split(), label.split()) for read, label in stripped]
    assert np.array_equal(rows_of("wer", pairs), [(edits(r, w), len(w)) for r, w in words])
    exact = [(read == label, 1) for read, label in stripped]
    assert np.array_equal(rows_of("exact", pairs), exact)
    total, count = np.sum(expected, axis=0)
    assert metric("cer").score(rows_of("cer", pairs)) == pytest.approx(total / count)


@given(PAIRS, st.sampled_from(["cer", "wer", "exact"]))
def test_rows_add_up_and_the_best_and_the_worst_bound_the_score(pairs, name):
    score, rows = metric(name), rows_of(name, pairs)
    assert score.score(rows) == score.score(rows, np.ones(len(rows)))
    assert score.score(rows) == pytest.approx(score.score(np.vstack([rows, rows])))
    right, wrong = map(score.score, score.lost(rows))
    assert right == (0 if name != "exact" else 1)
    assert score.drop(right, score.score(rows)) >= 0
    assert score.drop(score.score(rows), wrong) >= -1e-12
    labels = arrays(pairs)[1]
    blind = score.baseline_statistics(labels, rows.shape[1])
    assert blind.shape == rows.shape
    assert score.score(blind) == pytest.approx(score.chance(labels))
    nothing = score.sample_statistics(np.full(len(labels), ""), labels)
    assert score.drop(score.chance(labels), score.score(nothing)) >= 0


@given(st.lists(LABELS, min_size=1, max_size=6))
def test_composed_and_decomposed_characters_are_the_same(labels):
    pairs = [(unicodedata.normalize("NFD", label), label) for label in labels]
    assert metric("cer").score(rows_of("cer", pairs)) == 0
    assert metric("exact").score(rows_of("exact", pairs)) == 1


def test_upper_case_counts_and_space_at_the_ends_does_not():
    rows = rows_of("cer", [(" no way\n", "no way"), ("No way", "no way"), ("noway", "no way")])
    assert rows[:, 0].tolist() == [0, 1, 1]
    assert rows_of("wer", [("noway", "no way")]).tolist() == [[2, 2]]


def test_chance_is_the_better_of_nothing_and_the_usual_word():
    labels = np.array(["yes"] * 6 + ["no"] * 4)
    assert metric("exact").chance(labels) == pytest.approx(0.6)
    assert metric("cer").chance(labels) == pytest.approx(4 * 3 / 26)
    unlike = np.array(["abc", "def", "ghi"])
    assert metric("cer").chance(unlike) == pytest.approx(2 / 3), "one of three"
    assert metric("cer").chance(np.array(["abcdefgh", "x", "y", "x"])) == pytest.approx(9 / 11)


@pytest.mark.parametrize("name", ["cer", "wer", "exact"])
@pytest.mark.parametrize(
    ("share", "tolerance", "verdict"), [(0.0, 0.01, "passed"), (0.1, 0.001, "failed")]
)
def test_a_model_that_misreads_fails_whichever_direction_is_better(name, share, tolerance, verdict):
    score = metric(name)
    labels = np.array(["".join(RNG.choice(list("abcdefgh"), 8)) for _ in range(600)])
    spoiled = np.array([f"x{text[1:]}" for text in labels])
    read = np.where(RNG.random(600) < 0.05, spoiled, labels)
    worse = np.where(RNG.random(600) < share, spoiled, read)
    rows = [score.sample_statistics(each, labels) for each in (read, worse)]
    found = non_inferiority(
        score,
        *rows,
        np.arange(600),
        tolerance,
        chance=score.chance(labels),
        distinct_outputs=600,
        baseline_statistics=score.baseline_statistics(labels, 2),
    )
    assert found.verdict == verdict, found.reason


def test_a_model_that_always_answers_the_same_proves_nothing():
    score, labels = metric("cer"), np.array(["yes", "no"] * 300)
    rows = score.sample_statistics(np.full(600, "yes"), labels)
    found = non_inferiority(
        score,
        rows,
        rows,
        np.arange(600),
        0.01,
        chance=score.chance(labels),
        distinct_outputs=600,
        baseline_statistics=score.baseline_statistics(labels, 2),
    )
    assert found.verdict == "invalid"
    assert "answering always the same" in found.reason


def test_what_is_no_text_is_refused():
    texts = np.array(["a", "b"])
    for outputs, labels, words in (
        (np.zeros((2, 3)), texts, "outputs are float64 (2, 3) for 2 samples"),
        (texts[:1], texts, "outputs are <U1 (1,)"),
        (texts, np.arange(2), "labels are int64 (2,)"),
        (texts, np.array(["a", " "]), "a label has no text"),
    ):
        refused(lambda o=outputs, t=labels: metric("cer").sample_statistics(o, t), words)


def test_answers_agree_where_the_texts_are_the_same():
    def share(wanted, found):
        agreement = Agreement("text")
        agreement.add(np.array(wanted), np.array(found))
        return agreement.share()

    assert share(["a", "bc", "", "d"], ["a", "bd", "", "d"]) == pytest.approx(2 / 3)
    assert share(["", ""], ["", ""]) is None, "nothing is read"
    assert share(["", "a"], ["x", "a"]) == 0.5
