"""The conversion of each model in the reports: its cases merged, from the records alone."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_records import sample_results

from int8gate.reporting import html, markdown
from int8gate.reporting.conversion import conversions
from int8gate.reporting.rows import rows_of
from int8gate.reporting.terminal import summary_lines

STATUSES = ("converted", "not_converted", "not_applicable", None)
LONG = (
    "The converter stops at Conv2D (net/conv): it computes in f64. Tried: to convert it. Do: cast."
)


def case(recipe: str, status: str | None = "converted", model: str = "m", **told) -> dict:
    conversion = {"status": status, "how": "keras -> TFLite", **told} if status else None
    return {"model": model, "recipe": recipe, "verdict": "passed", "conversion": conversion}


def failed(recipe: str, message: str = LONG, **told) -> dict:
    said = {"gates": {"accuracy": "error"}, "messages": {"accuracy": message}}
    return case(recipe, "not_converted", how=None, **told) | {"verdict": "error"} | said


def merged(*cases: dict) -> list:
    return conversions(rows_of({"cases": list(cases)}))


def section(results: dict) -> str:
    return markdown.render(results).split("## Conversion\n")[1].split("\n## ")[0]


def cells(results: dict, model: str) -> dict[str, str]:
    header, _, *rows = section(results).strip().splitlines()
    split = [[cell.strip() for cell in row.strip("|").split("|")] for row in (header, *rows)]
    return next(dict(zip(split[0], row, strict=True)) for row in split[1:] if row[0] == model)


class TestMerging:
    @pytest.mark.parametrize(
        ("statuses", "answer"),
        [
            (("converted", "converted"), "converted"),
            (("converted", "not_converted"), "not converted"),
            (("converted", "not_applicable"), "converted"),
            (("converted", None), "converted"),
            (("not_applicable", "not_applicable"), "not applicable"),
            (("not_converted", "not_applicable"), "not converted"),
        ],
    )
    def test_a_model_converted_where_all_its_cases_did(self, statuses, answer):
        (row,) = merged(*(case(f"r{place}", status) for place, status in enumerate(statuses)))
        assert row.status == answer

    @given(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=6))
    def test_no_case_is_lost_and_order_does_not_matter(self, statuses):
        cases = [case(f"r{place}", status) for place, status in enumerate(statuses)]
        rows = merged(*cases)
        assert rows == merged(*cases[::-1])
        assert len(rows) == (1 if any(statuses) else 0)
        for row in rows:
            assert len(row.converted) == statuses.count("converted")
            assert len(row.failed) == statuses.count("not_converted")
            named = [told.recipes for told in row.how + row.why_not + row.left if told.recipes]
            told = set(itertools.chain(*(recipes.split(", ") for recipes in named)))
            assert told == {f"r{place}" for place, status in enumerate(statuses) if status}

    def test_recipes_of_one_route_are_grouped(self):
        (row,) = merged(case("a"), case("b", how="other"), case("c"))
        assert [str(told) for told in row.how] == ["a, c: keras -> TFLite", "b: other"]

    def test_what_holds_for_every_recipe_is_said_once_without_them(self):
        (row,) = merged(case("a", repairs=["r", "s"]), case("b", repairs=["s"]))
        assert [str(told) for told in row.repairs] == ["a: r", "s"]

    def test_a_recipe_that_failed_has_no_say_in_what_holds_for_the_others(self):
        (row,) = merged(case("a", cut=["before x"]), case("b", cut=["before x"]), failed("c"))
        assert [str(told) for told in row.cut] == ["before x"]

    def test_each_model_has_its_row(self):
        rows = merged(case("r", model="b"), case("r", "not_converted", model="a"))
        assert [(row.model, row.status) for row in rows] == [
            ("a", "not converted"),
            ("b", "converted"),
        ]


class TestReason:
    def test_is_the_message_of_the_gate_that_met_it_with_the_log(self):
        (row,) = merged(failed("r", f"{LONG}\nmore", log="x/log"))
        assert str(row.why_not[0]) == f"r: {LONG} Full log: x/log"

    def test_log_is_named_once(self):
        (row,) = merged(failed("r", f"{LONG} Full log: x/log", log="x/log"))
        assert str(row.why_not[0]).count("x/log") == 1

    def test_without_message_it_is_the_reason_of_the_case(self):
        (row,) = merged(case("r", "not_converted") | {"reason": "accuracy, size: it broke: badly"})
        assert str(row.why_not[0]) == "r: it broke: badly"
        (row,) = merged(case("r", "not_converted"))
        assert "no reason was recorded" in str(row.why_not[0])


class TestMarkdown:
    def test_a_row_tells_source_route_repairs_cuts_and_nodes(self):
        row = cells(sample_results(), "ssd_mobilenet_v1")
        assert (row["source"], row["converted"]) == ("frozen_graph", "converted")
        assert "tflite_int8, tflite_uint8: frozen_graph -> SavedModel" in row["how"]
        assert "training leftovers" in row["repaired"]
        assert "before Preprocessor/sub: map_fn<br>behind concat" in row["cut"]
        assert "313 in the source, 66 in the network, 40 before it" in row["cut"]
        assert "the host runs suppression" in row["left"]

    def test_a_model_that_did_not_convert_names_recipe_and_reason(self):
        row = cells(sample_results(), "unet")
        assert (row["source"], row["converted"]) == ("keras", "not converted: tflite_int16x8")
        assert "tflite_int16x8: The memory did not suffice" in row["left"]
        assert "tflite_int8, tflite_uint8: keras -> SavedModel" in row["how"]

    def test_stands_after_verdict_and_cases(self):
        text = markdown.render(sample_results())
        places = ["May these ship?", "## Cases", "## Conversion", "## What did not pass"]
        assert [text.index(place) for place in places] == sorted(
            text.index(place) for place in places
        )

    def test_hostile_sentence_keeps_the_table(self):
        hostile = "<script>|\n`x`"
        text = section({"cases": [case("r", repairs=[hostile], cut=[hostile], how=hostile)]})
        header, _, row = text.strip().splitlines()
        assert "<script" not in text
        assert row.replace("\\|", "").count("|") == header.count("|")


class TestHtml:
    def test_every_told_sentence_is_there_and_escaped(self):
        results = {"cases": [case("r", repairs=["<b>fixed</b>"], left=["host runs 3 nodes"])]}
        page = html.render(results)
        assert "&lt;b&gt;fixed&lt;/b&gt;" in page
        assert "host runs 3 nodes" in page

    def test_a_long_reason_is_folded_behind_its_first_sentence(self):
        page = html.render({"cases": [failed("r", LONG * 2)]}).split("<h2>Conversion</h2>")[1]
        summary = page.split("<summary>")[1].split("</summary>")[0]
        assert summary == "r: The converter stops at Conv2D (net/conv): it computes in f64."
        assert "Tried: to convert it" in page

    def test_several_sentences_are_folded_behind_their_number(self):
        page = html.render({"cases": [case("r", cut=["before a", "behind b"])]})
        folded = page.split("<summary>2 cuts</summary>")[1].split("</details>")[0]
        assert folded.count("<li>") == 2


class TestTerminal:
    def test_one_line_names_what_did_not_convert(self):
        lines = [line for line, _ in summary_lines(sample_results(), 200)]
        assert [line for line in lines if line.startswith("Not converted")] == [
            "Not converted: unet (tflite_int16x8)."
        ]

    def test_nothing_is_said_where_all_converted(self):
        lines = [line for line, _ in summary_lines({"cases": [case("r")]}, 200)]
        assert not any("onverted" in line for line in lines)


def test_old_records_have_no_section():
    cases = [
        {key: value for key, value in each.items() if key != "conversion"}
        for each in sample_results()["cases"]
    ]
    results = sample_results() | {"cases": cases}
    assert "Conversion" not in markdown.render(results)
    assert "Conversion" not in html.render(results)
    assert not any("onverted" in line for line, _ in summary_lines(results, 200))
