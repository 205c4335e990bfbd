"""Accepted figures as the tables of their file, and back: what is wrong is named with its key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict

from int8gate.validation.case_summary import Accuracy, Figures, Npu, Size


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
    from int8gate.engine.schema import Mistakes, checked
    from int8gate.validation.comparing.baseline_form import BaselineForm

    try:
        form = checked(BaselineForm, content)
    except Mistakes as wrong:
        mistake = wrong.found[0]
        cure = ": record it with --update-baseline" if mistake.told.endswith("missing") else ""
        raise ValueError(f"{where}, {_table_name(mistake.place)}: {mistake.told}{cure}") from None
    return {
        key: _figures_of(case, form.environments, f"{where}, {_table_name(('cases', key))}")
        for key, case in form.cases.items()
    }


def _table_of(figures: Figures, environment: str) -> dict:
    from int8gate.validation.comparing import baseline_form as forms

    def table(form: type, part: Accuracy | Size | Npu | None) -> dict | None:
        values = asdict(part) if part else {}
        return {name: values[name] for name in form.model_fields if values.get(name) is not None}

    npu = {target: table(forms.Npu, each) for target, each in sorted(figures.npu.items())}
    whole = {
        "environment": environment,
        "artifact": figures.artifact,
        "sqnr_db": figures.sqnr_db,
        "accuracy": table(forms.Accuracy, figures.accuracy),
        "size_bytes": table(forms.Size, figures.size_bytes),
        "npu": npu,
    }
    return {name: value for name, value in whole.items() if value not in (None, {})}


def _environment_name(environment: Mapping[str, str]) -> str:
    """`x86_64-1f0c2ab4`: the host, and a digest of it with the versions."""
    content = repr(sorted(environment.items())).encode()
    return f"{environment.get('host', 'host')}-{hashlib.sha256(content).hexdigest()[:8]}"


def _figures_of(case, environments: dict, within: str) -> Figures:
    if case.environment not in environments:
        known = ", ".join(sorted(environments)) or "none"
        raise ValueError(
            f"{within}: environment = {case.environment!r} is not among [environments]: {known}"
        )
    accuracy, size = case.accuracy, case.size_bytes
    return Figures(
        environment=environments[case.environment],
        artifact=case.artifact,
        accuracy=Accuracy(**accuracy.model_dump()) if accuracy else None,
        size_bytes=Size(**size.model_dump()) if size else None,
        npu={target: Npu(**npu.model_dump()) for target, npu in case.npu.items()},
        sqnr_db=case.sqnr_db,
    )


def _table_name(place: tuple) -> str:
    """`[cases."unet-tflite_int8".accuracy]`."""
    section, *inner = map(str, place) if place else ("",)
    quoted = [f'"{inner[0]}"' if section == "cases" else inner[0], *inner[1:]] if inner else []
    return f"[{'.'.join([section, *quoted])}]"
