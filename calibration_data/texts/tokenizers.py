"""From text to token numbers: bytes, of the compact models; a repository's own, of the full ones.

A declaration names one as ``module:function``, which is called with where the repository is (its
name on the hub, or its folder) and returns a `Tokenizer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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

    Only data are read; code of the repository is not run. Raises OSError where it cannot be
    fetched, ValueError for one that marks no beginning.
    """
    from transformers import AutoTokenizer

    if repository is None:
        raise ValueError("a tokenizer comes with its repository: name that, or its folder")
    loaded = AutoTokenizer.from_pretrained(str(repository), trust_remote_code=False)
    if loaded.bos_token_id is None:
        raise ValueError(
            f"the tokenizer of {repository} has no token for the beginning of a text, expected one "
            "(bos_token in tokenizer_config.json): add it"
        )

    def encode(text: str) -> np.ndarray:
        return np.array(loaded.encode(text, add_special_tokens=False), np.int64)

    return Tokenizer(encode, int(loaded.bos_token_id), len(loaded), _identity(repository, loaded))


def _identity(repository: str | Path, loaded) -> str:
    """What it makes of a text that has a bit of everything; names alone may change content."""
    probe = "def naïve(x):\n\treturn 10_000 * x  # ½, 日本, 🙂\n\n  The language's reference; "
    return f"{Path(repository).name} {len(loaded)} {loaded.encode(probe)}"
