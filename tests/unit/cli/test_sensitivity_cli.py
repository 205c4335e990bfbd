"""`int8gate sensitivity`: a table that can be pasted, a page, and figures as JSON."""

from __future__ import annotations

import json

import outlier_networks
import pytest
from typer.testing import CliRunner

from int8gate.analysis import sensitivity as analysis
from int8gate.cli.app import app
from int8gate.cli.case_options import budget_of

TABLE = """
[models.gadget]
file = "gadget.onnx"
task = "classification"
data = "pictures"
range = [0, 1]
"""


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    folder = tmp_path_factory.mktemp("team")
    outlier_networks.write_all(folder)
    (folder / "models.toml").write_text(TABLE)
    return folder


def run(team, *options, model="gadget"):
    zoo = ["--zoo", str(team / "models.toml"), "--artifact-cache", str(team / "cache")]
    return CliRunner().invoke(app, ["sensitivity", model, *zoo, *options])


def test_the_table_page_and_figures_name_the_worst_layer(team, tmp_path):
    done = run(team, "--samples", "40", "--report", str(tmp_path), "--json", str(tmp_path / "s"))
    assert done.exit_code == 0, done.output
    told = done.output.splitlines()
    head = next(n for n, line in enumerate(told) if line.startswith("layer "))
    assert told[head + 1].startswith(outlier_networks.MIDDLE)
    assert "keep float" in told[head + 1]
    assert len(told) == head + 5, "no line is wrapped: it can be pasted"
    figures = json.loads((tmp_path / "s").read_text())
    assert figures["rows"][0]["layer"]["name"] == outlier_networks.MIDDLE
    assert figures["rows"][0]["gain_wide_interval"][0] > 0.5
    page = (tmp_path / "sensitivity.html").read_text()
    assert page.count("<rect") == 4
    assert "<script" not in page
    table = (tmp_path / "sensitivity.md").read_text().splitlines()
    rows = [line for line in table if line.startswith("| ")]
    assert len(rows) == 6
    assert len({line.count(" | ") for line in rows}) == 1
    fast = run(team, "--samples", "40", "--no-metric", "--recipe", "onnx_int8")
    assert "SQNR only" in fast.output


def test_a_recipe_of_the_toml_is_known(team):
    mixed = '[recipes.team_mixed]\nbase = "onnx_int8"\nfloat32 = ["head"]\n'
    (team / "mixed.toml").write_text(TABLE + mixed)
    options = ["--zoo", str(team / "mixed.toml"), "--artifact-cache", str(team / "cache")]
    options += ["--recipe", "team_mixed", "--samples", "4", "--no-metric"]
    done = CliRunner().invoke(app, ["sensitivity", "gadget", *options])
    assert done.exit_code == 0, done.output
    assert "team_mixed" in done.output


def test_a_budget_says_how_many_layers_it_did_not_reach(team):
    done = run(team, "--samples", "39", "--budget", "0s")
    assert done.exit_code == 0, done.output
    assert "not measured within the budget: 4 layers" in done.output


def test_ctrl_c_shows_what_was_measured(team, monkeypatch):
    real = analysis.Progress

    def stopped(done, *figures):
        if done == 2:
            raise KeyboardInterrupt
        return real(done, *figures)

    monkeypatch.setattr(analysis, "BATCH", 1)
    monkeypatch.setattr(analysis, "Progress", stopped)
    done = run(team, "--samples", "38", "--no-metric")
    assert done.exit_code == 130
    assert "1 layers on 38 evaluation samples" in done.output
    assert "the same command goes on" in done.output


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--recipe", "onnx_int9"), "no recipe 'onnx_int9': did you mean"),
        (("--recipe", "onnx_dynamic_int8"), "takes no calibrated ranges"),
        (("--budget", "soon"), "--budget soon: expected a time such as 90s"),
        (("--profile", "tiny"), "--profile tiny: expected"),
    ],
)
def test_what_is_wrong_is_one_sentence(team, options, told):
    done = run(team, *options)
    assert done.exit_code == 1
    assert told in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_a_model_that_is_not_there(team):
    done = run(team, model="gadgets")
    assert done.exit_code == 1
    assert "declares no model gadgets: it has gadget" in done.output


def test_times():
    assert [budget_of(text) for text in ("90", "90s", "2m", "1.5h")] == [
        90,
        90,
        120,
        5400,
    ]
