"""What float and the quantized model drew (the record's `accuracy.pictures`), as rows of a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from int8gate.reporting.fields import dig

BASE64 = re.compile(r"[A-Za-z0-9+/]+=*")
ROWS = ("float", "quantized")


@dataclass(frozen=True)
class PictureRow:
    """`uri` is a ``data:`` URI of a PNG."""

    name: str
    uri: str
    about: str


def picture_rows(record: Mapping[str, Any]) -> list[PictureRow]:
    """None of a record without pictures, and of what is no base64: anybody may write a record."""
    drawn = dig(record, "accuracy", "pictures") or {}
    rows = [(name, drawn.get(name)) for name in ROWS]
    if not all(isinstance(content, str) and BASE64.fullmatch(content) for _, content in rows):
        return []
    about = f"the first {drawn.get('count')} samples, as {{}} draws them"
    return [
        PictureRow(name, f"data:image/png;base64,{content}", about.format(name))
        for name, content in rows
    ]
