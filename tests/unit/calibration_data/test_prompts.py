"""Prompts with their noise, and the pictures that diffusion models are trained on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from data_folders import refused

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.calibration_data.synthetic import prompts
from int8gate.calibration_data.synthetic.picture_sources import digits
from int8gate.calibration_data.texts.tokenizers import BEGIN, of_bytes

NOISE, TOKENS = Input("noise", (4, 8, 8), "float32"), Input("tokens", (24,), "int32")


def drawn(split: str = "evaluation") -> prompts.PromptSamples:
    return prompts.draw(split, (NOISE, TOKENS), of_bytes())


def text_of(tokens: np.ndarray) -> str:
    """What stands between the beginning mark and the zeros."""
    assert tokens[0] == BEGIN
    text, _, rest = bytes(tokens[1:].astype(np.uint8)).partition(b"\0")
    assert not rest.strip(b"\0")
    return text.decode()


def test_samples_are_the_same_twice_and_every_one_has_noise_of_its_own():
    first, second = drawn(), drawn()
    assert first == second
    assert len(first) == 400
    assert len(set(first.sources)) == 400
    seen = set()
    for index in (399, 0, 7):
        arrays, label = first.named(index)
        again, _ = second.named(index)
        assert label == first.sample(index)[1] == index % 10
        for one, other, given in zip(arrays.values(), again.values(), first.drawn, strict=True):
            assert np.array_equal(one, other)
            assert (one.shape, one.dtype) == (given.shape, given.dtype)
        seen.add(arrays["noise"].tobytes())
    assert len(seen) == 3
    every = np.stack([first.sample(index)[0] for index in range(100)])
    assert abs(every.mean()) < 0.03
    assert abs(every.std() - 1) < 0.03


def test_another_split_has_other_noise_and_the_same_prompts():
    calibration, evaluation = drawn("calibration"), drawn()
    assert calibration != evaluation
    assert len(calibration) == 100
    for index in range(3):
        (one, _), (other, _) = calibration.named(index), evaluation.named(index)
        assert np.array_equal(one["tokens"], other["tokens"])
        assert abs(np.corrcoef(one["noise"].ravel(), other["noise"].ravel())[0, 1]) < 0.3


def test_labels_are_what_the_prompts_ask_for():
    samples = drawn()
    asked = Counter()
    for index in range(len(samples)):
        arrays, label = samples.named(index)
        text = text_of(arrays["tokens"])
        assert text == samples.prompt(index)
        named = [word for word in (prompts.WORDS[label], str(label)) if word in text.split()]
        assert len(named) == 1, text
        asked[text] += 1
    assert len(asked) == 10 * len(prompts.PHRASINGS)
    assert set(asked.values()) == {5}


def test_an_empty_prompt_is_a_mark_and_zeros():
    found = prompts.encoded(prompts.EMPTY, of_bytes(), 6)
    assert found.tolist() == [BEGIN, 0, 0, 0, 0, 0]
    assert found.dtype == np.int32


def test_a_prompt_that_is_too_long():
    refused(lambda: prompts.encoded("seven", of_bytes(), 6), "'seven'", "7 tokens", "takes 6")
    assert prompts.encoded("seven", of_bytes(), 7).tolist() == [BEGIN, *b"seven", 0]


@pytest.mark.parametrize(
    "inputs",
    [
        (),
        (NOISE,),
        (TOKENS, NOISE),
        (NOISE, Input("tokens", (None,), "int32")),
        (NOISE, Input("tokens", (24, 2), "int32")),
        (NOISE, Input("tokens", (24,), "int64")),
        (Input("noise", (4, None, 8), "float32"), TOKENS),
    ],
    ids=["none", "no tokens", "turned", "free", "matrix", "int64", "free noise"],
)
def test_other_inputs_are_refused(inputs):
    listed = str(inputs[0]) if inputs else "nothing"
    refused(lambda: prompts.draw("evaluation", inputs, of_bytes()), listed, "mend `drawn`")


def test_training_pictures_are_the_training_splits_digits():
    pictures, texts = prompts.training_pictures(200, 32, 0)
    again, _ = prompts.training_pictures(200, 32, 0)
    assert np.array_equal(pictures, again)
    assert not np.array_equal(pictures, prompts.training_pictures(200, 32, 1)[0])
    assert (pictures.shape, pictures.dtype) == ((200, 32, 32, 1), np.float32)
    assert 0 <= pictures.min() < 0.1 < 0.9 < pictures.max() <= 1
    known, labels, _ = digits("train")
    small = pictures.reshape(200, 8, 4, 8, 4).mean(axis=(2, 4)).reshape(200, 64)
    distances = ((small[:, None] - known.reshape(1, -1, 64)) ** 2).sum(axis=2)
    nearest = labels[distances.argmin(axis=1)]
    asked = [
        next(d for d in range(10) if prompts.WORDS[d] in text or str(d) in text) for text in texts
    ]
    assert (nearest == asked).mean() > 0.95
    assert set(texts) <= {
        prompts.prompt_of(digit, phrasing)
        for digit in range(10)
        for phrasing in range(len(prompts.PHRASINGS))
    }
