"""A mix of widths that was found for a case, as a table of plain text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from int8gate.reporting.fields import DASH, printable, size, three_digits
from int8gate.reporting.rescue import aligned

HOST = "host_cpu"  # as records call this machine


def mix_lines(mixed: Mapping[str, Any]) -> list[str]:
    """Of the record of a `Mixed`: its layers, its figures, how it ended, and the TOML to paste."""
    unit = mixed["cost_unit"]
    widths = mixed["widths"]
    rows = [
        (
            printable(row["name"]),
            DASH if row["loss_share"] is None else f"{row['loss_share']:.2%}",
            *(_added(row["costs"].get(width), unit) for width in widths),
            row["width"],
        )
        for row in mixed["layers"]
    ]
    heads = [f"{width} adds ({unit})" for width in widths]
    lines = aligned([("layer", "of the loss", *heads, "width"), *rows])
    lines.append(f"and {mixed['other_layers']} others, which stay as {mixed['case']} has them")
    noted = [f"  {printable(row['name'])}: {row['note']}" for row in mixed["layers"] if row["note"]]
    lines += noted
    parts = {"search": mixed["on_search"], "confirmation": mixed["on_confirmation"]}
    judged = [
        (
            part,
            str(found["samples"]),
            f"{found['drop']:.4f}",
            f"{found['drop_upper_95']:.4f}",
            f"{found['tolerance']:.4f}",
            found["verdict"],
        )
        for part, found in parts.items()
        if found
    ]
    if judged:
        head = ("part", "samples", f"{mixed['metric']} drop", "at most", "allowed", "verdict")
        lines += ["", *aligned([head, *judged])]
    if mixed["size_bytes"]:
        lines += ["", *_costs(mixed)]
    lines += ["", *mixed["notes"], mixed["ending"], ""]
    lines += [] if mixed["is_confirmed"] else ["# not confirmed: no recipe to ship as it is"]
    return lines + mixed["declaration"].splitlines()


def _costs(mixed: Mapping[str, Any]) -> list[str]:
    where = "host" if mixed["target"] == HOST else mixed["target"]
    head = ("", "size", "of int8", f"{where} ms", "of int8", "file")
    sizes, times = mixed["size_bytes"], mixed["latency_ms"]
    rows = []
    for name in ("int8", "mixed", "float32"):
        ratio = times[name] / times["int8"] if times.get("int8") and name in times else None
        rows.append(
            (
                name,
                size(sizes[name]),
                f"{sizes[name] / sizes['int8']:.2f}",
                three_digits(times.get(name)),
                DASH if ratio is None else f"{ratio:.2f}",
                {"int8": "all int8", "mixed": mixed["recipe"], "float32": "all float32"}[name],
            )
        )
    return aligned([head, *rows])


def _added(cost: float | None, unit: str) -> str:
    if cost is None:
        return DASH
    return f"{cost:+.0f}" if unit == "bytes" else f"{cost:+.4f}"
