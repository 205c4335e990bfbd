"""Accepted figures as the tables of their file, and back: what is wrong is named with its key."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict

from int8gate.validation.case_summary import Accuracy, Figures, Npu, Size

NUMBER, WHOLE, TEXT = "a number", "a whole number", "a text"
TYPES = {NUMBER: (int, float), WHOLE: (int,), TEXT: (str,)}
# The keys of each table in the order in which they are written, and those that it cannot do without
KEYS = {
    Accuracy: {
        "metric": TEXT,
        "unit": TEXT,
        "float": NUMBER,
        "quantized": NUMBER,
        "lower_95": NUMBER,
        "upper_95": NUMBER,
        "samples": WHOLE,
        "sources": WHOLE,
        "tolerance": NUMBER,
        "tolerance_rule": TEXT,
        "predictions": TEXT,
    },
    Size: {"float": WHOLE, "quantized": WHOLE},
    Npu: {
        "latency_ms": NUMBER,
        "coverage": NUMBER,
        "compiler": TEXT,
        "system_config": TEXT,
        "memory_mode": TEXT,
    },
}
NEEDED = {
    Accuracy: ("metric", "quantized", "samples", "sources"),
    Size: ("quantized",),
    Npu: (),
}
CASE = {"environment": TEXT, "artifact": TEXT, "sqnr_db": NUMBER}
PARTS = ("accuracy", "size_bytes", "npu")


def tables_of(cases: Mapping[str, Figures]) -> dict[str, dict]:
    """`environments` and `cases` as plain values, in the order of their names."""
    environments, tables = {}, {}
    for key, figures in sorted(cases.items()):
        name = _environment_name(figures.environment)
        environments[name] = dict(sorted(figures.environment.items()))
        tables[key] = _table_of(figures, name)
    return {"environments": dict(sorted(environments.items())), "cases": tables}


def figures_in(content: dict, where: str) -> dict[str, Figures]:
    """The cases of a file's content; `where` is its name.

    Raises ValueError naming the table and the key that is wrong.
    """
    environments = _table(content, "environments", where)
    for name, environment in environments.items():
        within = f"{where}, [environments.{name}]"
        for package in _is_table(environment, within):
            _check(environment, package, TEXT, within)
    return {
        key: _figures_of(entry, environments, where, f'cases."{key}"')
        for key, entry in _table(content, "cases", where).items()
    }


def _table_of(figures: Figures, environment: str) -> dict:
    table = {
        "environment": environment,
        "artifact": figures.artifact,
        "sqnr_db": figures.sqnr_db,
        "accuracy": figures.accuracy and _known(figures.accuracy),
        "size_bytes": figures.size_bytes and _known(figures.size_bytes),
        "npu": {target: _known(npu) for target, npu in sorted(figures.npu.items())},
    }
    return {name: value for name, value in table.items() if value not in (None, {})}


def _known(figures: Accuracy | Size | Npu) -> dict:
    values = asdict(figures)
    return {name: values[name] for name in KEYS[type(figures)] if values[name] is not None}


def _environment_name(environment: Mapping[str, str]) -> str:
    """`x86_64-1f0c2ab4`: the host, and a digest of it with the versions."""
    content = repr(sorted(environment.items())).encode()
    return f"{environment.get('host', 'host')}-{hashlib.sha256(content).hexdigest()[:8]}"


def _figures_of(entry: object, environments: dict, where: str, table: str) -> Figures:
    within = f"{where}, [{table}]"
    _refuse_unknown(_is_table(entry, within), {*CASE, *PARTS}, within)
    for key in CASE.keys() & entry.keys():
        _check(entry, key, CASE[key], within)
    name = entry.get("environment")
    if name not in environments:
        known = ", ".join(sorted(environments)) or "none"
        raise ValueError(f"{within}: environment = {name!r} is not among [environments]: {known}")

    def part(kind: type, key: str):
        return _part(kind, entry[key], f"{where}, [{table}.{key}]") if key in entry else None

    return Figures(
        environment=environments[name],
        artifact=entry.get("artifact"),
        accuracy=part(Accuracy, "accuracy"),
        size_bytes=part(Size, "size_bytes"),
        npu={
            target: _part(Npu, npu, f"{where}, [{table}.npu.{target}]")
            for target, npu in _table(entry, "npu", within).items()
        },
        sqnr_db=entry.get("sqnr_db"),
    )


def _part(kind: type, entry: object, within: str) -> Accuracy | Size | Npu:
    keys = KEYS[kind]
    _refuse_unknown(_is_table(entry, within), keys, within)
    if missing := [key for key in NEEDED[kind] if key not in entry]:
        raise ValueError(
            f"{within}: {', '.join(missing)} missing: record it with --update-baseline"
        )
    for key in entry:
        _check(entry, key, keys[key], within)
    return kind(**entry)


def _table(content: dict, key: str, where: str) -> dict:
    return _is_table(content.get(key, {}), f"{where}: {key}")


def _is_table(value: object, where: str) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a table, found {value!r}")
    return value


def _refuse_unknown(entry: dict, known: Mapping | set, within: str) -> None:
    if unknown := sorted(entry.keys() - set(known)):
        raise ValueError(f"{within}: unknown {', '.join(unknown)}; known: {', '.join(known)}")


def _check(entry: dict, key: str, kind: str, within: str) -> None:
    value = entry[key]
    if type(value) not in TYPES[kind] or (kind != TEXT and not math.isfinite(value)):
        raise ValueError(f"{within}: {key} = {value!r}, expected {kind}")
