"""`int8gate methods`: what people read and paste."""

from __future__ import annotations

import pytest
from sample_records import sample_results
from typer.testing import CliRunner

from int8gate.cli.app import app
from int8gate.reporting import write_results


@pytest.fixture
def report(tmp_path):
    results = sample_results()
    case = next(each for each in results["cases"] if each["model"] == "mobilenet_v2")
    results["cases"].append({**case, "recipe": "tflite_\x1b[31m|new"})
    write_results(results, tmp_path / "report")
    return str(tmp_path / "report")


def invoke(*arguments):
    return CliRunner().invoke(app, ["methods", *arguments])


def test_a_table_that_can_be_pasted(report):
    shown = invoke("mobilenet_v2", "--report", report)
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert lines[0].startswith("host_cpu: tflite_int8, the fastest of ")
    assert lines[1].startswith("ethos_u85_512: tflite_int8, the fastest of ")
    table = [line for line in lines if line.startswith("|")]
    assert {line.count("|") - line.count(r"\|") for line in table} == {12}
    assert set(table[1]) == {"|", "-"}
    (int8,) = [line for line in table if " tflite_int8 " in line]
    for figure in ("0.8946 (0.8", "0.0038 (≤ 0.0074)", "25.5 dB", "463 KiB", "0.815 ms"):
        assert figure in int8
    assert "0.0601 ms, 98.3% on it" in int8
    assert "8.36 s" in int8  # without the evaluation's 12.6 s
    assert "host_cpu, ethos_u85_512, size" in int8
    assert "\x1b" not in shown.output
    assert r"tflite_?[31m\|new" in shown.output
    assert any(line.startswith("rank: ") for line in lines)


def test_only_the_target_that_is_asked_for(report):
    shown = invoke("mobilenet_v2", "--report", report, "--target", "ethos_u85_512")
    assert "host_cpu" not in shown.output
    assert shown.output.startswith("ethos_u85_512: tflite_int8")


def test_a_page_beside_it(report, tmp_path):
    file = tmp_path / "pages" / "methods.html"
    shown = invoke("unet", "--report", report, "--html", str(file))
    assert shown.output.splitlines()[-1] == f"written: {file}"
    page = file.read_text()
    assert page.count("<svg") == 3
    assert "ethos_u85_512: tflite_int8" in page


def test_what_is_not_there_is_a_sentence(report, tmp_path):
    for arguments, message in (
        (["unett", "--report", report], "did you mean unet?"),
        (["unet", "--report", str(tmp_path / "no")], "no: run pytest -k unet --report DIR"),
        (
            ["unet", "--report", report, "--target", "gpu"],
            "timed on gpu: the runs have host_cpu",
        ),
        (["unet", "--report", report, "--answers", "tflite_int8"], "was not kept of tflite_int8"),
    ):
        shown = invoke(*arguments)
        assert shown.exit_code == 2
        assert message in shown.output
        assert "Traceback" not in shown.output
