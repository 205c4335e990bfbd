"""The pictures of a report, what stands against a case, and lists of operators."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from int8gate.analysis.pareto import pareto_front
from int8gate.reporting import html
from int8gate.reporting.details import operators
from int8gate.reporting.plots import view
from int8gate.reporting.rows import findings, parts_of, rows_of

changes = st.floats(-0.5, 0.1)


def case(recipe: str, drop: float, **fields) -> dict:
    accuracy = {"metric": "top1", "unit": "fraction", "float": 0.9, "quantized": 0.9 - drop}
    accuracy |= {"drop": drop, "drop_upper_95": drop + 0.002, "tolerance": 0.009}
    sizes = {"float": 4 << 20, "quantized": 1 << 20}
    found = {"model": "m", "recipe": recipe, "verdict": "passed", "size_bytes": sizes}
    return found | {"accuracy": accuracy} | fields


def page_of(*cases: dict) -> str:
    return html.render({"environment": {}, "cases": list(cases)})


class TestView:
    @given(st.lists(changes, min_size=1, max_size=8), st.floats(1e-4, 0.02))
    def test_float_and_its_tolerance_are_always_seen(self, found, tolerance):
        low, high = view(found, [], tolerance)
        assert low < -tolerance < 0 < high

    @given(st.lists(changes, min_size=1, max_size=8), st.floats(1e-4, 0.02))
    def test_a_ruined_recipe_does_not_flatten_the_others(self, found, tolerance):
        low, high = view([*found, -0.9], [], tolerance)
        assert low > -0.9
        gained = max([0.0, *found])
        assert high - low <= (4 * tolerance + max(gained, 0.25 * tolerance)) * 1.2

    def test_points_on_one_side_of_the_tolerance_are_apart(self):
        """Chance at 0.1 does not stretch the axis: a tenth of the tolerance can be seen."""
        low, high = view([0.0, -0.0009], [], 0.009)
        assert 0.0009 / (high - low) > 0.03


class TestFront:
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
    def test_nothing_beats_it_and_it_beats_all_else(self, points):
        front = pareto_front(points)
        for cost, gain in front:
            assert not any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points)
        for cost, gain in set(points) - set(front):
            assert any(c <= cost and g >= gain for c, g in front)


class TestPictures:
    def test_a_picture_has_a_name_with_its_figures(self):
        page = page_of(case("tflite_int8", 0.004), case("tflite_fp16", 0.0))
        (name,) = re.findall(r'role="img" aria-label="([^"]+)"', page)
        assert name.startswith("m: Accuracy against size.")
        assert "tflite_int8 1 MiB, -0.0040" in name

    def test_the_float_model_stands_beside_the_recipes(self):
        fp32 = case("tflite_fp32", 0.0, size_bytes=None)
        with_reference = page_of(case("tflite_int8", 0.004), fp32)
        assert "✚ the float model" in with_reference
        size, latency = with_reference.split("<figcaption>")[1:]
        assert "Left out" not in size.split("</figcaption>")[0]
        assert "Left out, no figure: tflite_fp32, tflite_int8." in latency

    def test_a_ruined_recipe_is_drawn_at_the_edge_with_its_figure(self):
        page = page_of(case("tflite_int8", 0.004), case("tflite_uint8", 0.8, verdict="failed"))
        assert ">-0.8000<" in page.replace("\N{MINUS SIGN}", "-")

    def test_headers_have_a_scope(self):
        page = page_of(case("tflite_int8", 0.004))
        assert not re.search(r"<th(?! scope)[> ]", page.replace("<thead", ""))


class TestOperators:
    def test_are_counted_by_kind_and_never_shown_as_python(self):
        listing = operators(
            [{"op": "CONV_2D", "name": f"c{i}", "reason": "float"} for i in range(40)]
            + [{"op": "SOFTMAX", "name": "s"}],
            "1.20 ms",
        )
        assert str(listing) == "40 CONV_2D, 1 SOFTMAX (1.20 ms)"
        assert listing.entries[0] == "CONV_2D: c0: float"
        assert "{" not in "".join(listing.entries)

    @pytest.mark.parametrize(("values", "shown"), [(None, "–"), ([], "none"), (["ELU"], "1 ELU")])
    def test_nothing_none_and_plain_names(self, values, shown):
        assert str(operators(values, "9 ms" if not values else "")) == shown

    def test_a_page_of_fallbacks_holds_no_dictionary(self):
        fallback = [{"op": "CONV_2D", "name": "a", "reason": "float"}] * 30
        npu = {"target": "t", "kind": "modelled", "npu_ops": 0, "cpu_ops": 30}
        page = page_of(case("tflite_fp16", 0.0, npu=[npu | {"cpu_fallback": fallback}]))
        assert "{&#39;" not in page
        assert "30 CONV_2D" in page


class TestFindings:
    MESSAGE = "measured: 0.7\nallowed: 0.89\nlikely cause: ranges\nnext: pytest -k m"

    def test_parts_keep_every_word(self):
        assert parts_of(self.MESSAGE) == (
            ("measured", "0.7"),
            ("allowed", "0.89"),
            ("likely cause", "ranges"),
            ("next", "pytest -k m"),
        )

    @given(st.text(alphabet="ab: \n", max_size=30))
    def test_a_plain_text_stays_itself(self, text):
        assert "".join(words for _, words in parts_of(text)).split() == text.split()

    def test_an_error_of_every_gate_is_told_once(self):
        gates = dict.fromkeys(("accuracy", "io_dtype", "size"), "error")
        messages = dict.fromkeys(gates, "the converter ended")
        failed = case("tflite_int8", 0.0, verdict="error", gates=gates, messages=messages)
        (row,) = rows_of({"cases": [failed]})
        (finding,) = findings(row)
        assert finding.gates == ("accuracy", "io_dtype", "size")
        assert (
            page_of(failed)
            .split("What did not pass")[1]
            .split("</section>")[0]
            .count("the converter ended")
            == 1
        )

    def test_measured_allowed_and_next_stand_in_what_did_not_pass(self):
        failed = case("tflite_int8", 0.2, verdict="failed", gates={"accuracy": "failed"})
        page = page_of(failed | {"messages": {"accuracy": self.MESSAGE}})
        section = page.split("What did not pass")[1].split("</section>")[0]
        for words in ("0.7", "0.89", "ranges", "<code>pytest -k m</code>"):
            assert words in section


def test_figures_stay_together_with_their_unit():
    assert "4.00\N{NO-BREAK SPACE}→\N{NO-BREAK SPACE}1.00" in page_of(case("tflite_int8", 0.0))
