"""Reading a Darknet `.cfg`: sections of options, each with the line it stands in.

The format is that of Darknet's `parser.c` (Redmon; Bochkovskiy's fork,
https://github.com/AlexeyAB/darknet):
``[kind]`` opens a section, ``key=value`` lines follow, `#` and `;` begin comments, blanks do not
count. The first section, [net], is the network's; layer 0 is the section after it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

KINDS = {  # Darknet's short names
    "conv": "convolutional",
    "conn": "connected",
    "max": "maxpool",
    "avg": "avgpool",
    "soft": "softmax",
    "network": "net",
}
LARGEST = 2**31 - 1  # of a number: Darknet's int
MOST_BYTES = 10_000_000  # of a file; that of the largest known network has 30,000
MOST_SHOWN = 60  # characters of a value, in a message
OF_TRAINING = {"stopbackward", "onlyforward", "learning_rate_scale", "grad_centr"}


@dataclass(frozen=True)
class Section:
    """A section: its kind, options as written, and where it stands: layer number (-1: [net])."""

    kind: str
    options: dict[str, str]
    line: int
    number: int
    file: str = "cfg"

    def __str__(self) -> str:
        place = f"layer {self.number}, " if self.number >= 0 else ""
        kind = self.kind[:MOST_SHOWN]
        kind = kind if kind.isprintable() else repr(kind)
        return f"{self.file}: {place}[{kind}] in line {self.line}"

    def integer(self, name: str, default: int, least: int | None = None) -> int:
        """An option as an int; raises ValueError naming it if it is none, or below `least`.

        Darknet keeps it in 32 bits.
        """
        value = self._converted(name, self.options.get(name, str(default)), int, "a whole number")
        if abs(value) > LARGEST:
            raise ValueError(f"{self}: {name} has {len(str(value))} digits: expected 32 bits")
        if least is not None and value < least:
            raise ValueError(f"{self}: {name}={value}: expected {least} or more")
        return value

    def number_of(self, name: str, default: float) -> float:
        """An option as a float."""
        return self._converted(name, self.options.get(name, str(default)), float, "a number")

    def text(self, name: str, default: str) -> str:
        return self.options.get(name, default)

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of ints; raises ValueError if the option is missing."""
        return tuple(
            self._converted(name, value, int, "whole numbers") for value in self._list(name)
        )

    def numbers(self, name: str) -> tuple[float, ...]:
        return tuple(self._converted(name, value, float, "numbers") for value in self._list(name))

    def check_options(self, read: set[str], only: dict[str, str]) -> None:
        """Looks for options that would make another network of it than the importer does.

        Raises ValueError if an option of `only` has another value than that. Warns, as Darknet
        does, of options that are neither there nor in `read`: one may be misspelt.
        """
        for name, value in only.items():
            if self.options.get(name, value) != value:
                raise ValueError(
                    f"{self}: {name}={self.options[name]} is not supported, only {name}={value}: "
                    "bring the network in another format, such as ONNX"
                )
        unread = sorted(self.options.keys() - read - only.keys() - OF_TRAINING)
        if unread:
            warnings.warn(f"{self}: not read: {', '.join(unread)}", stacklevel=3)

    def _list(self, name: str) -> list[str]:
        if not self.options.get(name, "").strip(","):
            raise ValueError(f"{self}: option {name} is missing: expected numbers with commas")
        return [value for value in self.options[name].split(",") if value]

    def _converted(self, name: str, value: str, kind: type, expected: str):
        try:
            return kind(value)
        except ValueError:
            raise ValueError(
                f"{self}: {name}={value[:MOST_SHOWN]} is not {expected}: mend the file"
            ) from None


@dataclass(frozen=True)
class YoloHead:
    """What turns a raw map into boxes: anchors (width, height) in pixels of the network's input."""

    anchors: tuple[tuple[float, float], ...]
    classes: int
    scale_x_y: float
    new_coords: bool
    number: int  # of the layer


def read(path: Path) -> tuple[str, list[Section]]:
    """Text and sections of a file; raises ValueError if it is no cfg, OSError if unreadable."""
    if Path(path).stat().st_size > MOST_BYTES:
        raise ValueError(f"{path} is not a Darknet cfg: it has more than {MOST_BYTES:,} bytes")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(
            f"{path} is not a Darknet cfg: it is not text (is it the .weights file?)"
        ) from None
    return text, parse(text, Path(path).name)


def parse(text: str, file: str = "cfg") -> list[Section]:
    """Sections in order, [net] first; raises ValueError naming the line that cannot be read."""
    sections: list[Section] = []
    for line, written in enumerate(text.splitlines(), start=1):
        content = "".join(written.split("#")[0].split())
        if not content or content.startswith(";"):
            continue
        if content.startswith("["):
            kind = content.strip("[]")
            number = len(sections) - 1
            sections.append(Section(KINDS.get(kind, kind), {}, line, number, file))
            continue
        name, equals, value = content.partition("=")
        if not equals or not sections:
            expected = "key=value" if sections else "[net] first"
            raise ValueError(
                f"{file}: line {line}: found {written.strip()[:MOST_SHOWN]!r}, expected {expected}"
            )
        sections[-1].options[name] = value
    kinds = [section.kind for section in sections]
    if kinds[:1] != ["net"] or "net" in kinds[1:] or len(kinds) < 2:
        found = ", ".join(f"[{kind[:MOST_SHOWN]}]" for kind in kinds[:3]) or "nothing"
        raise ValueError(f"{file}: expected one section [net], then layers; found {found}")
    return sections


def input_shape(net: Section) -> tuple[int, int, int]:
    """Channels, height and width; raises ValueError if [net] leaves them out."""
    channels, height, width = (net.integer(name, 0) for name in ("channels", "height", "width"))
    shape = channels, height, width
    if min(shape) < 1:
        raise ValueError(
            f"{net}: channels, height and width are {shape}: all must be given and positive"
        )
    return shape


def yolo_head(section: Section) -> YoloHead:
    """What a [yolo] section says of its anchors."""
    flat = section.numbers("anchors")
    total = section.integer("num", 1)
    mask = section.integers("mask") if "mask" in section.options else tuple(range(total))
    if len(flat) < 2 * total or not all(0 <= number < total for number in mask):
        raise ValueError(
            f"{section}: num={total} anchors and mask {mask} do not fit the {len(flat) // 2} pairs "
            "of anchors"
        )
    return YoloHead(
        tuple((flat[2 * number], flat[2 * number + 1]) for number in mask),
        section.integer("classes", 20),
        section.number_of("scale_x_y", 1.0),
        bool(section.integer("new_coords", 0)),
        section.number,
    )
