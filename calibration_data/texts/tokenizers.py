"""From text to token numbers: bytes, of the compact models; a repository's own, of the full ones.

A declaration names one as ``module:function``, which is called with where the repository is (its
name on the hub, or its folder) and returns a `Tokenizer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

BEGIN = 256  # the token that stands before the first byte
END = 0  # that behind a prompt's last
PIPELINE = ("tokenizer", "tokenizer_2")  # subfolders of a repository of diffusers


@dataclass(frozen=True)
class Tokenizer:
    """`encode` takes a text and gives its token numbers, int64 (t,), without any mark; `begin` is
    the token that stands before a sequence; `vocabulary` is how many tokens there are; `identity`
    goes into cache keys. `prompts` are for text encoders, one for each that has tokens of its own:
    a text and a length to that many token numbers (more where the text is too long), with the marks
    and the padding that the encoder knows.
    """

    encode: Callable[[str], np.ndarray]
    begin: int
    vocabulary: int
    identity: str
    prompts: tuple[Callable[[str, int], np.ndarray], ...] = ()


def of_bytes(repository: str | Path | None = None) -> Tokenizer:
    """A token for each of the 256 values of a byte (UTF-8), and `BEGIN`. A prompt begins with that
    mark, and ends with one zero or more.
    """
    return Tokenizer(_bytes, BEGIN, BEGIN + 1, "bytes", (_prompt_of_bytes,))


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


def _prompt_of_bytes(text: str, length: int) -> np.ndarray:
    marked = np.concatenate([[BEGIN], _bytes(text), [END]])
    return np.pad(marked, (0, max(0, length - len(marked))), constant_values=END)


def of_repository(repository: str | Path | None, folder: str = "") -> Tokenizer:
    """The tokenizer of a Hugging Face repository: its name on the hub, or its folder; in the
    subfolder `folder` where that is given.

    Only data are read; code of the repository is not run. Raises FileNotFoundError saying what to
    do where it cannot be read, ValueError for one that marks no beginning.
    """
    if repository is None:
        raise ValueError("a tokenizer comes with its repository: name that, or its folder")
    loaded = _loaded(str(repository), folder)
    if loaded.bos_token_id is None:
        raise ValueError(
            f"the tokenizer of {repository} has no token for the beginning of a text, expected one "
            "(bos_token in tokenizer_config.json): add it"
        )
    # Travels to the worker, which loads it again.
    encode = partial(_encoded, str(repository), folder)
    identity = _identity(repository, loaded)
    return Tokenizer(encode, int(loaded.bos_token_id), len(loaded), identity)


def of_pipeline(repository: str | Path | None) -> Tokenizer:
    """The tokenizers of a repository of diffusers, one for each text encoder; texts are encoded by
    the first. Raises as `of_repository` does.
    """
    first = of_repository(repository, PIPELINE[0])
    place = str(repository)
    folders = [folder for folder in PIPELINE if _has(place, folder)]
    identities = [_identity(place, _loaded(place, folder)) for folder in folders]
    prompts = tuple(partial(_prompt, place, folder) for folder in folders)
    return replace(first, identity=" ".join(identities), prompts=prompts)


def _has(repository: str, folder: str) -> bool:
    from diffusers import DiffusionPipeline

    parts: Any = DiffusionPipeline.load_config(repository)
    return parts.get(folder, [None])[0] is not None


def _prompt(repository: str, folder: str, text: str, length: int) -> np.ndarray:
    tokens = _loaded(repository, folder)(text, padding="max_length", max_length=length)
    return np.array(tokens["input_ids"], np.int64)


@cache
def _loaded(repository: str, folder: str = ""):
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(repository, subfolder=folder, trust_remote_code=False)
    except Exception as error:  # a damaged file raises no narrower one
        raise FileNotFoundError(
            f"the tokenizer of {repository} could not be read ({str(error).splitlines()[0]}): "
            "connect this machine and accept the repository's licence where it has one, or pass "
            "--weights-dir DIR with its files in a folder of the model's name"
        ) from error


def _encoded(repository: str, folder: str, text: str) -> np.ndarray:
    return np.array(_loaded(repository, folder).encode(text, add_special_tokens=False), np.int64)


def _identity(repository: str | Path, loaded) -> str:
    """What it makes of a text that has a bit of everything; names alone may change content."""
    probe = "def naïve(x):\n\treturn 10_000 * x  # ½, 日本, 🙂\n\n  The language's reference; "
    return f"{Path(repository).name} {len(loaded)} {loaded.encode(probe)}"
