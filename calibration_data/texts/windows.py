"""`TextWindows`: sequences of tokens with the tokens that follow, cut from documents.

A sample is `length` tokens of one document. The network gets the beginning mark and all but the
last of them, and is judged by all: label i is the token that follows input i.

Sources. Tokens depend on those before them, so that what is resampled are blocks of text: a source
is one window, `length` neighbouring tokens (a block bootstrap with blocks that do not overlap,
Carlstein 1986, Annals of Statistics 14(3)). Documents as blocks would be safer, but 46 of prose are
too few for a bound that adds one that is lost wholly. Windows of one document are not quite
independent: what quantization costs neighbours correlates by 0.05 to 0.23, and with documents as
blocks the standard error is 1.4 to 2.7 times as large (`benchmarks/text_blocks.py`, four recipes).
The window that the gate's bound adds is worth more than that: the bound was above the normal one by
documents in all eight comparisons
(1,600 windows of prose), 0.79% for 0.39 of dynamic int8, 5.41 for 5.22 of int4.
"""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.calibration_data.sample_set import SampleSet
from int8gate.calibration_data.texts.corpora import digest, documents
from int8gate.calibration_data.texts.tokenizers import Tokenizer

# Windows, at most: nearly all of the prose that is held out. Code has windows of tables and
# constants that are three times as hard as the mean: with 1,600 of it one that is lost unseen
# leaves room for 1.2%, with 3,200 for 0.6.
COUNT = {
    "calibration": {"prose": 64, "code": 64},
    "evaluation": {"prose": 1750, "code": 3200},
}
SEED = 20260101
PROSE_OF_TRAINING = 1 / 3
TOKENS = "tokens"  # the name of the network's input


class TextWindows(SampleSet):
    """Windows of one split, corpora mixed evenly, so that any head of it has both in their parts.

    `groups` (n,) names the corpus of each window.
    """

    def __init__(self, split: str, length: int, tokenizer: Tokenizer, dtype: str = "int32"):
        self.split, self.length, self.tokenizer, self.dtype = split, length, tokenizer, dtype
        self.name = f"text, {split}"

    def __len__(self) -> int:
        return len(self._windows)

    @cached_property
    def _chosen(self) -> tuple[np.ndarray, np.ndarray]:
        """Windows (n, length), and the number of the corpus of each (n,), in this order."""
        parts, places, numbers = [], [], []
        for number, (corpus, most) in enumerate(COUNT[self.split].items()):
            windows = _cut(corpus, self.split, self.length, self.tokenizer)
            count = min(most, len(windows))
            parts.append(windows[_evenly(len(windows), count)])
            places.append((np.arange(count) + 0.5) / count)
            numbers.append(np.full(count, number))
        order = np.argsort(np.concatenate(places), kind="stable")
        return np.concatenate(parts)[order], np.concatenate(numbers)[order]

    @property
    def _windows(self) -> np.ndarray:
        return self._chosen[0]

    @property
    def sources(self) -> np.ndarray:
        """Int (n,): every window is one, see the top of this file."""
        return np.arange(len(self))

    @property
    def groups(self) -> np.ndarray:
        return np.array(list(COUNT[self.split]))[self._chosen[1]]

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """What the network gets, (length,) of `dtype`, and the labels, int64 (length,)."""
        tokens, labels = with_begin(self._windows[index : index + 1], self.tokenizer.begin)
        return tokens[0].astype(self.dtype), labels[0]

    def named(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        tokens, labels = self.sample(index)
        return {TOKENS: tokens}, labels

    def digest(self) -> str:
        """Hex sha256 of what determines every window: the text itself, code, parameters."""
        content = hashlib.sha256(self.code().encode())
        content.update(digest(self.split).encode())
        content.update(repr((self.split, COUNT[self.split], self.length, self.dtype)).encode())
        content.update(self.tokenizer.identity.encode())
        return content.hexdigest()


def draw(split: str, given: tuple[Input, ...], tokenizer: Tokenizer) -> TextWindows:
    """The windows of "calibration" or "evaluation", for the one input `given` (length,)."""
    (tokens,) = given
    (length,) = tokens.shape
    assert length is not None  # a network's input is of fixed size
    return TextWindows(split, length, tokenizer, tokens.dtype)


def training_windows(
    split: str, count: int, length: int, tokenizer: Tokenizer
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs int32 and labels int64, (count, length), cut at random places of a split's documents.

    Places are drawn evenly over a corpus's tokens; prose is `PROSE_OF_TRAINING` of the windows.
    """
    rng = np.random.default_rng([SEED, count, len(split)])
    prose = round(count * PROSE_OF_TRAINING)
    parts = []
    for corpus, wanted in (("prose", prose), ("code", count - prose)):
        texts = [tokenizer.encode(text) for text in documents(corpus, split).values()]
        texts = [tokens for tokens in texts if len(tokens) >= length]
        room = np.array([len(tokens) - length + 1 for tokens in texts])
        which = rng.choice(len(texts), wanted, p=room / room.sum())
        starts = rng.integers(0, room[which])
        parts += [texts[i][start : start + length] for i, start in zip(which, starts, strict=True)]
    tokens, labels = with_begin(np.stack(parts), tokenizer.begin)
    return tokens.astype(np.int32), labels


def with_begin(windows: np.ndarray, begin: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows (n, length) as what the network gets and what follows, int64 (n, length) each."""
    tokens = np.empty(windows.shape, np.int64)
    tokens[:, 0], tokens[:, 1:] = begin, windows[:, :-1]
    return tokens, windows.astype(np.int64)


def _cut(corpus: str, split: str, length: int, tokenizer: Tokenizer) -> np.ndarray:
    """All whole windows of a split's documents, (n, length), document after document."""
    parts = []
    for text in documents(corpus, split).values():
        tokens = tokenizer.encode(text)
        whole = len(tokens) // length
        parts.append(tokens[: whole * length].reshape(whole, length))
    windows = np.concatenate(parts) if parts else np.empty((0, length), np.int64)
    if not len(windows):
        raise ValueError(
            f"the {corpus} of this Python has no {split} document of {length} tokens: choose "
            "shorter sequences"
        )
    return windows


def _evenly(count: int, most: int) -> np.ndarray:
    """`most` of `count` numbers, evenly spaced."""
    return np.arange(most) * count // most
