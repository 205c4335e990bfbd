"""What a task wrote is kept, and its last words tell why it did not return."""

from __future__ import annotations

import pytest
import worker_tasks as tasks

from int8gate.engine.worker import TaskFailed, Worker, WorkerCrashed


@pytest.fixture(scope="module")
def worker():
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("PYTHONUNBUFFERED", raising=False)  # it unbuffers C's stdout, too
        with Worker() as shared:
            yield shared


def test_task_failure_carries_type_message_and_traceback(worker):
    before = worker.run(tasks.pid, timeout_s=10).value
    with pytest.raises(TaskFailed) as caught:
        worker.run(tasks.raise_value_error, timeout_s=10)
    error = caught.value
    assert error.type_name == "ValueError"
    assert error.message == "scale of tensor 'x' is zero: expected a positive scale"
    assert "raise_value_error raised ValueError: scale of tensor 'x'" in str(error)
    assert "in raise_value_error" in error.remote_traceback
    assert "_execute" not in error.remote_traceback
    assert error.last_words == ["reading model"]
    assert error.log is None
    assert worker.run(tasks.pid, timeout_s=10).value == before  # nothing was wrong with it


def test_crash_quotes_last_words_and_keeps_the_log(worker, tmp_path):
    log = tmp_path / "new" / "convert.log"
    with pytest.raises(WorkerCrashed) as caught:
        worker.run(tasks.segfault_after_printf, timeout_s=10, log=log)
    words = caught.value.last_words
    assert words[0] == "converter: folding constants"
    assert any("in segfault_after_printf" in word for word in words)  # where it died
    assert not any("worker_child" in word or "multiprocessing" in word for word in words)
    assert caught.value.log == log
    assert str(log) in str(caught.value)
    assert "converter: folding constants" in log.read_text()


def test_huge_output_is_kept_and_summarized(worker, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(TaskFailed, match="too much") as caught:
        worker.run(tasks.write_much, 20, timeout_s=30, log=log)
    assert log.stat().st_size > 20_000_000
    assert caught.value.last_words == [f"line {number}" for number in range(5, 20)]
    assert len(str(caught.value)) < 5000


def test_all_output_goes_to_the_log_of_its_task_only(worker, tmp_path, capfd):
    log = tmp_path / "log"
    log.write_text("of an earlier run")
    worker.run(tasks.write_everywhere, timeout_s=10, log=log)
    text = log.read_text()
    for words in ("python stdout", "python stderr", "descriptor 1", "descriptor 2", "subprocess"):
        assert text.count(words) == 1
    assert "no newline at the end" in text  # flushed with its task, not into the next log
    assert "earlier" not in text
    next_log = tmp_path / "next"
    worker.run(tasks.add, 1, 2, timeout_s=10, log=next_log)
    assert next_log.read_text() == ""
    assert capfd.readouterr() == ("", "")
