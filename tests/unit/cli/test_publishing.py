"""What leaves a run: the files to ship with their descriptions, and GitHub's notes and summary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_records import sample_results
from typer.testing import CliRunner

from int8gate.cli.app import app
from int8gate.engine.file_digest import sha256_of
from int8gate.reporting import github
from int8gate.validation import shipping as exporting

IO = {
    kind: [{"name": name, "shape": [1, 4], "dtype": "int8", "scale": 0.5, "zero_point": -3}]
    for kind, name in (("inputs", "image"), ("outputs", "scores"))
}


def record(source: Path, **changed) -> dict:
    about = {"model": "unet", "recipe": "tflite_int8", "profile": "compact", "verdict": "passed"}
    artifact = {"path": str(source), "sha256": sha256_of(source)}
    return about | {"artifact": artifact, "io": IO} | changed


@pytest.fixture
def source(tmp_path) -> Path:
    file = tmp_path / "cache" / "model.tflite"
    file.parent.mkdir()
    file.write_bytes(b"the network")
    return file


def test_the_file_has_the_name_of_its_case_and_a_description(source, tmp_path):
    copy = exporting.export(record(source), tmp_path / "out")
    assert copy == tmp_path / "out" / "unet-tflite_int8.tflite"
    assert copy.read_bytes() == source.read_bytes()
    facts = json.loads(copy.with_suffix(".json").read_text())
    assert facts["file"] == copy.name
    assert facts["sha256"] == sha256_of(copy)
    assert facts["verdict"] == "passed"
    assert {key: facts[key] for key in IO} == IO
    full = exporting.export(record(source, profile="full"), tmp_path / "out")
    assert full.name == "full-unet-tflite_int8.tflite", "another network of the same name"


def test_weights_beside_an_onnx_file_come_along_under_their_names(tmp_path):
    source = tmp_path / "cache" / "model.onnx"
    source.parent.mkdir()
    for suffix in ("", ".data"):
        source.with_name(source.name + suffix).write_bytes(suffix.encode())
    copy = exporting.export(record(source, recipe="onnx_int8"), tmp_path / "out")
    assert copy == tmp_path / "out" / "unet-onnx_int8" / "model.onnx"
    assert (copy.parent / "model.onnx.data").read_bytes() == b".data"
    facts = json.loads((tmp_path / "out" / "unet-onnx_int8.json").read_text())
    assert facts["file"] == "unet-onnx_int8/model.onnx"


def test_what_may_not_ship_any_more_is_withdrawn(source, tmp_path):
    out = tmp_path / "out"
    exporting.export(record(source), out)
    (out / "unet-tflite_int8.notes.txt").write_text("somebody's own")
    other = exporting.export(record(source, recipe="tflite_int8_entropy"), out)
    exporting.withdraw(record(source), out)
    left = {other.name, other.with_suffix(".json").name, "unet-tflite_int8.notes.txt"}
    assert {file.name for file in out.iterdir()} == left
    exporting.withdraw(record(source), tmp_path / "never")


@pytest.mark.parametrize("fate", ["gone", "changed"])
def test_another_file_than_the_gated_one_is_refused(source, tmp_path, fate):
    gated = record(source)
    source.unlink() if fate == "gone" else source.write_bytes(b"another")
    with pytest.raises(ValueError, match="is gone" if fate == "gone" else "not the file"):
        exporting.export(gated, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_write_that_fails_leaves_no_half_file(source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "unet-tflite_int8.tflite").write_bytes(b"of a run before")

    def full(*_):
        raise OSError("no room")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no room"):
        exporting.export(record(source), out)
    assert [file.read_bytes() for file in out.iterdir()] == [b"of a run before"]


def test_every_case_that_fails_is_noted_once():
    results = sample_results()
    notes = github.annotations(results, {"unet": (Path("zoo/models.toml"), 7)})
    failing = [
        case for case in results["cases"] if case["verdict"] not in ("passed", "unsupported")
    ]
    assert failing
    assert len(notes) == len(failing)
    for note, case in zip(notes, failing, strict=True):
        assert f"title={case['model']}-{case['recipe']}%3A" in note
        assert ("file=zoo/models.toml,line=7," in note) == (case["model"] == "unet")


@given(st.text(), st.text())
def test_no_text_of_others_ends_a_command_or_begins_one(message, name):
    """Tensor names and messages are those of somebody's file."""
    results = {"cases": [], "regressions": [{"case": name, "message": message}]}
    (command,) = github.annotations(results, {})
    assert len(command.splitlines()) <= 1 + len((message + name).splitlines())
    assert "\n" not in command
    assert "\r" not in command
    _, properties, text = command.split("::", 2)
    assert ":" not in properties.partition("title=")[2]
    unescaped = text.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")
    assert unescaped == message


