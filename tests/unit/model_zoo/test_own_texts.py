"""Texts of a user's own reader: CTC decoded, its symbols declared, a TOML begun."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from data_folders import refused
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import Network
from int8gate.model_zoo.user_models.resolve import declared_spec
from int8gate.model_zoo.user_models.toml_file import read_zoo
from int8gate.tasks.registry import task
from int8gate.validation.expectations import expectations_of

SYMBOLS = ("a", "b", " ", "字", "ch")  # a symbol may be several characters
WIDTH = len(SYMBOLS) + 1
CTC = task("text").heads["ctc"]
LEAST = '[models.reader]\nfile = "reader.onnx"\ntask = "text"\n'
SCORES = st_numpy.arrays(np.float32, (2, 7, WIDTH), elements=st.floats(-9, 9, width=32))


def read(scores: np.ndarray, blank: str, symbols=SYMBOLS) -> np.ndarray:
    told = {"class_names": symbols, "head": {"blank": blank}}
    network = Network("", (None, None, 0), (0, 0), len(symbols), arguments=told)
    return resolve(CTC)([np.asarray(scores, np.float32)], network, [np.zeros((2, 3))])


def plainly(scores: np.ndarray, blank: str) -> list[str]:
    """A symbol for each step, runs as one, then blanks taken out."""
    names = [None, *SYMBOLS] if blank == "first" else [*SYMBOLS, None]
    runs = ([key for key, _ in groupby(row.argmax(axis=1))] for row in scores)
    return ["".join(names[key] or "" for key in run) for run in runs]


@given(SCORES, st.sampled_from(["first", "last"]))
def test_it_reads_as_the_definition_says(scores, blank):
    found = read(scores, blank)
    assert found.dtype.kind == "U"
    assert found.tolist() == plainly(scores, blank)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3), st.integers(0, 2)), max_size=6),
    st.sampled_from(["first", "last"]),
    st.randoms(use_true_random=False),
)
def test_every_alignment_of_a_text_is_read_as_the_text(spelled, blank, random):
    """Symbols held for some steps, with blanks between them, always between equal ones."""
    blank_at = 0 if blank == "first" else WIDTH - 1
    shift = 1 - min(blank_at, 1)
    steps, before = [blank_at] * random.randrange(3), None
    for symbol, held, blanks in spelled:
        steps += [blank_at] * max(blanks, symbol == before)
        steps += [symbol + shift] * held
        before = symbol
    steps = steps or [blank_at]
    scores = np.array([[[random.uniform(-1, 1) for _ in range(WIDTH)] for _ in steps]] * 2)
    scores[:, np.arange(len(steps)), steps] += 2.5
    text = "".join(SYMBOLS[symbol] for symbol, *_ in spelled)
    assert read(scores, blank).tolist() == [text] * 2
    likely = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    assert read(likely, blank).tolist() == [text] * 2, "logits or probabilities"


@given(SCORES, st.sampled_from(["first", "last"]))
def test_time_may_come_first(scores, blank):
    """A session runs a sample at a time: (t, 1, c) of each, one after another."""
    assert read(scores.reshape(-1, 1, WIDTH), blank).tolist() == read(scores, blank).tolist()


@given(SCORES)
def test_the_blank_may_stand_at_either_end(scores):
    is_tied = np.sort(scores, axis=2)
    scores[is_tied[..., -1] == is_tied[..., -2]] = np.arange(WIDTH)
    assert read(scores, "first").tolist() == read(np.roll(scores, -1, axis=2), "last").tolist()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 7, 5), "the outputs are (n, 7, 5), expected scores (n, steps, 6) of 5 classes and a"),
        ((2, 7, 7), "is a space the last class"),
        ((2, 6, 7), "(n, steps, 6)"),
        ((2, 42), "the outputs are (n, 42)"),
        ((2, 1, 7, 6), "the outputs are (n, 1, 7, 6)"),
    ],
)
def test_other_outputs_are_refused(shape, words):
    refused(lambda: read(np.zeros(shape), "first"), 'decode = "ctc"', words)


def test_a_broken_output_is_not_read():
    scores = np.zeros((2, 3, WIDTH))
    scores[1, 2, 0] = np.nan
    refused(lambda: read(scores, "last"), "NaN")


def test_without_a_decoder_the_heads_are_named():
    network = Network("", (None, None, 0), (0, 0), None)
    outputs = [np.zeros((2, 7, 6), np.float32)]
    refused(lambda: resolve(task("text").decode)(outputs, network), "add decode", '"ctc"')


@pytest.fixture
def zoo(tmp_path):
    """Writes a TOML beside a model file, and a file of characters, and reads it."""
    (tmp_path / "reader.onnx").touch()

    def read_it(lines: str, characters: bytes = b"a\nb\n \n"):
        (tmp_path / "characters.txt").write_bytes(characters)
        (tmp_path / "models.toml").write_text(LEAST + lines)
        return read_zoo(tmp_path / "models.toml")

    return read_it


@pytest.mark.parametrize("classes", ['["a", "b", " "]', '"characters.txt"'])
def test_symbols_are_declared_in_a_list_or_a_file(zoo, classes):
    (model,) = zoo(f'decode = "ctc"\nclasses = {classes}\nblank = "last"\n')
    assert (model.class_names, model.classes) == (("a", "b", " "), 3)
    assert model.head == {"blank": "last"}


@pytest.mark.parametrize(
    "characters",
    ["\ufeffa\r\nb\r\n\u3000\r\n", "a\nb\n\u3000", "a\nb\n\u3000\n"],
    ids=["windows", "no end", "usual"],
)
def test_lines_end_as_they_do_anywhere(zoo, characters):
    lines = 'decode = "ctc"\nclasses = "characters.txt"\nblank = "first"\n'
    (model,) = zoo(lines, characters.encode())
    assert model.class_names == ("a", "b", "\u3000")


@pytest.mark.parametrize(
    ("lines", "characters", "words"),
    [
        ('classes = ["a"]', b"", ('decode = "ctc" needs blank', '"first"', '"last"')),
        ('blank = "last"', b"", ("needs classes", "in the order of the outputs")),
        ('classes = 3\nblank = "last"', b"", ("needs classes",)),
        ('classes = ["a"]\nblank = "middle"', b"", ("blank = 'middle'", "'first' or 'last'")),
        ('classes = ["a", ""]\nblank = "last"', b"", ("expected a whole number, a list of names",)),
        ('classes = "characters.txt"\nblank = "last"', b"a\n\nb\n", ("line 2 is empty",)),
        ('classes = "characters.txt"\nblank = "last"', b"a\nb\na\n", ("line 3", "'a' as line 1")),
        ('classes = "characters.txt"\nblank = "last"', b"", ("characters.txt is empty",)),
        ('classes = "characters.txt"\nblank = "last"', b"\xff\xfe", ("save it in UTF-8",)),
        ('classes = ["a"]\nblank = "last"\nbox_unit = "pixels"', b"", ('of decode = "corners"',)),
    ],
)
def test_what_is_missing_or_wrong_is_named(zoo, lines, characters, words):
    said = ("models.toml, [models.reader]", *words)
    refused(lambda: zoo(f'decode = "ctc"\n{lines}\n', characters), *said)


def test_a_blank_is_of_ctc_alone(zoo):
    refused(lambda: zoo('decode = "hooks:read"\nblank = "last"\n'), 'blank is of decode = "ctc"')


def test_a_file_of_characters_that_is_not_there_is_named(zoo):
    lines = 'decode = "ctc"\nclasses = "letters.txt"\nblank = "first"\n'
    refused(lambda: zoo(lines), "letters.txt cannot be read", kind=FileNotFoundError)


def test_one_in_a_hundred_of_the_right_characters_may_be_lost(zoo):
    def tolerance(lines: str, float_score: float) -> float:
        (model,) = zoo(f'decode = "ctc"\nclasses = ["a"]\nblank = "last"\n{lines}')
        expected = expectations_of(declared_spec(model), "onnx_int8", "full")
        return expected.tolerance(float_score, higher_is_better=False)

    assert tolerance("", 0) == pytest.approx(0.01)
    assert tolerance("", 0.2) == pytest.approx(0.008)
    assert tolerance('expect = { accuracy = "float + 0.03" }', 0.2) == pytest.approx(0.03)
    assert tolerance('metric = "team:METRIC"', 0.2) == pytest.approx(0.002), "as of any metric"
