"""Each diagnosis, on what the real converter says of a network that it refuses."""

from __future__ import annotations

import pytest
import refused_conversions as refused
import worker_tasks as tasks
from hypothesis import given
from hypothesis import strategies as st

from int8gate.engine.errors import TaskLog
from int8gate.engine.worker import TaskFailed, Worker, WorkerError
from int8gate.quantizers.diagnosis import Diagnosis, diagnose, entries, tried_in

# entry of diagnoses.toml: (the operator and the node that it must name, what it must say)
REFUSED = {
    "merge_of_many": ("Merge", "clip/Merge", "joins 4 branches"),
    "merge_of_two_conditions": ("Merge", "clip/Merge", "different conditions"),
    "merge_without_condition": ("Merge", "clip/Merge", "which condition"),
    "tensor_array": ("TensorArrayV3", "crop/TensorArray", "TensorArrayReadV3"),
    "tensor_list": ("TensorListReserve", "gru", "shape of its elements"),
    "strings": ("AsString", "head/name", "strings"),
    "lookup_table": ("HashTableV2", "classes", "LookupTableFindV2"),
    "number_type": ("Conv2D", "net/conv", "f64"),
    "python_function": ("PyFunc", "net/own", "Python"),
    "box_suppression": ("CombinedNonMaxSuppression", "post/nms", "suppress"),
    "unknown_rank": ("Conv2D", "net/conv", "tensor<*xf32>"),
    "unknown_channels": ("Conv2D", "net/conv", "tensor<?x?x?x?xf32>"),
    "select_operator": ("MatrixDeterminant", "head/det", "Select TF ops"),
    "custom_operator": ("Betainc", "head/beta", "neither"),
    "no_int16_kernel": ("CUMSUM", None, "int16"),
    "select_at_run": ("FlexMatrixDeterminant", "node", "Select TF ops"),
    "custom_at_run": ("Betainc", "node", "no kernel"),
    "variable_not_frozen": ("READ_VARIABLE", "node", "freeze"),
    "reshape": ("RESHAPE", "node 1", "values and its target shape holds 256"),
    "kernel": ("CONV_2D", "node 0", "input_channel % filter_input_channel"),
    "sample_type": (None, "image", "is UINT8, and the network takes FLOAT32"),
    "not_legalized": ("TensorListConcatLists", "net/twice", "no rule"),
    "not_a_model": (None, None, "tensorflow.SavedModel"),
    "no_saved_model": (None, None, "no saved_model.pb"),
    "torch_operator": ("_linalg_det.default", None, "litert-torch"),
    "torch_complex": (None, None, "complex numbers"),
    "out_of_memory": (None, None, "memory"),
    "timeout": (None, None, "after 2 s"),
    "crash_with_words": (None, None, "SIGSEGV"),
    "crash": (None, None, "exit code 3"),
}
NUMBER_TYPES = {"float16": "f16", "bfloat16": "bf16", "complex64": "complex<f32>"}


@pytest.fixture(scope="module")
def worker():
    with Worker() as shared:
        yield shared


@pytest.fixture(scope="module")
def failure(worker, tmp_path_factory):
    """The error of a function of `refused_conversions`, with its log kept; each is run once."""
    known: dict[tuple, WorkerError] = {}

    def provoke(kind: str, *arguments) -> WorkerError:
        if (kind, arguments) not in known:
            folder = tmp_path_factory.mktemp(kind)
            function, limit = getattr(refused, kind), 2 if kind == "timeout" else 120
            with pytest.raises(WorkerError) as caught:
                worker.run(
                    function, folder / "model", *arguments, timeout_s=limit, log=folder / "log"
                )
            known[kind, arguments] = caught.value
        return known[kind, arguments]

    return provoke


def test_every_entry_is_provoked():
    assert [entry.kind for entry in entries()] == list(REFUSED)


@pytest.mark.parametrize("dtype", NUMBER_TYPES)
def test_names_the_type_that_is_refused(dtype, failure):
    found = diagnose(failure("number_type", dtype), None, "calibrate")
    assert (found.kind, found.node.startswith("net/")) == ("number_type", True)
    assert f"computes in {NUMBER_TYPES[dtype]}," in found.why


