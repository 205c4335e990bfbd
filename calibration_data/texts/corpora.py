"""Two corpora of real text that every installation of Python carries, and their splits.

    prose   the topics of `pydoc_data`: the language reference, in English
    code    the modules of the standard library, in Python

A document is a topic or a module; each belongs to one split. Topics repeat one another (the chapter
on compound statements holds the page on ``for``), and modules share licences and idioms, so a long
paragraph counts in the longest document that has it alone: no two splits share one.

Another version of Python has other documents. `digest` says of what text samples were made, so that
caches notice; figures in the weights' manifest are of the version that they were measured with.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SPLITS = ("train", "calibration", "evaluation")
LONGEST = 45_000  # characters of a document that is held out: a few long ones would be most of it
REPEATED = 80  # characters: from here on a paragraph that stands twice is no coincidence
LEAST = 400  # characters of a document: less is a heading


@dataclass(frozen=True)
class Corpus:
    """A named set of documents; `read` gives texts by name. `evaluation` and `calibration` are the
    parts of all text that are held out for them, the rest trains.
    """

    name: str
    read: Callable[[], dict[str, str]]
    evaluation: float
    calibration: float


def _topics() -> dict[str, str]:
    from pydoc_data.topics import topics

    return dict(topics)


def _modules() -> dict[str, str]:
    """The modules of the standard library that are a file directly in its folder."""
    return {
        path.stem: path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(Path(os.__file__).parent.glob("*.py"))
        if path.stem in sys.stdlib_module_names
    }


CORPORA = {
    each.name: each
    for each in (
        Corpus("prose", _topics, evaluation=0.6, calibration=0.05),
        Corpus("code", _modules, evaluation=0.2, calibration=0.05),
    )
}


@cache
def documents(corpus: str, split: str) -> dict[str, str]:
    """The texts of a corpus that belong to a split of `SPLITS`, by name, in an order of chance that
    is the same on every machine.

    Raises FileNotFoundError where this Python came without them, and KeyError for another split.
    """
    return _divided(corpus)[split]


@cache
def _divided(corpus: str) -> dict[str, dict[str, str]]:
    chosen = CORPORA[corpus]
    try:
        texts = without_repeats(chosen.read())
    except (ImportError, OSError) as error:
        raise FileNotFoundError(
            f"the {corpus} of the language models cannot be read from this Python, "
            f"{sys.version.split()[0]} ({error}): install its standard library with sources and "
            "pydoc_data, or choose other models with -k"
        ) from error
    texts = {name: text for name, text in texts.items() if len(text) >= LEAST}
    if not texts:
        raise FileNotFoundError(
            f"this Python, {sys.version.split()[0]}, has no {corpus} for the language models, "
            f"expected sources beside {os.__file__}: install its standard library with them, or "
            "choose other models with -k"
        )
    return divided(texts, chosen.evaluation, chosen.calibration)


def without_repeats(texts: dict[str, str]) -> dict[str, str]:
    """The texts with each paragraph of `REPEATED` characters or more in the longest one alone."""
    seen: set[str] = set()
    kept = {}
    for name in sorted(texts, key=lambda name: (-len(texts[name]), name)):
        paragraphs = []
        for paragraph in texts[name].split("\n\n"):
            content = " ".join(paragraph.split())
            if len(content) >= REPEATED:
                if content in seen:
                    continue
                seen.add(content)
            paragraphs.append(paragraph)
        kept[name] = "\n\n".join(paragraphs)
    return kept


def divided(
    texts: dict[str, str], evaluation: float, calibration: float
) -> dict[str, dict[str, str]]:
    """The texts by split: those held out in an order of chance until their part of all characters
    is reached. What is longer than `LONGEST` trains.
    """
    total = sum(map(len, texts.values()))
    wanted = {"evaluation": evaluation * total, "calibration": calibration * total}
    parts: dict[str, dict[str, str]] = {split: {} for split in SPLITS}
    reached = dict.fromkeys(wanted, 0)
    for name in sorted(texts, key=_shuffled):
        size = len(texts[name])
        open_splits = [split for split in wanted if reached[split] < wanted[split]]
        if size > LONGEST or not open_splits:
            parts["train"][name] = texts[name]
            continue
        parts[open_splits[0]][name] = texts[name]
        reached[open_splits[0]] += size
    return parts


def _shuffled(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@cache
def digest(split: str) -> str:
    """Hex sha256 of all texts of a split, of all corpora."""
    content = hashlib.sha256()
    for corpus in CORPORA:
        for name, text in documents(corpus, split).items():
            content.update(f"{corpus} {name} {len(text)}\n{text}".encode())
    return content.hexdigest()
