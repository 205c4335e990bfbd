"""The ladder of remedies of a case (the record's `rescue`) as a table of plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from int8gate.reporting.fields import DASH, percent, printable, size, three_digits

Row = tuple[str, ...]


def ladder_lines(ladder: Mapping[str, Any]) -> list[str]:
    """What was tried, a line each under a head, how it ended, and what to write into a TOML."""
    base = ladder["base"]
    rows = [base, *ladder["tried"]]
    targets = list(dict.fromkeys(name for row in rows for name in row["latency_ms"]))
    head = ("recipe", *_scored_by(ladder), "SQNR dB", "gain", *(f"{name} ms" for name in targets))
    head = (*head, "on NPU", "size", "seconds", "result")
    table = [head, *(_row(row, targets, base["drop"] is not None) for row in rows)]
    lines = aligned(table)
    lines += [""] * bool(ladder["ending"]) + [ladder["ending"]]
    reasons = [f"  {row['recipe']}: {row['message']}" for row in ladder["tried"] if row["message"]]
    lines += ["", "why not:", *reasons] if reasons else []
    if ladder["declaration"]:
        lines += ["", *ladder["declaration"].splitlines()]
    return list(map(printable, lines))


def tried_in_words(row: Mapping[str, Any]) -> str:
    """A recipe and what it came to: `onnx_int8+cle: drop 0.0100 (at most 0.0153), ...: passed`."""
    figures = []
    if row["drop"] is not None:
        figures.append(f"drop {_number(row['drop'])} (at most {_number(row['drop_upper_95'])})")
    if row["sqnr_db"] is not None:
        figures.append(f"SQNR {row['sqnr_db']:.1f} dB")
    figures += [
        f"{name} {three_digits(latency)} ms"
        for name, latency in row["latency_ms"].items()
        if latency is not None
    ]
    return ": ".join(filter(None, (row["recipe"], ", ".join(figures), row["verdict"])))


def _scored_by(ladder: Mapping[str, Any]) -> Row:
    if ladder["base"]["drop"] is None:
        return ()
    allowed = f" (allowed {ladder['tolerance']:.4g})" if ladder["tolerance"] is not None else ""
    return f"{ladder['metric']} drop", f"at most{allowed}"


def _row(row: Mapping[str, Any], targets: Sequence[str], is_scored: bool) -> Row:
    scored = (_number(row["drop"]), _number(row["drop_upper_95"])) if is_scored else ()
    sqnr = DASH if row["sqnr_db"] is None else f"{row['sqnr_db']:.1f}"
    latencies = (three_digits(row["latency_ms"].get(name)) for name in targets)
    return (
        row["recipe"],
        *scored,
        sqnr,
        DASH if row["gain"] is None else f"{row['gain']:+.4f}",
        *latencies,
        DASH if row["coverage"] is None else percent(row["coverage"]),
        size(row["size_bytes"]),
        f"{row['seconds']:.1f}",
        row["verdict"],
    )


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.4f}"


def aligned(table: Sequence[Row]) -> list[str]:
    """Names to the left, figures to the right: a table that can be pasted into a ticket."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        first, *middle, last = (
            cell.ljust(width) if place in (0, len(row) - 1) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join((first, *middle, last)).rstrip())
    return lines
