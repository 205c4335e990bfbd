"""Texts that pictures show: a table of files and texts, or PaddleOCR's list of them.

    labels.csv    file,text (a header is optional; a text with a comma stands in quotes)
    label.txt     a line for each picture, its path, a tabulator, its text

White space at the ends of a text is left out, nothing else is changed: `validation.metrics` says
how texts are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from int8gate.calibration_data.folders.classes import (
    TABLE,
    labelled_pictures,
    read_table,
    table_rows,
)
from int8gate.calibration_data.folders.listing import Example, Listing, Wanted
from int8gate.calibration_data.pictures import check_resolution, open_picture, shown

LINES = "label.txt"
TEXT_COLUMNS = ("text", "label", "transcription", "words")


def list_texts(root: Path, wanted: Wanted) -> Listing:
    """The pictures of the one table that is there; raises ValueError on both, or another layout."""
    table, lines = root / TABLE, root / LINES
    if table.is_file() and lines.is_file():
        raise ValueError(
            f"data folder {shown(root)} holds {TABLE} and {LINES}: remove the one that is not meant"
        )
    if lines.is_file():
        found = labelled_pictures(lines, _lines(lines), "text", wanted)
    else:
        rows = table_rows(table, "text", TEXT_COLUMNS, is_strict=True)
        found = labelled_pictures(table, rows, "text", wanted)
    return Listing([Example(path, text) for path, text in found])


def read_text(example: Example, wanted: Wanted, rows: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 (h, w, c) and its text, str ()."""
    picture = open_picture(example.picture, wanted.fit.mode)
    check_resolution(example.picture, picture, wanted.fit)
    return wanted.fit.frame(picture), np.array(example.label)


def _lines(table: Path) -> Iterator[tuple[int, str, str]]:
    """Number, file and text of each line that is not empty."""
    for number, line in enumerate(read_table(table).split("\n"), start=1):
        if not line.strip():
            continue
        name, _, text = (part.strip() for part in line.partition("\t"))
        if not name or not text:
            raise ValueError(
                f"{shown(table)} line {number} reads {shown(line.strip())!r}: expected a path, a "
                "tabulator and a text"
            )
        yield number, name, text
