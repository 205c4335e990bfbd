"""Text of others, made fit for a terminal: names in model files and folders are anybody's."""

from __future__ import annotations

KEPT = "\n\t\N{NO-BREAK SPACE}"


def plain_text(text: str) -> str:
    """The text with `?` for every character that steers a terminal; lines and tabs stay.

    Escape codes, carriage returns, marks that turn the direction of writing, half surrogates.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in KEPT else "?" for char in text)
