"""Every task says all about itself, and nothing else keeps a table of tasks."""

from __future__ import annotations

import ast

import pytest
from tiny_run import ROOMS

from int8gate.calibration_data.folders.forms import FORMS
from int8gate.model_zoo.networks import resolve
from int8gate.tasks.registry import scenes, task, tasks
from int8gate.validation.metrics.registry import metric

# Names of its own data, not of tasks: the digits that the compact zoo draws.
DRAWN = "calibration_data/synthetic/scenes.py"


@pytest.mark.parametrize("name", tasks())
def test_what_a_task_names_is_there(name):
    judged = task(name)
    places = [judged.decode, *judged.heads.values(), judged.agreement, judged.classes_of]
    places += [judged.training, *(drawn.draw for drawn in judged.scenes.values())]
    for place in filter(None, places):
        assert resolve(place), place
    assert [metric(each).name for each in judged.metrics] == list(judged.metrics)
    assert set(judged.folders) <= FORMS.keys()
    assert bool(judged.agreement) == bool(judged.least_agreement)
    if judged.is_for_users:
        assert judged.folders or judged.arrays, "no data that it could be judged on"
    if judged.zoo:
        assert judged.scenes
        assert judged.training


def test_names_are_given_once():
    named = [name for judged in tasks().values() for name in judged.scenes]
    assert len(named) == len(set(named)) == len(scenes())
    orders = [judged.order for judged in tasks().values()]
    assert orders == sorted(set(orders))


def test_no_other_file_keeps_a_table_of_tasks():
    tables = []
    for package, folder in ROOMS.items():
        for file in folder.rglob("*.py"):
            if file.is_relative_to(ROOMS["int8gate"] / "tasks") or str(file).endswith(DRAWN):
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                entries = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [])
                names = {entry.value for entry in entries if isinstance(entry, ast.Constant)}
                if len(names & tasks().keys()) > 1:
                    tables.append(f"{package}: {file.name} line {node.lineno}")
    assert not tables
