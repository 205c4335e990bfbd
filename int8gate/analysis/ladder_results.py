"""What a ladder of remedies found: each recipe that was tried, which won, and how to declare it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.recipe_type import WIDTHS, Recipe

NOTHING_GAINED_DB = 0.1  # of SQNR, where there are no labels
NOTICEABLE = 0.1  # of the drop of the case itself


@dataclass
class Tried:
    """What a recipe came to; None of what was not measured.

    `drop` and its bound are in the metric's unit, `gain` is how much less is lost than by the case
    itself, in that unit or in dB of SQNR without labels. `latency_ms` is by target, `coverage` the
    share of operators that run on an NPU. `gates` are their statuses, `verdict` is passed, refused
    (by a gate of the case's own that it fails), failed, inconclusive, invalid, same (as a file
    before) or error; `message` says why.
    """

    recipe: str
    what: str
    verdict: str = "error"
    message: str = ""
    drop: float | None = None
    drop_upper_95: float | None = None
    sqnr_db: float | None = None
    gain: float | None = None
    latency_ms: dict[str, float | None] = field(default_factory=dict)
    coverage: float | None = None
    size_bytes: int | None = None
    seconds: float = 0.0
    gates: dict[str, str] = field(default_factory=dict)
    sha256: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Ladder:
    """What was tried for a case, in order, and how it ended.

    `winner` is the recipe that passes, None where none does; `drop_together` its bound at the
    confidence of all tries. `ending` is a sentence, `declaration` what to write into a TOML.
    """

    case: str
    metric: str | None
    tolerance: float | None
    base: Tried
    tried: list[Tried] = field(default_factory=list)
    winner: str | None = None
    drop_together: float | None = None
    ending: str = ""
    declaration: str = ""
    is_interrupted: bool = False

    def as_record(self) -> dict:
        """As plain values: the record's `rescue`."""
        return asdict(self)


def declaration(base: Recipe, winner: Recipe) -> str:
    """What to write into a TOML so that the model is gated by the recipe that won."""
    added = winner.rules[len(base.rules) :]
    if not added:
        return f'recipes = ["{winner.name}"]'
    plain, remedies = replace(winner, name="", summary="", rules=base.rules), winner.remedies
    from_name = next(  # the recipe that the rules were added to
        "+".join((each.name, *remedies[len(each.remedies) :]))
        for each in RECIPES.values()
        if replace(each, name="", summary="", remedies=remedies) == plain
        and remedies[: len(each.remedies)] == each.remedies
    )
    by_width = {width: [r.match for r in added if r.width == width] for width in WIDTHS}
    lines = [
        f"{width} = [{', '.join(_quoted(name) for name in names)}]"
        for width, names in by_width.items()
        if names
    ]
    return "\n".join(
        (
            f'recipes = ["{winner.name}"]\n',
            f"[recipes.{winner.name}]",
            f'base = "{from_name}"',
            *lines,
        )
    )


def _quoted(text: str) -> str:
    """As a text of a TOML."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def gained(base: Tried, tried: Tried) -> float | None:
    if base.drop is not None and tried.drop is not None:
        return base.drop - tried.drop
    if base.sqnr_db is not None and tried.sqnr_db is not None:
        return tried.sqnr_db - base.sqnr_db
    return None


def helped(tried: Tried, base: Tried) -> bool:
    """It lost less than the case itself by a tenth or more: less is noise."""
    if tried.gain is None or tried.verdict in ("error", "same"):
        return False
    if tried.drop is None or base.drop is None:
        return tried.gain > NOTHING_GAINED_DB
    return tried.gain > NOTICEABLE * base.drop


def best_so_far(ladder: Ladder) -> str:
    """A sentence on the recipe that lost least."""
    better = [each for each in ladder.tried if helped(each, ladder.base)]
    if not better:
        return "none loses much less than the case itself"
    best = max(better, key=lambda each: each.gain or 0)
    unit = f"a drop of {best.drop:.4g}" if best.drop is not None else f"{best.sqnr_db:.1f} dB"
    but = f", refused: {best.message}" if best.verdict == "refused" else ""
    return f"the best is {best.recipe} with {unit}{but}"


def first_line(message: str) -> str:
    """The line of a gate's message that says what was measured."""
    return message.splitlines()[0].removeprefix("measured: ") if message else ""
