"""Where greedy generation parts: how long a quantized language model writes what float does.

Each continues a prompt with the token that it finds likeliest, and so on. Up to the first
difference both have read the same, so that one pass of the quantized model over the float one's
text finds it. A task names such comparisons in `Task.generation`.
"""

from __future__ import annotations

import numpy as np

from int8gate.runtimes.session import Session

PROMPTS = 32  # of the first samples
GENERATED = 32  # tokens, at most: what is behind them was not looked at


def tokens_alike(real: Session, quantized: Session, tokens: np.ndarray) -> np.ndarray:
    """How many tokens both write alike before the first that differs, of `GENERATED` at most.

    `tokens` (n, length) are inputs of networks that give logits (n, length, vocabulary); the first
    half of each is the prompt. What stands behind a token does not reach it. Returns rows
    (min(n, `PROMPTS`), 2): the number, and 1.
    """
    written = tokens[:PROMPTS].copy()
    begin = written.shape[1] // 2
    end = min(begin + GENERATED, written.shape[1])
    for place in range(begin, end):
        written[:, place] = real.predict(written)[0][:, place - 1].argmax(axis=-1)
    found = quantized.predict(written)[0][:, begin - 1 : end - 1].argmax(axis=-1)
    alike = np.cumprod(found == written[:, begin:end], axis=1).sum(axis=1)
    return np.stack([alike, np.ones(len(alike))], axis=1).astype(np.float64)
