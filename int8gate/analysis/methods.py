"""All recipes, remedies and mixed assignments of a model that were run, ranked, and which to take.

    compared = compare_methods("unet", [read_run(Path("report"))])
    compared.methods            best score first, each with a rank
    compared.recommended        for each target the fastest that passes, and why
    summaries(run)              the same of each model, as a report's record holds it

A rank is shared by methods that cannot be told from the best of their rank: in pairs where both
runs kept predictions of the same samples, else by the intervals of their drops from float, or of
their scores.
The Pareto front holds the methods that passed, and float, which no other of them beats in accuracy
and in cost: latency on a target, or size. The recommended recipe is that of `shipping.to_ship` for
the target.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass

from int8gate.analysis.method_points import SIZE, Method, method_of
from int8gate.analysis.method_ranks import Comparer, Recommended, ranked, recommended_on, with_front
from int8gate.engine.errors import instead
from int8gate.targets.registry import HOST
from int8gate.validation.comparing.history import Run


@dataclass(frozen=True)
class Methods:
    """The methods of a model, best first; `notes` say what was left out or taken from where."""

    model: str
    metric: str | None
    unit: str
    profile: str
    targets: tuple[str, ...]
    kinds: dict[str, str]
    methods: tuple[Method, ...]
    recommended: tuple[Recommended, ...]
    notes: tuple[str, ...]

    def method(self, recipe: str) -> Method:
        """Raises ValueError for a recipe that was not run, naming the nearest."""
        for each in self.methods:
            if each.recipe == recipe:
                return each
        known = [each.recipe for each in self.methods]
        raise ValueError(f"{self.model} was not run with {recipe!r}: {instead(recipe, known)}")


def compare_methods(
    model: str,
    runs: Sequence[Run],
    targets: Collection[str] = (),
    profile: str | None = None,
    declared: Collection[str] = (),
) -> Methods:
    """What the runs found of a model; of a case that several ran the last that was scored.

    `targets` are those of interest, all that were timed where none is named. Raises ValueError for
    a model, a profile or a target that no run has. `declared` as of `metric_of_file`.
    """
    profile = profile or _profile(model, runs)
    found, notes = _latest(model, runs, profile)
    methods = [method_of(record, run, declared) for record, run in found]
    timed = _timed(methods)
    if missing := [each for each in targets if each not in timed]:
        known = ", ".join(timed) or "no target"
        raise ValueError(
            f"no recipe of {model} was timed on {missing[0]}: the runs have {known}; run pytest "
            f"-k {model} --target {missing[0]}"
        )
    targets = tuple(each for each in timed if not targets or each in targets)
    compare = Comparer(declared)
    methods, unranked = ranked(methods, compare)
    for which in (*targets, SIZE):
        methods = with_front(methods, which, compare)
    accuracy = next((each.figures.accuracy for each in methods if each.figures.accuracy), None)
    notes += _remarks(methods, compare, targets)
    return Methods(
        model=model,
        metric=accuracy.metric if accuracy else None,
        unit=accuracy.unit if accuracy else "fraction",
        profile=profile,
        targets=targets,
        kinds={target: _kind(target, methods) for target in targets},
        methods=(*methods, *unranked),
        recommended=tuple(recommended_on(target, [*methods, *unranked]) for target in targets),
        notes=tuple(notes),
    )


def summaries(run: Run, declared: Collection[str] = ()) -> list[dict]:
    """What `results.json` holds of the methods: an entry for each model with two scored recipes."""
    scored: dict[tuple[str, str], int] = {}
    for record in run.cases:
        key = record["model"], record.get("profile") or "compact"
        scored[key] = scored.get(key, 0) + bool(record.get("accuracy"))
    compared = (
        compare_methods(model, [run], profile=profile, declared=declared)
        for (model, profile), count in scored.items()
        if count > 1
    )
    return [_summary(each) for each in compared]


def _summary(methods: Methods) -> dict:
    return {
        "model": methods.model,
        "profile": methods.profile,
        "recommended": [asdict(each) for each in methods.recommended],
        "ranks": [
            {
                "recipe": each.recipe,
                "rank": each.rank,
                "fronts": list(each.fronts),
                "by_chance": list(each.by_chance),
            }
            for each in methods.methods
        ],
        "notes": list(methods.notes),
    }


def _profile(model: str, runs: Sequence[Run]) -> str:
    """The one that the model was run in; compact where it was run in both."""
    cases = [record for run in runs for record in run.cases]
    profiles = {each.get("profile") or "compact" for each in cases if each.get("model") == model}
    if not profiles:
        known = sorted({str(record.get("model")) for record in cases})
        names = ", ".join(run.name for run in runs) or "no run"
        hint = instead(model, known) if known else "they hold no case"
        raise ValueError(f"{names}: nothing was run of a model {model!r}: {hint}")
    return "compact" if "compact" in profiles else profiles.pop()


def _latest(
    model: str, runs: Sequence[Run], profile: str
) -> tuple[list[tuple[dict, Run]], list[str]]:
    """One record for each recipe: of the last run that scored it, else of the last."""
    chosen: dict[str, tuple[dict, Run]] = {}
    notes, names = [], {}
    for run in sorted(runs, key=lambda each: each.time):
        for record in run.cases:
            if record.get("model") != model or (record.get("profile") or "compact") != profile:
                continue
            recipe = record["recipe"]
            known = chosen.get(recipe)
            names.setdefault(recipe, []).append(run.name)
            if known is None or record.get("accuracy") or not known[0].get("accuracy"):
                chosen[recipe] = record, run
    if not chosen:
        raise ValueError(f"{model} was not run in the profile {profile}: run pytest -k {model}")
    for recipe, where in names.items():
        if len(where) > 1:
            notes.append(f"{recipe} is in {len(where)} runs: taken from {chosen[recipe][1].name}")
    return list(chosen.values()), notes


def _timed(methods: Iterable[Method]) -> tuple[str, ...]:
    """The targets that any method was timed on, the host first."""
    names = [HOST]
    names += sorted({entry["target"] for of in methods for entry in of.record.get("npu") or []})
    return tuple(name for name in names if any(of.cost(name) is not None for of in methods))


def _kind(target: str, methods: Iterable[Method]) -> str:
    entries = (entry for of in methods for entry in of.record.get("npu") or [])
    kinds = {entry.get("kind") for entry in entries if entry["target"] == target}
    return "measured" if target == HOST else " or ".join(sorted(filter(None, kinds)))


def _remarks(methods: Sequence[Method], compare: Comparer, targets: Collection[str]) -> list[str]:
    notes = []
    if compare.unpaired:
        scored = {each.recipe for each in methods}
        named = "all" if compare.unpaired == scored else ", ".join(sorted(compare.unpaired))
        notes.append(
            f"compared by intervals, not in pairs, which sees less: {named} (pytest --report keeps "
            "what each sample scored)"
        )
    timed = [each for each in methods if each.cost(HOST) is not None]
    machines = sorted({each.run.machine for each in timed})
    if HOST in targets and len(machines) > 1:
        notes.append(f"{HOST} times are of different machines: {'; '.join(machines)}")
    counts = {of.recipe: of.figures.accuracy.samples for of in methods if of.figures.accuracy}
    fewer = [
        f"{recipe} on {count}" for recipe, count in counts.items() if count < max(counts.values())
    ]
    if fewer:
        notes.append(f"scored on fewer samples: {', '.join(fewer)}")
    return notes
