"""Which of the gates that exist for a run's models the command line selected."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from int8gate.model_zoo.spec import ModelSpec
from int8gate.plugin.cases import Gate, case_id, gates_of, offered
from int8gate.plugin.models import FULL_ALONE, MODELS
from int8gate.plugin.options import DEFAULT_RECIPE
from int8gate.quantizers.recipe import recipe
from int8gate.quantizers.recipe_type import ALL_GATES
from int8gate.targets.registry import HOST, needed_by

GATE_ID = re.compile(r"::test_(?P<gate>\w+)\[(?P<label>.+)\]$")
MANY = 4  # models named one by one in a sentence


def gate_id(nodeid: str) -> tuple[str, str] | None:
    """The gate and the label in a test's id: `("size", "unet-tflite_int8")`."""
    found = GATE_ID.search(nodeid)
    return (found["gate"], found["label"]) if found else None


class Selection:
    """Tells the records of a run which gates they will get, in the process that reports.

    Raises UsageError where models or recipes that the command line names leave nothing to gate, and
    where selected gates need packages that are not installed.
    """

    def __init__(self, config: pytest.Config, records):
        self.config, self.records = config, records
        self._has_begun = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if not hasattr(self.config, "workerinput"):
            self._begin([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """The workers of xdist all collect the same; one that replaces a dead one does so later."""
        if not self._has_begun:
            self._begin(ids)

    def _begin(self, nodeids: list[str]) -> None:
        self._has_begun = True
        models = self.config.stash[MODELS].values()
        existing = {gate.key: gate for spec in models for gate in gates_of(self.config, spec)}
        selected = [existing[key] for key in map(gate_id, nodeids) if key in existing]
        if why := self._nothing_left(selected, nodeids):
            raise pytest.UsageError(why)
        option = self.config.option
        if not (option.collectonly or option.setuponly or option.setupplan):
            if why := _not_installed(selected) or self._no_weights(selected):
                raise pytest.UsageError(why)
            self.records.expect(existing.values(), selected)

    def _nothing_left(self, selected: list[Gate], nodeids: list[str]) -> str | None:
        """Why the command line leaves nothing to gate, of a model or a recipe; else None."""
        keyword = self.config.option.keyword or ""
        alone = [name for name in self.config.stash[FULL_ALONE] if name in keyword]
        if alone and not nodeids:
            return f"{alone[0]} has the full profile alone: add --profile full"
        names = [
            name for name in self.config.getoption("int8_recipe") or () if name != DEFAULT_RECIPE
        ]
        specs = list({gate.spec.name: gate.spec for gate in selected}.values())
        others = any(not _is_gate(nodeid) for nodeid in nodeids)
        if not specs and (others or not names):
            return None
        specs = specs or self._specs_named() or list(self.config.stash[MODELS].values())
        for name in names:
            if not any(name in offered(self.config, spec) for spec in specs):
                return f"--recipe {name}: no selected model declares it: {_declared(specs)}"
        if selected:
            return None
        named = ", ".join(f"--recipe {name}" for name in names)
        return f"no gate is left by {named} and the rest of the command line: {_declared(specs)}"

    def _no_weights(self, selected: list[Gate]) -> str | None:
        """That the zoo's trained weights are wanted and not installed; else None."""
        from int8gate.model_zoo import weights

        option = self.config.getoption
        takes_them = option("int8_profile") == "compact" and option("int8_weights") == "trained"
        is_of_zoo = any(not gate.spec.own for gate in selected)
        if takes_them and is_of_zoo and not option("int8_weights_dir"):
            return weights.not_installed()
        return None

    def _specs_named(self) -> list[ModelSpec]:
        """The models whose names stand in `-k`."""
        models = self.config.stash[MODELS].values()
        return [spec for spec in models if spec.name in (self.config.option.keyword or "")]


def _not_installed(gates: Iterable[Gate]) -> str | None:
    """What the gates need and is not installed, in a sentence for all of them; else None."""
    from int8gate.engine import extras
    from int8gate.quantizers.sources import packages_of

    lacking: dict[str, list[str]] = {}  # by case, before what its targets need
    for gate in gates:
        needed = {
            case_id(gate.spec, gate.recipe): packages_of(gate.spec, recipe(gate.recipe)),
            f"--target {gate.target}": needed_by(gate.target),
        }
        for what, packages in needed.items():
            if what not in lacking:
                lacking[what] = extras.missing(packages)
    lacking = {what: packages for what, packages in lacking.items() if packages}
    if not lacking:
        return None
    first, *others = lacking
    packages = list(dict.fromkeys(name for names in lacking.values() for name in names))
    more = f" (with {', '.join(others[:MANY])}{', ...' * (len(others) > MANY)})" if others else ""
    said = extras.sentence(first + more, packages)
    targets_alone = all(what.startswith("--target") for what in lacking)
    return f"{said}, or choose --target {HOST}" if targets_alone else said


def _is_gate(nodeid: str) -> bool:
    found = gate_id(nodeid)
    return found is not None and found[0] in ALL_GATES


def _declared(specs: Iterable[ModelSpec]) -> str:
    specs = list(specs)
    if len(specs) <= MANY:
        return "; ".join(f"{spec.name} declares {', '.join(spec.recipes)}" for spec in specs)
    names = dict.fromkeys(name for spec in specs for name in spec.recipes)
    return f"the {len(specs)} models declare {', '.join(names)}"
