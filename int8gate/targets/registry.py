"""Every target that an artifact can be judged on, by name: the host CPU, and the NPUs.

    @dataclass(frozen=True)
    class TeamNpu(Target):
        ...
    register(TeamNpu())

The modules of this folder do so, and a user's own that `plugins` of a TOML names.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache

import int8gate.targets
from int8gate.engine.plugins import class_name
from int8gate.targets.target import KINDS, Target

HOST = "host_cpu"  # measured in turn with the float artifact, by what executes both
DEFAULTS = (HOST, "ethos_u85_512")  # where the command line and the model name none
_REGISTERED: dict[str, Target] = {}


def register(target: Target) -> None:
    """Makes a target known. Raises ValueError where its name is taken, or its kind is none."""
    if target.kind not in KINDS:
        raise ValueError(
            f"target {target.name}: kind {target.kind!r}, expected one of {', '.join(KINDS)}"
        )
    known = _REGISTERED.get(target.name)
    if target.name == HOST or (known and class_name(known) != class_name(target)):
        raise ValueError(f"there is a target {target.name} already: choose another name")
    _REGISTERED[target.name] = target


def targets() -> dict[str, Target]:
    """Every target but the host, by name."""
    _load_ours()
    return dict(_REGISTERED)


def names() -> tuple[str, ...]:
    """The host's and those of all targets."""
    return (HOST, *targets())


def find(name: str) -> Target:
    """The target of that name. Raises ValueError for an unknown one, naming the nearest."""
    check_target(name)
    return targets()[name]


def check_target(name: str) -> None:
    """Raises ValueError for an unknown target, naming the nearest."""
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=2)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"--target {name} is unknown: expected one of {', '.join(known)}{hint}")


def taking(format: str, among: tuple[str, ...]) -> list[str]:
    """Those of the targets `among` that take artifacts of a format; the host is none of them."""
    known = targets()
    return [name for name in among if name in known and known[name].format == format]


def needed_by(name: str | None) -> tuple[str, ...]:
    """What a target runs, by the names of top-level packages; nothing of the host, or of None."""
    known = targets()
    return known[name].programs if name in known else ()


def packages(format: str | None = None) -> tuple[str, ...]:
    """The distributions that figures on all targets (of a format) depend on."""
    chosen = (each for each in targets().values() if format in (None, each.format))
    return tuple(dict.fromkeys(name for target in chosen for name in target.packages))


@cache
def _load_ours() -> None:
    for found in pkgutil.iter_modules(int8gate.targets.__path__):
        importlib.import_module(f"int8gate.targets.{found.name}")
