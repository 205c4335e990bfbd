"""Generation with a cache in the report: measured figures with their intervals, or why there are
none.
"""

from __future__ import annotations

import pytest
from sample_records import sample_results

from int8gate.reporting import html, markdown
from int8gate.reporting.comparison import figures_of
from int8gate.reporting.generation import table
from int8gate.reporting.rows import rows_of

REASON = "not measured: <b>one</b> network, without a cache"


def estimate(value: float) -> dict:
    return {"value": value, "lower_95": 0.98 * value, "upper_95": 1.03 * value}


def generation(**others) -> dict:
    step = {"float": estimate(2.0), "quantized": estimate(1.0), "speedup": estimate(2.0)}
    rate = {"float": estimate(500), "quantized": estimate(812), "speedup": estimate(1.62)}
    found = {
        "kind": "measured",
        "prompt": 64,
        "first_token_ms": step | {"rounds": 200},
        "tokens_per_s": rate | {"rounds": 150},
        "consistency": {"same_tokens": 0.9381, "holds": True},
        "reason": None,
    }
    return found | others


def results(**of_recipes) -> dict:
    """The sample run with a `generation` in the U-Net's cases of those recipes."""
    whole = sample_results()
    for case in whole["cases"]:
        if case["model"] == "unet" and case["recipe"] in of_recipes:
            case["generation"] = of_recipes[case["recipe"]]
    return whole


@pytest.mark.parametrize("render", [html.render, markdown.render])
def test_figures_stand_with_their_intervals_and_the_word_measured(render):
    page = render(results(tflite_int8=generation()))
    assert "first token after 64, ms, float, measured" in page
    for figure in ("1.00 (0.980 to 1.03)", "812 (796 to 836)", "1.62× (1.59× to 1.67×)"):
        assert page.count(figure) == 1
    assert "200 and 150" in page
    assert "93.8%" in page


def test_a_float_case_has_its_own_figures_alone():
    found = generation()
    for step in ("first_token_ms", "tokens_per_s"):
        found[step] = found[step] | {"quantized": None, "speedup": None}
    (line,) = table(rows_of(results(tflite_fp32=found)))
    assert line[1:7] == ("2.00 (1.96 to 2.06)", "–", "–", "500 (490 to 515)", "–", "–")


@pytest.mark.parametrize("render", [html.render, markdown.render])
def test_what_was_not_measured_is_a_reason_and_no_table(render):
    nothing = dict.fromkeys(generation()) | {"reason": REASON}
    page = render(results(tflite_int8=nothing, tflite_uint8=nothing))
    assert "first token after" not in page
    assert page.count("without a cache") == 1, "once for both cases"
    assert "unet-tflite_int8, unet-tflite_uint8" in page
    assert "<b>one</b>" not in page


def test_other_models_show_nothing_of_it():
    assert "key-value cache" not in html.render(sample_results())
    assert "key-value cache" not in markdown.render(sample_results())


def test_the_history_has_columns_of_it_where_a_run_has():
    records = [{"generation": generation()}, {"generation": None}, {}]
    names = {each.header: each for each in figures_of(records)}
    first = names["first token, measured"]
    assert [first.of(record) for record in records] == [2.0, None, None]
    assert names["decode, measured"].words(1.62) == "1.62×"
    assert not {"first token, measured"} & {each.header for each in figures_of(records[1:])}
