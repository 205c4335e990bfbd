"""Classification: a class per subfolder, or a table of files and classes.

Classes are numbered in sorted order (ImageNet's synset names sort to Keras's order), by their names
when all are whole numbers, or as the declaration lists them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from int8gate.calibration_data.folders.listing import (
    Example,
    Listing,
    Wanted,
    check_inside,
    named_picture,
    pictures_in,
    visible_folders,
)
from int8gate.calibration_data.pictures import SUFFIXES, shown

TABLE = "labels.csv"
MOST_TABLE_BYTES = 20_000_000
MOST_DIGITS = 10  # of a class number
FILE_COLUMNS = ("file", "filename", "file_name", "path", "image", "picture", "name")
CLASS_COLUMNS = ("class", "label", "class_name", "category", "target", "class_id", "label_id")


def list_folders(root: Path, wanted: Wanted) -> Listing:
    """``CLASS/*.jpg``; raises ValueError on another layout."""
    folders = visible_folders(root)
    names = [folder.name for folder in folders]
    if not folders or names == ["images", "masks"]:
        raise ValueError(
            f"data folder {shown(root)}: classification needs a subfolder per class with pictures "
            f"in it, found {'images/ and masks/, as for segmentation' if folders else 'none'}: "
            "sort the pictures into subfolders"
        )
    numbers = _numbers(f"data folder {shown(root)}", "class subfolder", names, wanted)
    examples = [
        Example(path, numbers[folder.name])
        for folder in folders
        for path in pictures_in(folder, wanted.home)
    ]
    if not examples:
        listed = shown(", ".join(names[:5])) + ", ..." * (len(names) > 5)
        raise ValueError(
            f"data folder {shown(root)}: expected pictures ({' '.join(sorted(SUFFIXES))}) in the "
            f"class subfolders, found none in {listed}: put them directly into these"
        )
    return Listing(examples)


def list_table(root: Path, wanted: Wanted) -> Listing:
    """``labels.csv``: a row per file, its path below the folder and its class; a header or none."""
    table = root / TABLE
    found = labelled_pictures(table, table_rows(table, "class", CLASS_COLUMNS), "class", wanted)
    names = sorted({of_class for _, of_class in found})
    numbers = _numbers(shown(table), "class", names, wanted)
    return Listing([Example(path, numbers[of_class]) for path, of_class in found])


def labelled_pictures(
    table: Path, rows: Iterable[tuple[int, str, str]], what: str, wanted: Wanted
) -> list[tuple[Path, str]]:
    """The pictures that a table's rows (line, file, label) name, beside it or in images/.

    Raises ValueError for one that is not there, or is listed twice; `what` is what a label is.
    """
    root = table.parent
    check_inside(table, wanted.home)
    seen: dict[Path, int] = {}
    found = []
    for line, name, label in rows:
        where = f"{shown(table)} line {line}"
        path = named_picture(name, [root, root / "images"], wanted.home, where)
        if path is None:
            raise ValueError(
                f"{where} names {shown(name)}, which is not in {shown(root)}: add the picture or "
                "remove the line"
            )
        if path in seen:
            raise ValueError(
                f"{shown(table)} lists {shown(name)} in line {seen[path]} and in line {line}: a "
                f"picture has one {what}, remove one of the lines"
            )
        seen[path] = line
        found.append((path, label))
    if not found:
        raise ValueError(f"{shown(table)} lists no picture: expected a file and its {what} a line")
    return found


def table_rows(
    table: Path, what: str, columns: tuple[str, ...], is_strict: bool = False
) -> Iterator[tuple[int, str, str]]:
    """Line, file and label of each row behind the header.

    `columns` are names for the labels' column, `what` is what they are. With `is_strict` a cell
    too many is refused: labels that may hold commas are to stand in quotes.
    """
    places, width = None, 0
    for line, row in _cells(table, what, is_strict):
        if places is None:
            is_header = Path(row[0]).suffix.lower() not in SUFFIXES
            places = _columns(table, row, what, columns) if is_header else (0, 1)
            width = len(row) if is_header else 2
            if is_header:
                continue
        where = f"{shown(table)} line {line} reads {shown(','.join(row))!r}"
        if len(row) <= max(places) or not all(row[place] for place in places):
            raise ValueError(f"{where}: expected a file and its {what}")
        if is_strict and len(row) > width:
            raise ValueError(
                f"{where}, {len(row)} cells of a table of {width}: put a {what} with a comma in "
                "quotes"
            )
        yield line, row[places[0]], row[places[1]]


def read_table(table: Path) -> str:
    """Its text; raises ValueError where it is missing, too large or not UTF-8."""
    if not table.is_file():
        raise ValueError(f"data folder {shown(table.parent)} holds no {table.name}: add it")
    if table.stat().st_size > MOST_TABLE_BYTES:
        raise ValueError(f"{shown(table)} has more than {MOST_TABLE_BYTES} bytes: shorten it")
    try:
        return table.read_bytes().decode("utf-8-sig")
    except UnicodeError as error:
        raise ValueError(f"{shown(table)} is not a table ({error}): save it in UTF-8") from error


def _cells(table: Path, what: str, is_strict: bool) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row that is not empty."""
    text = read_table(table)
    first = text.partition("\n")[0]
    delimiter = next((sign for sign in ",;\t" if sign in first), ",")
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        skipinitialspace=True,
        strict=is_strict,
    )
    try:
        for row in reader:
            if any(row):
                yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise ValueError(
            f"{shown(table)} is not a table ({error}): save it as CSV in UTF-8, file,{what}"
        ) from error


def _columns(
    table: Path, header: list[str], what: str, columns: tuple[str, ...]
) -> tuple[int, int]:
    """Where the header says that file and label are; the first two where there are only two."""
    names = [name.lower() for name in header]
    file, label = (
        next((names.index(name) for name in known if name in names), None)
        for known in (FILE_COLUMNS, columns)
    )
    if file is not None and label is not None:
        return file, label
    if len(header) != 2:
        raise ValueError(
            f"{shown(table)} has the columns {shown(', '.join(header))}: expected file and {what}"
        )
    return 0, 1


def _numbers(where: str, what: str, names: list[str], wanted: Wanted) -> dict[str, int]:
    """The class number of each name; `where` and `what` are for the sentences of errors."""
    classes, declared = wanted.classes, wanted.class_names
    if declared is not None:
        order = {str(name): number for number, name in enumerate(declared)}
        unknown = [name for name in names if name not in order]
        if unknown:
            raise ValueError(
                f"{where} has a {what} {shown(unknown[0])}, which is not one of the {len(order)} "
                "names that the key classes lists: add it there, or remove it"
            )
        return {name: order[name] for name in names}
    if not all(name.isdecimal() and len(name) < MOST_DIGITS for name in names):
        if classes is not None and len(names) != classes:
            plural = "classes" if what == "class" else f"{what}s"
            one_way = (
                "add the missing ones (folders may be empty)"
                if len(names) < classes
                else f"remove those that the network does not know ({shown(', '.join(names))})"
            )
            raise ValueError(
                f"{where} has {len(names)} {plural}, the network {classes} classes: {one_way}, or "
                "name each by its class number (in a model of your own: or list the network's "
                'names in its order, classes = ["first", "second", ...])'
            )
        return {name: number for number, name in enumerate(names)}
    numbers = {name: int(name) for name in names}
    if classes is not None and max(numbers.values()) >= classes:
        raise ValueError(
            f"{where} has a {what} {max(numbers.values())}, the network classes "
            f"0..{classes - 1}: renumber or remove it"
        )
    return numbers
