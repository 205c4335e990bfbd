"""Which of the recipes of a model that passed is the one to ship."""

from __future__ import annotations

import math
from collections.abc import Iterable

from int8gate.quantizers.recipe import RECIPES

RULE = (
    "Of a model's recipes that passed, the one to ship is quantized wholly to integers where one "
    "is, needs no declared exception, and is the fastest on the NPU, then the smallest, then the "
    "most accurate; figures within about 1% count as equal."
)
SMALL_CHANGE = 0.01  # modelled times and sizes this close are the same


def to_ship(records: Iterable[dict]) -> list[dict]:
    """One record for each model, in order of name, of those that `run_answer` says may ship."""
    best: dict[str, dict] = {}
    for record in records:
        known = best.get(record["model"])
        if known is None or _rank(record) < _rank(known):
            best[record["model"]] = record
    return [best[model] for model in sorted(best)]


def _rank(record: dict) -> tuple:
    """The less the better; what was not measured comes last."""
    gates, recipe = record.get("gates") or {}, RECIPES.get(record.get("recipe"))
    latencies = [entry.get("latency_ms") for entry in record.get("npu") or []]
    known = latencies and None not in latencies
    accuracy, fidelity = record.get("accuracy") or {}, record.get("fidelity") or {}
    sqnr, drop = fidelity.get("sqnr_db"), accuracy.get("drop")
    names = list(RECIPES)
    return (
        recipe is not None and recipe.is_reference,
        recipe is not None and not (recipe.is_full_integer or recipe.is_prequantized),
        "unsupported" in gates.values(),
        _step(sum(latencies)) if known else math.inf,
        gates.get("cpu_speedup") != "passed",
        _step((record.get("size_bytes") or {}).get("quantized")),
        math.inf if drop is None else drop,
        math.inf if sqnr is None else -sqnr,
        names.index(recipe.name) if recipe else len(names),
    )


def _step(value: float | None) -> float:
    """The logarithm in steps of `SMALL_CHANGE`."""
    return math.inf if not value else round(math.log(value) / SMALL_CHANGE)
