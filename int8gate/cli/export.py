"""`int8gate export CASE DIR`: the quantized file to ship."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from int8gate.cli.case_options import CacheDir, DataDir, Profile, Trust, WeightsDir, Zoo

app = typer.Typer(help=__doc__)


@app.command()
def export(
    case: Annotated[str, typer.Argument(help="a case such as unet-tflite_int8")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="where the file goes")],
    zoo: Zoo = None,
    profile: Profile = "compact",
    weights_dir: WeightsDir = None,
    data_dir: DataDir = None,
    artifact_cache: CacheDir = None,
    trust: Trust = False,
    report: Annotated[Path, typer.Option(help="the --report of the last run")] = Path("report"),
    force: Annotated[bool, typer.Option("--force", help="also what did not pass")] = False,
) -> None:
    """Write the artifact of a case, from the cache or built now, with a description beside it.

    Refused where the report says that the case did not pass. `pytest --artifacts=DIR` writes what
    passed in the run itself.
    """
    from int8gate.validation.shipping import export as write

    try:
        gated, why_not = gated_record(case, profile, report)
        if why_not and not force:
            raise ValueError(
                f"{case} did not pass, says {report / 'results.json'}: {why_not}; "
                "--force exports it all the same"
            )
        settings = {"weights_dir": weights_dir, "data_dir": data_dir, "trust": trust}
        record = _built(case, zoo, artifact_cache, profile=profile, **settings)
        known = (gated or {}).get("artifact") or {}
        is_gated = known.get("sha256") == record["artifact"]["sha256"]
        record["verdict"] = gated["verdict"] if gated and is_gated else None
        typer.echo(str(write(record, directory)))
    except (ValueError, OSError, RuntimeError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    if not is_gated:
        typer.echo(
            f"not gated: {report / 'results.json'} has nothing of this file: pytest --int8-case "
            f"{case} --int8-report={report}",
            err=True,
        )


def gated_record(case: str, profile: str, report: Path) -> tuple[dict | None, str]:
    """What the last run found of the case, and why it may not ship, empty where it may.

    (None, "") where there is no report or it has no such case. Raises ValueError for a report that
    cannot be read.
    """
    from int8gate.validation.case_summary import case_key
    from int8gate.validation.verdict import run_answer, why_not_accepted

    file = report / "results.json"
    if not file.is_file():
        return None, ""
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        key = case if profile == "compact" else f"{profile}:{case}"
        found = next((record for record in results["cases"] if case_key(record) == key), None)
        if found is None or any(found is record for record in run_answer(results).may_ship):
            return found, ""
        return found, why_not_accepted(found) or "random weights, or a figure that got worse"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no report of int8gate: remove it, or name --report") from error


def _built(case: str, zoo: Path | None, cache: str | None, profile: str, **settings) -> dict:
    """The artifact of a case as a record has it."""
    from int8gate.cli.opened_case import case_of, opened_pipeline

    spec, chosen = case_of(case, zoo)
    with opened_pipeline(spec, chosen, cache, profile, **settings) as pipeline:
        artifact = pipeline.artifact(pipeline.resolved(spec), chosen).artifact
        return {
            "model": spec.name,
            "recipe": chosen.name,
            "profile": profile,
            "artifact": {"path": str(artifact.path), "sha256": artifact.sha256},
            "io": artifact.describe_io(),
        }
