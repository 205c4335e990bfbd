"""The text of the language models: documents, their splits, tokens, windows."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from data_folders import refused
from hypothesis import given
from hypothesis import strategies as st

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.calibration_data.texts import corpora, windows
from int8gate.calibration_data.texts.tokenizers import BEGIN, of_bytes, of_repository

LENGTH = 128


def a_window(length: int = LENGTH) -> tuple[Input]:
    """What a network takes."""
    return (Input("tokens", (length,), "int32"),)


def paragraphs(split: str) -> set[str]:
    """The long paragraphs of a split, of all corpora, as one line each."""
    texts = [text for name in corpora.CORPORA for text in corpora.documents(name, split).values()]
    lines = (" ".join(part.split()) for text in texts for part in text.split("\n\n"))
    return {line for line in lines if len(line) >= corpora.REPEATED}


def test_splits_share_neither_a_document_nor_a_long_paragraph():
    names = {
        split: {
            (corpus, name)
            for corpus in corpora.CORPORA
            for name in corpora.documents(corpus, split)
        }
        for split in corpora.SPLITS
    }
    held = {split: paragraphs(split) for split in corpora.SPLITS}
    for one, other in (
        ("train", "evaluation"),
        ("train", "calibration"),
        ("calibration", "evaluation"),
    ):
        assert not names[one] & names[other]
        assert not held[one] & held[other]
    assert min(map(len, held.values())) > 200


@pytest.mark.parametrize("corpus", list(corpora.CORPORA))
def test_each_corpus_has_enough_for_every_split(corpus):
    sizes = {
        split: len("".join(corpora.documents(corpus, split).values())) for split in corpora.SPLITS
    }
    for split, counts in windows.COUNT.items():
        assert sizes[split] >= counts[corpus] * LENGTH
    assert sizes["train"] >= 50_000
    assert all(len(corpora.documents(corpus, split)) > 3 for split in corpora.SPLITS)


@given(
    st.dictionaries(st.text(min_size=1), st.text(min_size=1, max_size=50), min_size=3, max_size=30),
    st.floats(0.1, 0.6),
)
def test_every_text_is_in_one_split_whatever_the_order(texts, part):
    divided = corpora.divided(texts, part, 0.1)
    assert sorted(name for of in divided.values() for name in of) == sorted(texts)
    turned = corpora.divided(dict(reversed(texts.items())), part, 0.1)
    assert divided == turned
    reached = sum(map(len, divided["evaluation"].values()))
    longest = max(map(len, texts.values()))
    assert reached <= part * sum(map(len, texts.values())) + longest


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=5), max_size=6))
def test_a_long_paragraph_counts_once_and_short_ones_stay(documents):
    texts = {
        str(number): "\n\n".join([letter * 2 * corpora.REPEATED for letter in letters] + ["end"])
        for number, letters in enumerate(documents)
    }
    found = corpora.without_repeats(texts)
    assert found.keys() == texts.keys()
    left = [part for text in found.values() for part in text.split("\n\n")]
    long = [part for part in left if len(part) >= corpora.REPEATED]
    letters = {letter for document in documents for letter in document}
    assert sorted(long) == sorted(2 * corpora.REPEATED * letter for letter in letters)
    assert left.count("end") == len(documents)


@given(st.text())
def test_a_token_is_a_byte(text):
    tokens = of_bytes().encode(text)
    assert bytes(tokens.astype(np.uint8)).decode() == text
    assert not len(tokens) or tokens.max() < BEGIN < of_bytes().vocabulary


def test_the_label_is_the_token_that_follows():
    found = windows.draw("calibration", a_window(), of_bytes())
    assert len(found) == sum(windows.COUNT["calibration"].values())
    for index in (0, 1, len(found) - 1):
        arrays, labels = found.named(index)
        (tokens,) = arrays.values()
        assert (tokens.dtype, labels.dtype) == (np.int32, np.int64)
        assert tokens[0] == BEGIN
        assert np.array_equal(tokens[1:], labels[:-1])
        text = bytes(labels.astype(np.uint8))
        corpus = str(found.groups[index])
        whole = corpora.documents(corpus, "calibration").values()
        assert any(text in document.encode() for document in whole)


def test_any_head_has_both_corpora_and_windows_do_not_overlap():
    found = windows.draw("evaluation", a_window(), of_bytes())
    counts = windows.COUNT["evaluation"]
    assert len(np.unique(found.sources)) == len(found) == sum(counts.values())
    for head in (60, 300, len(found)):
        prose = np.mean(found.groups[:head] == "prose")
        assert prose == pytest.approx(counts["prose"] / len(found), abs=0.02)
    labels = next(found.feeds(len(found)))[1]
    assert len(np.unique(labels, axis=0)) > 0.99 * len(found)


def test_the_digest_is_that_of_the_text(monkeypatch):
    def digest() -> str:
        corpora.documents.cache_clear()
        corpora._divided.cache_clear()
        corpora.digest.cache_clear()
        return windows.draw("evaluation", a_window(), of_bytes()).digest()

    before = digest()
    assert digest() == before
    assert windows.draw("evaluation", a_window(64), of_bytes()).digest() != before
    chosen = corpora.CORPORA["prose"]
    changed = {name: text.replace("the", "teh") for name, text in chosen.read().items()}
    other = corpora.Corpus("prose", lambda: changed, chosen.evaluation, chosen.calibration)
    monkeypatch.setitem(corpora.CORPORA, "prose", other)
    assert digest() != before
    monkeypatch.undo()
    assert digest() == before


def test_a_python_without_the_text_is_told_so(monkeypatch):
    def absent():
        raise ImportError("No module named 'pydoc_data'")

    for read, words in ((absent, "pydoc_data"), (dict, "has no prose")):
        corpora.documents.cache_clear()
        corpora._divided.cache_clear()
        monkeypatch.setitem(corpora.CORPORA, "prose", corpora.Corpus("prose", read, 0.5, 0.1))
        refused(
            lambda: corpora.documents("prose", "train"), words, "install", kind=FileNotFoundError
        )
    monkeypatch.undo()
    corpora.documents.cache_clear()
    corpora._divided.cache_clear()


def test_samples_travel_to_the_worker():
    found = windows.draw("calibration", a_window(), of_bytes())
    assert pickle.loads(pickle.dumps(found)) == found


def test_training_windows_are_cut_from_training_documents():
    tokens, labels = windows.training_windows("train", 30, LENGTH, of_bytes())
    again = windows.training_windows("train", 30, LENGTH, of_bytes())
    assert np.array_equal(tokens, again[0])
    assert np.array_equal(tokens[:, 1:], labels[:, :-1])
    prose = "".join(corpora.documents("prose", "train").values()).encode()
    inside = [bytes(row.astype(np.uint8)) in prose for row in labels]
    assert inside == [True] * 10 + [False] * 20


def test_a_repositorys_tokenizer_marks_the_beginning(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<s>", "<unk>", "the", "language"])}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>").save_pretrained(tmp_path / "a")
    found = of_repository(tmp_path / "a")
    assert found.encode("the language of").tolist() == [2, 3, 1]
    assert (found.begin, found.vocabulary) == (0, 4)
    PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(tmp_path / "b")
    refused(lambda: of_repository(tmp_path / "b"), "bos_token", str(tmp_path / "b"))


@pytest.mark.parametrize("content", [None, "{damaged"], ids=["absent", "damaged"])
def test_a_tokenizer_that_cannot_be_read_is_told_so(tmp_path, content):
    if content:
        (tmp_path / "tokenizer.json").write_text(content)
    refused(
        lambda: of_repository(tmp_path),
        str(tmp_path),
        "--weights-dir DIR",
        kind=FileNotFoundError,
    )


def test_reading_text_loads_no_heavy_library():
    code = (
        "import sys; from int8gate.calibration_data.texts import windows, tokenizers\n"
        "len(windows.TextWindows('calibration', 128, tokenizers.of_bytes()))\n"
        "print([n for n in ('torch', 'transformers', 'tensorflow') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
