"""What people rely on in the reports: complete, true to the record, safe to open, reproducible."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sample_records import MODELS, RECIPES, sample_results

from int8gate import reporting
from int8gate.reporting import ReportError, details, fields, html, markdown, write_report
from int8gate.reporting.rows import rows_of
from int8gate.reporting.terminal import summary_lines

CASE_IDS = [f"{model}-{recipe}" for model in MODELS for recipe in RECIPES]
HOSTILE = "<script>alert(1)</script>|`**x**`\x1b[2J\n$\\frac{"
BARE = {"model": "m", "recipe": "r", "verdict": "error", "reason": "worker ended"}


def of(*cases: dict) -> dict:
    return {"schema": 1, "environment": {}, "cases": list(cases)}


def table(results: dict, width: int) -> list[tuple[str, dict]]:
    """The lines of the terminal's summary from the header of its table on."""
    lines = summary_lines(results, width)
    start = next(number for number, (line, _) in enumerate(lines) if line.startswith("case "))
    return lines[start:]


def passed(**fields_of_case) -> dict:
    return {"model": "m", "recipe": "r", "verdict": "passed", **fields_of_case}


@pytest.fixture(scope="module")
def page() -> str:
    return html.render(sample_results())


@pytest.fixture(scope="module")
def document() -> str:
    return markdown.render(sample_results())


