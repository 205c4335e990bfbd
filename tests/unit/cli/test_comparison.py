"""`int8gate history` and `int8gate compare`: what people read of runs over time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_records import sample_results
from typer.testing import CliRunner

from int8gate.cli.history import app
from int8gate.reporting import write_results
from int8gate.reporting.comparison import BARS, GAP, sparkline
from int8gate.validation.case_summary import case_key

ONE = "mobilenet_v2-tflite_int8"


@pytest.fixture
def runs(tmp_path):
    """Four nightly runs: the latency of one case falls, and the last is worse in size and score."""
    folders = []
    for number in range(4):
        results = sample_results()
        results["environment"]["started"] = f"2026-03-0{number + 1}T02:00:00+00:00"
        results["environment"]["commit"] = f"{number}c0ffee"
        case = next(each for each in results["cases"] if case_key(each) == ONE)
        case["npu"][0]["latency_ms"] = 0.08 - 0.01 * number
        if number == 3:
            case["size_bytes"]["quantized"] *= 2
            case["accuracy"]["quantized"] = 0.7
            results["cases"].append({**case, "recipe": "tflite_<b>|new"})
        write_results(results, tmp_path / f"night{number}")
        folders.append(str(tmp_path / f"night{number}"))
    return folders


def invoke(*arguments):
    return CliRunner().invoke(app, arguments)


class TestSparkline:
    @given(st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=30))
    @settings(deadline=None)
    def test_a_bar_for_each_run_in_the_order_of_their_values(self, values):
        line = sparkline(values)
        assert len(line) == len(values)
        assert [bar == GAP for bar in line] == [value is None for value in values]
        known = sorted(
            (value, BARS.index(bar)) for value, bar in zip(values, line, strict=True) if bar != GAP
        )
        heights = [height for _, height in known]
        assert heights == sorted(heights)
        if len({value for value, _ in known}) > 1:
            assert (heights[0], heights[-1]) == (0, len(BARS) - 1)


class TestHistory:
    def test_a_case_over_its_runs(self, runs):
        shown = invoke("history", ONE, *runs[::-1])
        assert shown.exit_code == 0, shown.output
        lines = shown.output.splitlines()
        nights = [line for line in lines if "night" in line]
        assert [line.split()[1] for line in nights] == ["night0", "night1", "night2", "night3"]
        for figure in ("2026-03-01 02:00", "0c0ffee", "0.8946", "463 KiB", "2.38×", "0.0800 ms"):
            assert figure in nights[0]
        (bars,) = [line for line in lines if "over time" in line]
        assert "█▅▃▁" in bars or "█▆▃▁" in bars
        assert "███▁" in bars, "the score fell"
        assert "▁▁▁█" in bars, "the size rose"
        assert "ethos_u85_512, modelled" in shown.output

    def test_runs_without_the_case_are_left_out(self, runs):
        shown = invoke("history", "mobilenet_v2-tflite_<b>|new", *runs)
        assert shown.output.count("night") == 1

    def test_an_unknown_case_is_answered_with_the_nearest(self, runs):
        shown = invoke("history", "mobilenet_v2-tflite_int9", *runs)
        assert shown.exit_code == 2
        assert f"did you mean {ONE}" in shown.output

    def test_no_run_says_how_to_save_them(self, tmp_path):
        shown = invoke("history", ONE, "--storage", str(tmp_path))
        assert shown.exit_code == 2
        assert "save them with pytest --benchmark-autosave" in shown.output

    def test_a_damaged_file_is_one_sentence(self, tmp_path, runs):
        (tmp_path / "cut.json").write_text('{"cases": [')
        shown = invoke("history", ONE, str(tmp_path / "cut.json"))
        assert shown.exit_code == 2
        assert "cut.json is no JSON" in shown.output
        assert "Traceback" not in shown.output


class TestCompare:
    def test_what_got_worse_comes_first_with_how_it_was_found(self, runs):
        shown = invoke("compare", runs[2], runs[3])
        assert shown.exit_code == 0, shown.output
        first = shown.output.splitlines()[0]
        assert first.startswith("night2 (2c0ffee) → night3 (3c0ffee): 2 worse, 1 better, ")
        rows = [line.split()[-2] for line in shown.output.splitlines() if line.startswith("│")]
        assert rows == ["worse", "worse", "better"]
        flat = " ".join(shown.output.split())
        assert "top1 fell from 0.8946 to 0.7000, worse by 0.1946" in flat
        assert "by interval (no predictions were kept before)" in flat
        assert "+100.00%" in shown.output
        assert "-16.67%" in shown.output
        assert "Only in night3 (3c0ffee): mobilenet_v2-tflite_<b>|new." in flat

    def test_nothing_changed_is_said_in_a_line(self, runs):
        shown = invoke("compare", runs[0], runs[0])
        first, *others = shown.output.splitlines()
        assert first.endswith("the same")
        assert all(line.startswith("Not passed in night0") for line in others)

    def test_markdown_is_a_table_that_names_cannot_break(self, runs):
        shown = invoke("compare", runs[2], runs[3], "--markdown")
        lines = shown.output.splitlines()
        table = [line for line in lines if line.startswith("|")]
        assert table[:2] == [
            "| case | figure | before | now | change | verdict |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        assert len(table) == 5
        assert all(line.count("|") == 7 for line in table)
        assert f"| {ONE} | size | 463 KiB | 925 KiB | +100.00% | worse |" in table
        assert "<b>" not in shown.output

    @pytest.mark.parametrize(
        ("limits", "code", "said"),
        [
            ("npu_latency:5%", 0, ""),
            ("size:5%,npu_latency:5%", 1, "size rose from 473800 bytes to 947600 bytes"),
            ("size:200%", 0, ""),
            ("sizes:5%", 2, "did you mean size?"),
        ],
    )
    def test_limits_make_it_fail(self, runs, limits, code, said):
        shown = invoke("compare", runs[2], runs[3], "--fail", limits)
        assert shown.exit_code == code, shown.output
        assert said in shown.output

    @pytest.mark.parametrize("verdict", ["failed", "error", "inconclusive", "invalid"])
    def test_a_case_that_did_not_pass_is_named_with_its_reason(self, runs, verdict):
        results = sample_results()
        case = next(each for each in results["cases"] if case_key(each) == ONE)
        case |= {"verdict": verdict, "reason": "the cause\nand more"}
        folder = Path(runs[0])
        write_results(results, folder)
        for options in ((), ("--markdown",)):
            shown = " ".join(invoke("compare", runs[1], runs[0], *options).output.split())
            assert f"Not passed in night0: {ONE}: {verdict}: the cause" in shown.replace("\\", "")
            assert "and more" not in shown

    def test_a_run_that_is_not_there_is_one_sentence(self, runs, tmp_path):
        shown = invoke("compare", runs[0], "0042", "--storage", str(tmp_path))
        assert shown.exit_code == 2
        assert "there is no run '0042'" in shown.output

    def test_a_name_steers_no_terminal(self, tmp_path):
        results = sample_results()
        results["cases"][0]["model"] = "evil\x1b[2J[red]"
        write_results(results, tmp_path / "a")
        results["cases"][0]["size_bytes"]["quantized"] += 1
        write_results(results, tmp_path / "b")
        shown = invoke("compare", str(tmp_path / "a"), str(tmp_path / "b"))
        assert "\x1b[2J" not in shown.output
        assert "evil?[2J[red]" in shown.output.replace("\n", "")


def test_nothing_heavy_is_imported(runs):
    code = (
        "import sys; from typer.testing import CliRunner; from int8gate.cli.history import app; "
        f"assert CliRunner().invoke(app, {json.dumps(['compare', *runs[2:]])}).exit_code == 0; "
        "print({'tensorflow', 'torch', 'onnx', 'onnxruntime', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
