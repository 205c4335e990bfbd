"""What a case must reach, read from `expectations.toml`, and which gates are known not to hold.

The TOML explains its keys. To add a key: a field of `Expectations`, a line in the file. A gate that
is known not to hold says why, where that is followed up, and until when; the first form never
expires:

    unsupported.cpu_speedup = "no fast kernel for PRELU on x86"
    unsupported.accuracy = { reason = "clips", link = "https://...", expires = 2027-03-01 }

It is read and checked while pytest collects, so nothing heavy is imported: not `engine.schema`
either, for pydantic takes longer than all that is done here.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from fnmatch import fnmatchcase
from functools import cache
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from int8gate.engine.errors import instead, on_a_line
from int8gate.quantizers.recipe_type import ALL_GATES
from int8gate.tasks.registry import task

if TYPE_CHECKING:
    from int8gate.model_zoo.spec import ModelSpec


EXCEPTION_KEYS = ("reason", "link", "expires")
FORM = 'gate = "reason", or gate = {reason = "...", link = "https://...", expires = 2027-03-01}'

CONVERSION = "conversion"  # declared unsupported as a gate is: no artifact, so no gate can hold
DEFAULT_FILE = Path(__file__).with_suffix(".toml")
NOTHING: Mapping = MappingProxyType({})

OPTIONAL = {
    "unsupported",
    "least_metric",
    "least_sqnr_db",
    "least_channel_sqnr_db",
    "least_agreement",
    "least_psnr_db",
}


@dataclass(frozen=True)
class KnownFailure:
    """A gate's exception; the day of `expires` is the last on which it holds."""

    reason: str
    link: str | None = None
    expires: date | None = None

    def is_expired(self, today: date) -> bool:
        return self.expires is not None and today > self.expires

    def __str__(self) -> str:
        about = (self.link, self.expires and f"until {self.expires.isoformat()}")
        known = "; ".join(filter(None, about))
        return f"{self.reason} ({known})" if known else self.reason


def known_failures(unsupported: dict) -> dict[str, KnownFailure]:
    """The exceptions of a checked table by gate."""
    return {
        gate: KnownFailure(**({"reason": told} if isinstance(told, str) else told))
        for gate, told in unsupported.items()
    }


def check_known_failures(where: str, unsupported: object, gates: Collection[str]) -> None:
    """Raises ValueError naming the entry, the gate and the key that is wrong."""
    if not isinstance(unsupported, dict):
        raise ValueError(f"{where}: unsupported must be {FORM}, found {unsupported!r}")
    _check_keys(f"{where}: unsupported", unsupported, gates)
    for gate, told in unsupported.items():
        _check(f"{where}: unsupported.{gate}", told if isinstance(told, dict) else {"reason": told})


def expiry_of(gate: str, known: KnownFailure) -> str:
    """What to say of an exception that is past its last day."""
    assert known.expires is not None, "it would have no last day"
    return (
        f"the exception of {gate} expired on {known.expires.isoformat()} ({known.reason}"
        f"{f'; {known.link}' if known.link else ''}): mend it and take its entry out, or agree on "
        "another date there"
    )


def _check_keys(where: str, table: dict, known: Collection[str]) -> None:
    if unknown := [key for key in table if key not in known]:
        raise ValueError(f"{where}: unknown {on_a_line(unknown[0])}; {instead(unknown[0], known)}")


def _check(where: str, known: dict) -> None:
    _check_keys(where, known, EXCEPTION_KEYS)
    reason, link, expires = (known.get(key) for key in EXCEPTION_KEYS)
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError(f"{where}: unsupported must be {FORM}, found {reason!r} as the reason")
    if link is not None and not re.fullmatch(r"https?://\S+", str(link)):
        raise ValueError(f"{where}: link must be an address such as https://..., found {link!r}")
    if expires is not None and type(expires) is not date:
        raise ValueError(
            f"{where}: expires must be a date such as 2027-03-01, without quotes, found {expires!r}"
        )


@dataclass(frozen=True)
class Expectations:
    """What one case must reach; `unsupported` maps a gate to the reason why it cannot hold, in
    words, and `known_failures` to the same with its link and expiry.
    """

    accuracy: str
    size_ratio: float
    cpu_speedup_x86: float
    npu_speedup: float
    npu_coverage: float
    least_sqnr_db: float = 20.0
    least_channel_sqnr_db: float = 10.0
    least_agreement: float | None = None  # None: that of the `Task`
    least_metric: float | None = None
    least_psnr_db: float | None = None
    unsupported: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    known_failures: Mapping[str, KnownFailure] = field(default_factory=lambda: NOTHING)

    def minimum(self, float_metric: float) -> float:
        """Least metric of the quantized model, for that of the float model."""
        return _evaluate(ast.parse(self.accuracy, mode="eval").body, float_metric)

    def tolerance(self, float_metric: float, higher_is_better: bool = True) -> float:
        """The drop that is allowed, in the metric's unit.

        Of a metric where lower is better, or below zero, the rule says by how much the two may
        differ: 0.99 * float and 1.01 * float both allow 1% more error. Of others a rule above the
        float metric gives a negative tolerance, which no test takes.
        """
        allowed = float_metric - self.minimum(float_metric)
        return allowed if higher_is_better and float_metric >= 0 else abs(allowed)

    def expired(self, today: date) -> dict[str, str]:
        """What to say of each gate whose exception is past its date, which fails it."""
        known = self.known_failures.items()
        return {gate: expiry_of(gate, each) for gate, each in known if each.is_expired(today)}