class TestWriting:
    def test_writes_three_documents_and_leaves_nothing_else(self, tmp_path):
        write_report(sample_results(), tmp_path / "new" / "report")
        names = sorted(path.name for path in (tmp_path / "new" / "report").iterdir())
        assert names == ["report.html", "report.md", "results.json"]

    def test_json_holds_the_records_unchanged(self, tmp_path):
        write_report(sample_results(), tmp_path)
        written = json.loads((tmp_path / "results.json").read_text())
        by_id = {(case["model"], case["recipe"]): case for case in sample_results()["cases"]}
        assert {(case["model"], case["recipe"]): case for case in written["cases"]} == by_id
        assert written["environment"] == sample_results()["environment"]

    def test_same_records_in_any_order_give_the_same_bytes(self, tmp_path):
        backwards = {**sample_results(), "cases": sample_results()["cases"][::-1]}
        write_report(sample_results(), tmp_path / "a")
        write_report(backwards, tmp_path / "b")
        for name in ("results.json", "report.md", "report.html"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    def test_nan_is_written_as_null_in_strict_json(self, tmp_path):
        accuracy = {"metric": "top1", "float": 0.9, "quantized": float("nan")}
        write_report(of(passed(accuracy=accuracy)), tmp_path)
        text = (tmp_path / "results.json").read_text()
        assert json.loads(text)["cases"][0]["accuracy"]["quantized"] is None
        assert "nan" not in (tmp_path / "report.html").read_text().lower()

    def test_name_that_is_no_unicode_is_written_escaped(self, tmp_path):
        write_report(of({**BARE, "model": "bad\udc80"}), tmp_path)
        assert (
            json.loads((tmp_path / "results.json").read_text())["cases"][0]["model"] == "bad\udc80"
        )

    def test_interrupted_write_keeps_the_old_file_whole(self, tmp_path, monkeypatch):
        write_report(of(BARE), tmp_path)
        before = (tmp_path / "results.json").read_bytes()

        def full_disk(source, target):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full_disk)
        with pytest.raises(ReportError, match="No space left on device"):
            write_report(sample_results(), tmp_path)
        assert (tmp_path / "results.json").read_bytes() == before
        assert not list(tmp_path.glob(".*"))

    def test_unwritable_directory_is_one_clear_sentence(self, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(ReportError) as raised:
            write_report(of(BARE), tmp_path / "file" / "report")
        assert re.fullmatch(
            r"cannot write .*results\.json: .*; give --report .*", str(raised.value)
        )

    def test_importing_loads_no_heavy_library(self):
        code = "import sys, int8gate.reporting; print({'jinja2', 'matplotlib'} & set(sys.modules))"
        root = Path(reporting.__file__).parents[2]
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "set()"


class TestEveryDocument:
    def test_contains_every_case(self, page, document):
        lines = "\n".join(line for line, _ in summary_lines(sample_results(), 200))
        for case_id in CASE_IDS:
            assert case_id in lines
            assert f"| {case_id} |" in document
        for row in rows_of(sample_results()):
            section = page.split(f"<h2>{row.model}</h2>")[1].split("</section>")[0]
            assert f"<b>{row.recipe}</b>" in section

    def test_tells_the_reason_and_the_gate_message(self, page, document):
        for case in sample_results()["cases"]:
            for said in filter(None, [case["reason"], *case.get("messages", {}).values()]):
                assert said in document
                assert said.replace("'", "&#39;") in page

    def test_case_without_fields_shows_no_number(self):
        (row,) = rows_of(of(BARE))
        figures = (row.float, row.quantized, row.drop, row.drop_upper, row.tolerance)
        assert {*figures, row.metric, row.input_dtype, row.integer, row.size, row.cpu} == {"–"}
        case_line = table(of(BARE), 120)[1][0]
        table_line = next(
            x for x in markdown.render(of(BARE)).splitlines() if x.startswith("| m-r")
        )
        cells = html.render(of(BARE)).split('class="main"')[1].split("</tr>")[0]
        for shown in (case_line, table_line, re.sub(r"<[^>]*>", "", cells)):
            assert not re.search(r"\d", shown)

    def test_null_in_every_field_is_the_same_as_absent(self):
        sample = next(case for case in sample_results()["cases"] if case["npu"])
        nulled = {**dict.fromkeys(sample), **BARE}
        assert html.render(of(nulled)) == html.render(of(BARE))
        assert markdown.render(of(nulled)) == markdown.render(of(BARE))
        assert summary_lines(of(nulled), 120) == summary_lines(of(BARE), 120)

    def test_null_inside_a_measurement_stays_unknown(self):
        npu = {"target": "t", "kind": "modelled", "latency_ms": None, "speedup": None}
        (row,) = rows_of(of(passed(npu=[npu], size_bytes={"float": 10, "quantized": None})))
        assert (row.npu[0].latency, row.npu[0].speedup, row.size) == ("–", "–", "–")

    def test_names_the_modelled_target_with_its_set_up_once(self, page, document):
        lines = " ".join(line.strip() for line, _ in summary_lines(sample_results(), 120))
        for text in (lines, document, page):
            assert text.count("Ethos_U85_SYS_DRAM_High") == 1
            for part in ("Dedicated_Sram_512KB", "1000 MHz", "modelled", "measured on x86_64"):
                assert part in text

    @pytest.mark.parametrize("results", [of(), {"schema": 1}, {"cases": None}])
    def test_run_without_cases_does_not_pass(self, results):
        assert "Nothing was tested" in markdown.render(results)
        assert "Nothing was tested" in html.render(results)
        line, style = summary_lines(results, 80)[-1]
        assert "Nothing was tested" in line
        assert not style.get("green")


class TestTerminal:
    @pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
    def test_columns_line_up_and_fit(self, width):
        lines = [line for line, _ in table(sample_results(), width)]
        header, cases = lines[0], lines[1 : 1 + len(CASE_IDS)]
        assert all(len(line) <= width for line in lines)
        starts = [header.index(name) for name in ("verdict", "input") if name in header]
        ends = [m.end() for m in re.finditer(r"≤95%|allow|cpu|npu ms|npu$", header)]
        for line in cases:
            assert all(line[start - 1] == " " != line[start] for start in starts)
            assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for end in ends)

    def test_all_columns_where_there_is_room(self):
        header = " ".join(table(sample_results(), 200)[0][0].split())
        assert header == (
            "case verdict metric float quant drop ≤95% allow input int size cpu npu ms npu"
        )

    def test_missing_columns_are_named_and_ids_stay_whole(self):
        lines = [line for line, _ in table(sample_results(), 50)]
        assert [line.split()[0] for line in lines[1 : 1 + len(CASE_IDS)]] == sorted(CASE_IDS)
        assert "Too narrow for: metric," in " ".join(lines)

    def test_the_answer_comes_first(self):
        (line, style), *_ = summary_lines(sample_results(), 200)
        assert line.startswith("May these ship? Not all: 18 of 24 cases may ship.")
        assert style == {"red": True, "bold": True}

    @pytest.mark.parametrize("width", range(40, 160, 3))
    def test_a_quantized_score_never_stands_without_its_float(self, width):
        header = table(sample_results(), width)[0][0].split()
        shown = [name in header for name in ("drop", "float", "quant", "int")]
        assert shown == sorted(shown, reverse=True)

    def test_each_target_has_columns(self):
        figure = {"kind": "modelled", "latency_ms": 1.0, "speedup": 2.0}
        both = passed(npu=[{"target": "u55", **figure}, {"target": "u85", **figure}])
        header = table(of(both, BARE), 160)[0][0]
        assert re.search(r"u55 ms\s+u55\s+u85 ms\s+u85$", header)

    def test_colours_follow_verdicts(self):
        styles = {row.verdict: style for row, (_, style) in _rows_with_lines(sample_results())}
        assert styles["passed"] == {"green": True}
        assert styles["failed"] == styles["error"] == {"red": True}
        assert styles["inconclusive"] == styles["invalid"] == {"yellow": True}

    def test_hostile_name_cannot_steer_the_terminal(self):
        lines = summary_lines(of({**BARE, "model": HOSTILE}), 120)
        assert all(line.isprintable() for line, _ in lines)