def test_a_summary_is_no_longer_than_github_takes(monkeypatch):
    results = sample_results()
    whole = github.summary(results)
    assert whole.startswith("# int8gate report")
    monkeypatch.setattr(github, "SUMMARY_BYTES", 3000)
    cut = github.summary(results)
    assert len(cut.encode()) <= 3000
    assert cut.endswith(github.CUT)
    assert whole.startswith(cut.removesuffix(github.CUT))


def exported(folder: Path, monkeypatch, cases: list[dict] | None, *options: str, **run):
    """`int8gate export gadget-onnx_int8 out` in a folder with a report of these cases."""
    monkeypatch.chdir(folder)
    if cases is not None:
        (folder / "report").mkdir()
        (folder / "report" / "results.json").write_text(json.dumps(run | {"cases": cases}))
    arguments = ["export", "gadget-onnx_int8", "out", "--zoo=models.toml", *options]
    return CliRunner().invoke(app, arguments)


def test_export_refuses_what_did_not_pass(tmp_path, monkeypatch):
    failed = {"model": "gadget", "recipe": "onnx_int8", "profile": "compact", "verdict": "failed"}
    done = exported(tmp_path, monkeypatch, [failed | {"reason": "size: too large"}])
    assert done.exit_code == 1
    assert (
        "gadget-onnx_int8 did not pass, says report/results.json: failed: size: too large"
        in done.output
    )
    assert "--force" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("case", "run", "words"),
    [
        ({"deselected": ["size"]}, {}, "its gates did not all run: size left out"),
        ({}, {"environment": {"weights": "random"}}, "random weights, or a figure that got worse"),
        (
            {},
            {"regressions": [{"case": "gadget-onnx_int8"}]},
            "random weights, or a figure that got worse",
        ),
    ],
)
def test_export_refuses_what_passed_and_may_not_ship(tmp_path, monkeypatch, case, run, words):
    passed = {"model": "gadget", "recipe": "onnx_int8", "profile": "compact", "verdict": "passed"}
    done = exported(tmp_path, monkeypatch, [passed | case], **run)
    assert done.exit_code == 1
    assert f"says report/results.json: {words}" in done.output


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("gadget-onnx_int9", "no case gadget-onnx_int9: gadget has gadget-onnx_int8"),
        ("gizmo-onnx_int8", "declares no model gizmo: it has gadget"),
    ],
)
def test_export_of_an_unknown_case_is_told(tmp_path, monkeypatch, case, words):
    (tmp_path / "gadget.onnx").touch()
    table = '[models.gadget]\nfile = "gadget.onnx"\ntask = "other"\nrecipes = ["onnx_int8"]\n'
    (tmp_path / "models.toml").write_text(table)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["export", case, "out", "--zoo=models.toml"])
    assert done.exit_code == 1
    assert words in done.output


def test_a_damaged_report_is_told(tmp_path, monkeypatch):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "results.json").write_text("[]")
    done = exported(tmp_path, monkeypatch, None)
    assert done.exit_code == 1
    assert "is no report of int8gate" in done.output
