"""Prompts that ask for a handwritten digit, with the noise that a diffusion model begins with
(`PromptSamples`); and what such a model is trained on: pictures of digits, with prompts.

A digit is asked for in several phrasings, the same in training and in evaluation. The noise is
every sample's own.
"""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np
from PIL import Image

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.calibration_data.sample_set import SampleSet
from int8gate.calibration_data.synthetic.picture_sources import SPLITS, digits
from int8gate.calibration_data.texts.tokenizers import Tokenizer

SEED = 20260101
COUNT = {"calibration": 100, "evaluation": 400}
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PHRASINGS = (
    "a handwritten {word}",
    "the digit {number}",
    "number {word}",
    "a picture of {number}",
    "please write {word}",
    "{number}",
    "the numeral {word}",
    "a handwritten {number}",
)
EMPTY = ""  # what guidance compares a prompt with
# How much training pictures vary; with twice as much their digits are read less well.
SHIFT, TURN, RESIZE = 1 / 32, 5.0, 0.05  # of the side, degrees, of the size


class PromptSamples(SampleSet):
    """Noise and the tokens of a prompt, by the names of `drawn`; the label is the digit, int64."""

    def __init__(self, split: str, drawn: tuple[Input, ...], tokenizer: Tokenizer, count: int):
        _check(drawn)
        self.split, self.drawn, self.tokenizer = split, drawn, tokenizer
        self.name = f"prompts, {split}"
        self._count = count

    def __len__(self) -> int:
        return self._count

    @cached_property
    def sources(self) -> np.ndarray:
        """Int (n,): samples share neither noise nor anything that was drawn."""
        return np.arange(self._count)

    def prompt(self, index: int) -> str:
        """All digits in turn, then all of them in the next phrasing."""
        return prompt_of(index % 10, index // 10 % len(PHRASINGS))

    def named(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        noise, *texts = self.drawn
        arrays = {noise.name: self._noise(index)}
        for place, text in enumerate(texts):
            (length,) = text.shape
            assert length is not None  # see `_check`
            arrays[text.name] = encoded(self.prompt(index), self.tokenizer, length, place)
        return arrays, self._digit(index)

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The noise alone, and the digit."""
        return self._noise(index), self._digit(index)

    def digest(self) -> str:
        """Hex sha256 of what determines every sample: code, parameters, libraries."""
        content = hashlib.sha256(self.code().encode())
        parameters = (self.split, self.drawn, len(self), self.tokenizer.identity)
        content.update(repr(parameters).encode())
        return content.hexdigest()

    def _digit(self, index: int) -> np.ndarray:
        return np.array(index % 10, np.int64)

    def _noise(self, index: int) -> np.ndarray:
        rng = np.random.default_rng([SEED, SPLITS.index(self.split), index])
        return rng.standard_normal(self.drawn[0].shape, np.float32)


def draw(split: str, drawn: tuple[Input, ...], tokenizer: Tokenizer) -> PromptSamples:
    """The samples of "calibration" or "evaluation": noise, float32, then token numbers, int32 (t,),
    as the declaration's `drawn` has them. Raises ValueError for other inputs.
    """
    return PromptSamples(split, drawn, tokenizer, COUNT[split])


def prompt_of(digit: int, phrasing: int) -> str:
    return PHRASINGS[phrasing].format(word=WORDS[digit], number=digit)


def encoded(prompt: str, tokenizer: Tokenizer, length: int, place: int = 0) -> np.ndarray:
    """Token numbers, int32 (length,), with the marks and the padding of the text encoder: of bytes
    the beginning mark, the text, zeros. `place` counts text encoders of different tokens.

    Raises ValueError for a prompt that is too long.
    """
    if not tokenizer.prompts:
        raise ValueError(
            f"the tokenizer {tokenizer.identity.split()[0]} does not say how prompts are padded: "
            "name one that does, such as of_bytes"
        )
    frame = tokenizer.prompts[min(place, len(tokenizer.prompts) - 1)]
    tokens = frame(prompt, length)
    if len(tokens) != length:
        raise ValueError(
            f"the prompt {prompt!r} has {len(tokens)} tokens with its marks, the text encoder "
            f"takes {length}: shorten it, or declare more"
        )
    return tokens.astype(np.int32)


def training_pictures(count: int, side: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Digits of the training split alone, enlarged, a little shifted, turned and resized: pictures
    float32 (count, side, side, 1) in 0..1, ink bright, and a prompt for each.
    """
    rng = np.random.default_rng([SEED, SPLITS.index("train"), seed])
    pictures, labels, _ = digits("train")
    drawn = np.empty((count, side, side, 1), np.float32)
    prompts = []
    for index in range(count):
        which = rng.integers(len(pictures))
        drawn[index, ..., 0] = _enlarged(rng, pictures[which], side)
        prompts.append(prompt_of(int(labels[which]), int(rng.integers(len(PHRASINGS)))))
    return drawn, prompts


def _enlarged(rng: np.random.Generator, picture: np.ndarray, side: int) -> np.ndarray:
    """A digit float32 (8, 8) in 0..1 as (side, side), about its middle."""
    grey = Image.fromarray(np.uint8(np.rint(picture * 255)))
    grey = grey.resize((side, side), Image.Resampling.BICUBIC)
    angle = np.deg2rad(rng.uniform(-TURN, TURN))
    size = rng.uniform(1 - RESIZE, 1 + RESIZE)
    cosine, sine = np.cos(angle) / size, np.sin(angle) / size
    middle = side / 2
    across, down = rng.uniform(-SHIFT, SHIFT, 2) * side
    # From a place of the result to that of the digit which it shows.
    inverse = (
        *(cosine, sine, middle + across - (cosine + sine) * middle),
        *(-sine, cosine, middle + down - (cosine - sine) * middle),
    )
    moved = grey.transform(grey.size, Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC)
    return np.asarray(moved, np.float32) / 255


def _check(drawn: tuple[Input, ...]) -> None:
    listed = ", ".join(map(str, drawn)) or "nothing"
    noise, texts = drawn[:1], drawn[1:]
    is_noise = all(each.dtype == "float32" and None not in each.shape for each in noise)
    are_tokens = all(
        each.dtype == "int32" and len(each.shape) == 1 and None not in each.shape for each in texts
    )
    if not (noise and texts and is_noise and are_tokens):
        raise ValueError(
            f"samples of prompts are declared as {listed}; expected noise of float32, then tokens "
            "(n, length) of int32, all of fixed shapes: mend `drawn`"
        )