def _rows_with_lines(results: dict):
    return zip(rows_of(results), table(results, 120)[1:], strict=False)


class TestMarkdown:
    def test_verdict_comes_first(self, document):
        assert document.splitlines()[2].startswith("**May these ship? Not all: 18 of 24 cases")

    def test_section_for_each_case_that_is_not_a_plain_pass(self, document):
        sections = set(re.findall(r"^### (\S+):", document, flags=re.MULTILINE))
        remarkable = {row.id for row in rows_of(sample_results()) if not row.is_plain_pass}
        assert sections == remarkable
        assert {row.verdict for row in rows_of(sample_results()) if row.id in remarkable} >= {
            "failed", "error", "inconclusive", "invalid", "unsupported"
        }  # fmt: skip

    def test_hostile_name_is_inert_and_keeps_the_table(self):
        broken = {**BARE, "model": HOSTILE, "messages": {"size": "```\n<b>"}}
        text = markdown.render(of(broken))
        table = text.split("## Cases")[1].split("\n\n")[3]
        header, _, row = table.splitlines()
        assert "<script" not in text
        assert "\x1b" not in text
        assert len(re.findall(r"(?<!\\)\|", row)) == header.count("|")
        assert "````text\n```\n<b>\n````" in text


class TestHtml:
    def test_needs_nothing_from_outside(self, page):
        assert not re.search(r"https?:|//[a-z]|<script|<link|<iframe|@import|url\((?!#)", page)
        assert all(ref.startswith("#") for ref in re.findall(r'(?:href|src)="([^"]*)"', page))

    def test_links_and_ids_match(self, page):
        ids = re.findall(r' id="([^"]+)"', page)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)

    def test_reads_on_a_phone_and_in_the_dark(self, page):
        assert 'name="viewport"' in page
        assert "prefers-color-scheme: dark" in page

    def test_hostile_texts_are_escaped_everywhere(self):
        case = _with_strings_replaced(sample_results()["cases"][0], HOSTILE)
        page = html.render({"environment": {HOSTILE: HOSTILE}, "cases": [case]})
        assert "<script" not in page
        assert page.count("&lt;script&gt;") > 20
        assert "\x1b" not in page

    def test_plots_say_what_they_leave_out(self, page):
        section = page.split("<h2>mobilenet_v2</h2>")[1].split("<table")[0]
        assert section.count("<svg") == 3
        assert "Left out, no figure: tflite_int16x8, tflite_uint8." in section
        assert "measured on x86_64" in section
        assert "modelled for ethos_u85_512" in section

    def test_measured_and_modelled_latencies_have_a_plot_each(self):
        npu = [
            {"target": "t", "kind": kind, "latency_ms": 1.0} for kind in ("measured", "modelled")
        ]
        fields = {"npu": npu, "accuracy": {"metric": "top1", "quantized": 0.9, "drop": 0.01}}
        page = html.render(of(passed(**fields), passed(recipe="s", **fields)))
        assert "Change of top1 from float; measured for t" in page
        assert "Change of top1 from float; modelled for t" in page
        assert page.count("<svg") == 2

    def test_a_single_case_is_compared_with_nothing_and_has_no_plot(self):
        accuracy = {"metric": "top1", "quantized": 0.9, "drop": 0.01}
        case = passed(size_bytes={"quantized": 9}, accuracy=accuracy)
        page = html.render(of(case))
        assert "<svg" not in page
        assert "Accuracy against" not in page
        assert page.count("<svg") < html.render(of(case, case | {"recipe": "s"})).count("<svg")

    def test_plot_without_points_is_not_drawn(self):
        assert "<svg" not in html.render(of(BARE))

    def test_gate_that_the_table_does_not_know_is_shown(self):
        assert "cold_start" in html.render(of(passed(gates={"cold_start": "failed"})))


