"""From text to token numbers: bytes, of the compact models; a repository's own, of the full ones.

A declaration names one as ``module:function``, which is called with where the repository is (its
name on the hub, or its folder) and returns a `Tokenizer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

BEGIN = 256  # the token that stands before the first byte


@dataclass(frozen=True)
class Tokenizer:
    """`encode` takes a text and gives its token numbers, int64 (t,), without any mark; `begin` is
    the token that stands before a sequence; `vocabulary` is how many tokens there are; `identity`
    goes into cache keys.
    """

    encode: Callable[[str], np.ndarray]
    begin: int
    vocabulary: int
    identity: str


def of_bytes(repository: str | Path | None = None) -> Tokenizer:
    """A token for each of the 256 values of a byte (UTF-8), and `BEGIN`."""
    return Tokenizer(_bytes, BEGIN, BEGIN + 1, "bytes")


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


def of_repository(repository: str | Path | None) -> Tokenizer:
    """The tokenizer of a Hugging Face repository: its name on the hub, or its folder.

    Only data are read; code of the repository is not run. Raises FileNotFoundError saying what to
    do where it cannot be read, ValueError for one that marks no beginning.
    """
    if repository is None:
        raise ValueError("a tokenizer comes with its repository: name that, or its folder")
    loaded = _loaded(str(repository))
    if loaded.bos_token_id is None:
        raise ValueError(
            f"the tokenizer of {repository} has no token for the beginning of a text, expected one "
            "(bos_token in tokenizer_config.json): add it"
        )
    encode = partial(_encoded, str(repository))  # travels to the worker, which loads it again
    identity = _identity(repository, loaded)
    return Tokenizer(encode, int(loaded.bos_token_id), len(loaded), identity)


@cache
def _loaded(repository: str):
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(repository, trust_remote_code=False)
    except Exception as error:  # a damaged file raises no narrower one
        raise FileNotFoundError(
            f"the tokenizer of {repository} could not be read ({str(error).splitlines()[0]}): "
            "connect this machine and accept the repository's licence where it has one, or pass "
            "--weights-dir DIR with its files in a folder of the model's name"
        ) from error


def _encoded(repository: str, text: str) -> np.ndarray:
    return np.array(_loaded(repository).encode(text, add_special_tokens=False), np.int64)


def _identity(repository: str | Path, loaded) -> str:
    """What it makes of a text that has a bit of everything; names alone may change content."""
    probe = "def naïve(x):\n\treturn 10_000 * x  # ½, 日本, 🙂\n\n  The language's reference; "
    return f"{Path(repository).name} {len(loaded)} {loaded.encode(probe)}"