KEYS = {entry.name for entry in fields(Expectations)} - {"known_failures"}
OWN_KEYS = KEYS - {"least_psnr_db"}  # of users' models: none of their tasks draws pictures
NUMBERS = KEYS - {"accuracy", "unsupported"}


@cache
def expectations_for(
    case_id: str, file: Path = DEFAULT_FILE, profile: str = "compact"
) -> Expectations:
    """Expectations of a case such as `unet-tflite_int8`, in a profile.

    Raises ValueError naming the entry that is wrong, or the keys that no entry sets.
    """
    merged, known = {}, {}
    for pattern, entry in _read(file).items():
        if any(fnmatchcase(name, pattern) for name in (case_id, f"{profile}:{case_id}")):
            merged |= entry
            known |= known_failures(entry.get("unsupported", {}))
    if missing := ", ".join(sorted(KEYS - merged.keys() - OPTIONAL)):
        raise ValueError(f"{file.name}: no entry sets {missing} for case {case_id}")
    merged["unsupported"] = MappingProxyType({gate: str(each) for gate, each in known.items()})
    return Expectations(**merged, known_failures=MappingProxyType(known))


def expectations_of(spec: ModelSpec, recipe_name: str, profile: str) -> Expectations:
    """Expectations of a model with a recipe; what a user's model declares stands over its task's
    rule, and that over the file.
    """
    expected = expectations_for(f"{spec.name}-{recipe_name}", profile=profile)
    own = spec.own
    rule = task(spec.task).accuracy
    if own and rule and not own.metric:
        expected = replace(expected, accuracy=rule)
    return with_own(expected, own.expect, own.where) if own and own.expect else expected


def metrics_of(spec: ModelSpec) -> tuple[str, ...]:
    """What a model is scored by: its own declared metric, or those of its task."""
    own = spec.own
    return (own.metric,) if own and own.metric else task(spec.task).metrics


def with_own(expected: Expectations, entry: dict, where: str) -> Expectations:
    """The expectations with an own model's `expect` over them; ValueError names what is wrong."""
    check_entry(where, entry, OWN_KEYS)
    known = {**expected.known_failures, **known_failures(entry.get("unsupported", {}))}
    told = MappingProxyType({gate: str(each) for gate, each in known.items()})
    given = entry | {"unsupported": told}
    return replace(expected, **given, known_failures=MappingProxyType(known))


@cache
def _read(file: Path) -> dict[str, dict]:
    """The checked entries in the order of the file."""
    with open(file, "rb") as stream:
        entries = tomllib.load(stream)
    for pattern, entry in entries.items():
        check_entry(f'{file.name}, ["{pattern}"]', entry)
    for above, below in combinations(entries, 2):
        if fnmatchcase(above, below):
            raise ValueError(
                f'{file.name}: ["{below}"] stands below ["{above}"], which it covers and would'
                " override: move it up"
            )
    return entries


def check_entry(where: str, entry: object, keys: Collection[str] = KEYS) -> None:
    """Raises ValueError for a key that is none of `keys`, a type, gate or arithmetic that is not
    known.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected a table of expectations, found {entry!r}")
    _check_keys(where, entry, sorted(keys))
    for key in NUMBERS & entry.keys():
        if type(entry[key]) not in (int, float) or not 0 < entry[key] < float("inf"):
            raise ValueError(f"{where}: {key} must be a positive number, found {entry[key]!r}")
    if "accuracy" in entry:
        _check_arithmetic(where, entry["accuracy"])
    gates = (*ALL_GATES, CONVERSION)
    check_known_failures(where, entry.get("unsupported", {}), gates)


def _check_arithmetic(where: str, text: object) -> None:
    try:
        _evaluate(ast.parse(text, mode="eval").body, 1.0)
    except (
        SyntaxError,
        TypeError,
        ValueError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    ) as error:
        raise ValueError(
            f"{where}: accuracy = {text!r:.60} must be arithmetic of numbers, float, + - * and"
            f" parentheses, such as '0.99 * float' ({error})"
        ) from error


def _evaluate(node: ast.expr, float_metric: float) -> float:
    """Value of a whitelisted expression. Raises ValueError for any other syntax."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.Name(id="float"):
            return float_metric
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _evaluate(left, float_metric) + _evaluate(right, float_metric)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _evaluate(left, float_metric) - _evaluate(right, float_metric)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _evaluate(left, float_metric) * _evaluate(right, float_metric)
    raise ValueError(f"{ast.unparse(node)!r} is not allowed")
