"""The course of a training in the report."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from sample_records import sample_results

from int8gate.reporting import html
from int8gate.reporting.training_curve import curve


def look(step: int, loss: float, drop: float | None, **others) -> dict:
    bounds = {f"drop_{end}_95": drop and drop + add for end, add in (("upper", 1e-3), ("lower", 0))}
    allowed = None if drop is None else 0.01
    figures = {"step": step, "seconds": step / 10, "loss": loss, "drop": drop, "tolerance": allowed}
    return figures | bounds | others


def course(drops: list[float | None], losses: int = 100) -> dict:
    return {
        "ending": "the budget is over",
        "is_within_tolerance": True,
        "start": "min_max",
        "steps": losses,
        "seconds": 12.0,
        "best_step": 50,
        "losses": [[step, 0.5 / (1 + step)] for step in range(losses)],
        "looks": [look(50 * at, 0.5 / (1 + at), drop) for at, drop in enumerate(drops)],
    }


def test_loss_and_drop_are_drawn():
    svg = curve(course([0.02, 0.004, 0.005]))
    ElementTree.fromstring(svg)
    words = re.findall(r">(loss|drop|step)<", svg)
    assert sorted(words) == ["drop", "loss", "step"]


def test_without_a_metric_the_loss_alone():
    words = re.findall(r">(loss|drop|step)<", curve(course([None, None])))
    assert sorted(words) == ["loss", "step"]


@pytest.mark.parametrize("training", [None, {}, course([0.02], losses=0) | {"best_step": 0}])
def test_nothing_where_nothing_was_trained(training):
    assert curve(training) == ""


def test_a_look_at_a_part_is_hollow():
    whole, part = course([0.02, 0.004]), course([0.02, 0.004])
    part["looks"][1] |= {"is_whole": False, "samples": 250}
    assert curve(whole).count("var(--card)") < curve(part).count("var(--card)")


def test_a_loss_of_zero_and_steps_alike_are_drawn():
    flat = course([0.0, 0.0]) | {"losses": [[0, 0.0], [1, 0.0]]}
    for each in flat["looks"]:
        each["loss"] = 0.0
    ElementTree.fromstring(curve(flat))


def test_the_page_shows_it_with_the_case_that_was_trained():
    results = sample_results()
    assert "<h3>Training</h3>" not in html.render(results)
    results["cases"][0]["training"] = course([0.02, 0.004])
    page = html.render(results)
    assert page.count("<h3>Training</h3>") == 1
    case = results["cases"][0]
    assert f"{case['model']}-{case['recipe']}: loss and drop of the metric" in page
    assert page == html.render(results)