@pytest.mark.parametrize("kind", REFUSED)
def test_names_what_is_refused_and_why(kind, failure):
    error = failure(kind)
    operator, node, words = REFUSED[kind]
    diagnosis = diagnose(error, error.log, "calibrate")
    assert diagnosis.kind == kind
    assert diagnosis.operator == operator
    assert bool(node) == bool(diagnosis.node)
    assert (node or "") in (diagnosis.node or "")
    said = diagnosis.sentence()
    assert words in said
    assert operator is None or f"{operator}{f' ({diagnosis.node})' if node else ''}: " in said


@pytest.mark.parametrize("kind", REFUSED)
def test_the_sentence_is_a_paragraph_without_a_stack_trace(kind, failure):
    error = failure(kind)
    said = diagnose(error, error.log, "calibrate").sentence()
    assert said.isprintable()  # one line
    assert len(said) < 1000
    assert not any(word in said for word in ("Traceback", 'File "', "loc(", "__inference", ".py:"))
    assert said.index(". Tried: ") < said.index(". Do: ") < said.index(". Full log: ")
    assert said.endswith(str(error.log))
    assert "{" not in said


@pytest.mark.parametrize("kind", ["tensor_array", "number_type", "crash_with_words"])
def test_the_error_alone_suffices(kind, failure):
    """A log that is gone costs at most the node's name: the error holds its last words."""
    error = failure(kind)
    with_log = diagnose(error, error.log, "quantize")
    without = diagnose(error, error.log.with_name("gone"), "quantize")
    assert (without.why, without.operator) == (with_log.why, with_log.operator)
    assert without.node in (with_log.node, None)


def test_what_was_tried_follows_the_stage(failure):
    error = failure("not_a_model")
    for stage, tried in tried_in().items():
        assert diagnose(error, None, stage).tried == tried
    for entry_kind, stage in {"saved_model": "export", "statistics": "calibrate"}.items():
        assert diagnose(error, None, entry_kind).tried == tried_in()[stage]
    assert len(set(tried_in().values())) == len(tried_in())
    assert "prune" in diagnose(error, None, "prune").tried


def test_an_unknown_failure_has_no_diagnosis(worker, tmp_path):
    with pytest.raises(TaskFailed) as caught:
        worker.run(tasks.raise_value_error, timeout_s=10, log=tmp_path / "log")
    assert diagnose(caught.value, tmp_path / "log", "quantize") is None


def test_the_reason_is_found_at_the_end_of_a_long_log(failure, tmp_path):
    error = failure("strings")
    log = tmp_path / "log"
    log.write_text("noise\n" * 1_000_000 + error.log.read_text())
    silent = TaskFailed("convert", TaskLog(tmp_path / "log", kept=True), "ConverterError", "", "")
    assert diagnose(silent, log, "quantize").operator == "AsString"


@given(text=st.text(), name=st.from_regex(r"\w{1,300}", fullmatch=True))
def test_any_text_gives_a_sentence_or_nothing(text, name, tmp_path_factory):
    log = tmp_path_factory.getbasetemp() / "any.log"
    log.write_text(
        f"{text}\n'tf.{name}' op is neither a custom op nor a flex op\n", "utf-8", "replace"
    )
    error = TaskFailed("convert", TaskLog(log, kept=True), "Error", text, "")
    assert diagnose(error, log, "quantize") is None
    log.write_text(f"{log.read_text()}Custom ops: {name}{text}\n", "utf-8", "replace")
    said = diagnose(error, log, "quantize").sentence()
    assert name[:199] in said
    assert said.isprintable()
    assert said.endswith(str(log))
    assert len(said) < 2000


def test_without_log_the_sentence_ends_in_a_full_stop():
    said = Diagnosis("ELU", None, "it is new", "to convert", "replace it").sentence()
    assert said == "The converter stops at ELU: it is new. Tried: to convert. Do: replace it."
