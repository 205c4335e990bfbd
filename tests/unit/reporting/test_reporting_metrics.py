"""Units, baselines and metrics beside the gated one, in all three documents."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from int8gate.reporting import fields, html, markdown, write_report
from int8gate.reporting.rows import rows_of
from int8gate.reporting.terminal import summary_lines

DECIBELS = {
    "metric": "psnr",
    "unit": "dB",
    "float": 32.414,
    "quantized": 31.5,
    "drop": 0.914,
    "drop_upper_95": 1.02,
    "tolerance": 0.3,
    "also": {"ssim": {"float": 0.91, "quantized": 0.90}},
    "baseline": {"name": "bicubic", "score": 31.0},
}


def results(**accuracy) -> dict:
    case = {"model": "m", "recipe": "r", "verdict": "passed", "accuracy": DECIBELS | accuracy}
    return {"cases": [case]}


def two_cases(**accuracy) -> dict:
    """Cases of one model with their sizes, which is what is drawn."""
    (case,) = results(**accuracy)["cases"]
    case["size_bytes"] = {"float": 4096, "quantized": 1024}
    return {"cases": [case, case | {"recipe": "s"}]}


def documents(records: dict) -> tuple[str, str, str]:
    lines = "\n".join(line for line, _ in summary_lines(records, 200))
    return lines, markdown.render(records), html.render(records)


def test_decibels_are_named_in_score_drop_bound_and_tolerance():
    for document in documents(results()):
        for figure in ("32.41 dB", "31.50 dB", "0.91 dB", "1.02 dB", "0.30 dB"):
            assert figure in document


@pytest.mark.parametrize("unit", ["fraction", None])
def test_a_fraction_or_an_unknown_unit_is_a_bare_number(unit):
    shown = results(unit=unit, float=0.9127, quantized=0.9, drop=0.0127, baseline=None)
    for document in documents(shown):
        assert "0.9127" in document
        assert "dB" not in document.replace("SQNR", "")


@given(st.floats(-200, 200))
def test_decibels_have_two_decimals_and_no_negative_zero(value):
    shown = fields.metric(value, "dB")
    assert shown.endswith(" dB")
    assert float(shown.removesuffix(" dB")) == pytest.approx(value, abs=0.0051)
    assert not shown.startswith("-0.00")


class TestBaseline:
    def test_says_by_how_much_the_quantized_model_is_above(self):
        _, document, page = documents(results())
        assert "| above bicubic 31.00 dB |" in document
        assert "| +0.50 dB |" in document
        assert "above bicubic 31.00 dB by 0.50 dB" in page

    @pytest.mark.parametrize("quantized", [28.8, 31.0])
    def test_says_that_it_is_not(self, quantized):
        (row,) = rows_of(results(quantized=quantized))
        assert row.baseline.is_exceeded is False
        assert "not above bicubic 31.00 dB" in html.render(results(quantized=quantized))
        assert "+" not in row.baseline.gain

    @pytest.mark.parametrize("told", [{"higher_is_better": False}, {}])  # older records do not say
    @pytest.mark.parametrize(("quantized", "is_below"), [(4.2, True), (25.5, False)])
    def test_of_a_metric_of_which_less_is_better_it_must_be_below(self, told, quantized, is_below):
        shown = results(
            metric="perplexity",
            unit="nats",
            float=4.0,
            quantized=quantized,
            drop=quantized - 4.0,
            baseline={"name": "frequency", "score": 25.4},
            **told,
        )
        (row,) = rows_of(shown)
        assert row.baseline.is_exceeded is is_below
        _, document, page = documents(shown)
        assert "| below frequency 25.4" in document
        assert ("not below frequency 25.4" in page) is not is_below
        assert "above" not in document

    def test_unmeasured_is_neither_above_nor_below(self):
        (row,) = rows_of(results(quantized=None))
        assert (row.baseline.is_exceeded, row.baseline.gain) == (None, "–")
        assert "baseline bicubic 31.00 dB" in html.render(results(quantized=None))

    def test_plots_draw_it_dotted_where_it_is_near_and_say_so(self):
        weighed = two_cases()
        assert "dotted, where it is near: bicubic 31.00 dB" in html.render(weighed)
        without = two_cases(baseline=None)
        assert "dotted" not in html.render(without)
        near = two_cases(baseline={"name": "bicubic", "score": 32.2})
        dashes = "stroke-dasharray"
        assert html.render(near).count(dashes) > html.render(without).count(dashes)


def test_other_metrics_are_shown_as_not_gated():
    _, document, page = documents(results())
    assert "| ssim (not gated) |" in document
    assert "| 0.9100 → 0.9000 |" in document
    assert "<dt>ssim, not gated</dt><dd>0.9100 → 0.9000 (float → quantized)</dd>" in page


def test_a_recipe_without_them_has_dashes_in_the_models_table():
    records = results()
    records["cases"].append({"model": "m", "recipe": "s", "verdict": "error"})
    line = next(x for x in markdown.render(records).splitlines() if x.startswith("| m-s "))
    assert line.endswith("| – | – |")


def test_each_model_has_a_table_of_what_its_recipes_cost():
    cases = [
        {"model": model, "recipe": recipe, "verdict": "passed", "task": "t", "profile": "compact"}
        for model in ("a", "b")
        for recipe in ("r", "s")
    ]
    parts = markdown.render({"cases": cases}).split("\n### ")[1:]
    assert [part.splitlines()[0] for part in parts] == ["a", "b"]
    for part, model in zip(parts, "ab", strict=True):
        assert [
            line.split()[1] for line in part.splitlines() if line.startswith(f"| {model}-")
        ] == [
            f"{model}-r",
            f"{model}-s",
        ]


def test_records_keep_the_new_fields(tmp_path):
    write_report(results(), tmp_path)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["cases"][0]["accuracy"] == DECIBELS