def _with_strings_replaced(value, text: str):
    if isinstance(value, dict):
        return {key: _with_strings_replaced(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_strings_replaced(item, text) for item in value]
    return text if isinstance(value, str) else value


class TestFields:
    @pytest.mark.parametrize(
        ("write", "value", "text"),
        [
            (fields.metric, -0.00001, "0.0000"),
            (fields.metric, 31.256, "31.26"),
            (fields.percent, 0.99999, "99.9%"),
            (fields.percent, 1.0, "100%"),
            (fields.percent, 0.0, "0%"),
            (fields.times, 0.136, "0.14×"),
            (fields.three_digits, 0.041, "0.0410"),
            (fields.three_digits, 99.96, "100"),
            (fields.three_digits, 0, "0.00"),
            (fields.three_digits, 1310.4, "1310"),
            (fields.size, 1_318_000_000, "1.23 GiB"),
        ],
    )
    def test_words(self, write, value, text):
        assert write(value) == text

    @pytest.mark.parametrize(
        "write", [fields.metric, fields.percent, fields.times, fields.three_digits, fields.size]
    )
    def test_unknown_is_a_dash_and_zero_is_a_number(self, write):
        assert write(None) == "–"
        assert write(0) != "–"


def test_a_recipe_scored_on_fewer_samples_is_told_under_the_plots():
    def scored(recipe: str, samples: int) -> dict:
        accuracy = {"metric": "top1", "float": 0.9, "quantized": 0.9, "drop": 0.0}
        accuracy["samples"] = samples
        return passed(accuracy=accuracy, size_bytes={"float": 9, "quantized": 3}) | {
            "recipe": recipe
        }

    told = "Fewer samples, compared with float on the same ones: slow on 400."
    assert told in html.render(of(scored("fast", 2000), scored("slow", 400)))
    unplotted = passed(accuracy={"quantized": 0.9}) | {"recipe": "unplotted"}
    page = html.render(of(scored("fast", 2000), scored("slow", 400), unplotted))
    assert "unplotted. Fewer" in " ".join(page.split())
    assert "Fewer samples" not in html.render(of(scored("fast", 400), scored("slow", 400)))


def test_layer_wise_statistics_are_shown():
    seen = {"name": "conv1", "count": 64, "minimum": -1.5, "maximum": 6.25, "mean": 0.25}
    seen |= {"std": 1.5, "zeros": 0.5, "percentile_0.1": -1.0, "percentile_99.9": 6.0}
    seen |= {"outlier_ratio": 1.04, "dead_channels": 3, "channels": 16}
    chosen = {"low": -1.5, "high": 5.75, "saturation": 0.0125, "sqnr_db": 31.2, "levels_used": 200}
    tensors = [seen | chosen, {"name": "empty", "count": 0, "masked": 9}]
    told = {"method": "entropy", "tensors": tensors}
    page = html.render(of(passed(calibration=told)))
    assert (
        "entropy ranges of 2 tensors; least expected SQNR 31.2 dB (modelled) at conv1; 3 dead"
        in page
    )
    row = page.split("<td>conv1</td>")[1].split("</tr>")[0]
    for shown in ("-1.50 to 5.75", "-1.50 to 6.25", "50.000%", "3 of 16", "1.250%", "31.2", "200"):
        assert f"<td>{shown}</td>" in row
    assert not re.search(r"<td>[\d.]", page.split("<td>empty</td>")[1].split("</tr>")[0])


def test_what_the_recipe_leaves_float_is_named():
    left = ["DEQUANTIZE (tfl.dequantize, float32)", "CONV_2D (middle, float32)"]
    case = passed(integer_ops={"fraction": 0.5, "float_ops": [], "float_by_recipe": left})
    (row,) = rows_of(of(case))
    told = dict(details.facts(row))
    assert str(told["Float operators"]) == "none"
    assert all(name in str(told["Float by the recipe's rules"]) for name in left)
