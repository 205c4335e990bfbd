"""What `engine.worker` raises of a task that did not return, and how errors are told to people.

Errors carry the last words of the task. `again` raises the same failure anew. `plain_text` makes
the text of others fit for a terminal: names in model files and folders are anybody's. `instead`
says what an unknown name may have meant, `some_of` names the first of many.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_LAST_WORDS = 15  # lines
_LINE_LENGTH = 300
_TAIL_BYTES = 64 * 1024
# Not the task's words: what TensorFlow says at every start, and what faulthandler says of this
# machinery.
_NOISE = re.compile(
    r"\s*$"
    r"|\d{4}-\d\d-\d\d \S+: I |I\d{4} \d\d:"
    r"|WARNING: All log messages before absl::InitializeLog"
    r"|To enable the following instructions|E\d{4} .*failed call to cuInit"
    r"|INFO: Created TensorFlow Lite XNNPACK delegate"
    r"|Extension modules: "
    r'|  File ".*/(multiprocessing|engine)/(process|spawn|worker_child)\.py"'
    r'|  File "<string>", line 1 in <module>'
)

KEPT = "\n\t\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class TaskLog:
    """The file that a task's output goes to; one that is not `kept` ends with the task."""

    path: Path
    kept: bool

    def last_words(self) -> list[str]:
        """The last 15 lines that say something, repeated lines once."""
        try:
            with open(self.path, "rb") as file:
                file.seek(max(0, self.path.stat().st_size - _TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except FileNotFoundError:  # a task may remove anything
            return []
        spoken = (line[:_LINE_LENGTH].rstrip() for line in lines if not _NOISE.match(line))
        return [line for line, _ in itertools.groupby(spoken)][-_LAST_WORDS:]


class WorkerError(RuntimeError):
    """A task did not return. `last_words` is what it wrote last, `log` the file with all of it."""

    def __init__(self, what: str, log: TaskLog) -> None:
        self.last_words = log.last_words()
        self.log = log.path if log.kept else None
        heading = "Its last words:" if self.last_words else "It wrote nothing."
        lines = [what, heading, *(f"  {line}" for line in self.last_words)]
        if log.kept:
            lines.append(f"Full log: {log.path}")
        super().__init__("\n".join(lines))


class WorkerCrashed(WorkerError):
    """The worker died of the task; a negative `exit_code` is the signal that killed it."""

    def __init__(self, what: str, log: TaskLog, exit_code: int) -> None:
        super().__init__(what, log)
        self.exit_code = exit_code


class WorkerTimeout(WorkerError):
    """The task exceeded its time limit and was killed."""


class TaskFailed(WorkerError):
    """The task raised: the original's type name, message and traceback, as text."""

    def __init__(
        self, task: str, log: TaskLog, type_name: str, message: str, remote_traceback: str
    ) -> None:
        super().__init__(f"{task} raised {type_name}: {message}", log)
        self.type_name = type_name
        self.message = message
        self.remote_traceback = remote_traceback
        self.add_note(f"In the worker:\n{remote_traceback}")


def cause_of_death(exit_code: int, peak_bytes: int) -> str:
    """`SIGSEGV (segmentation fault), exit code -11`; a SIGKILL by nobody is out of memory."""
    if exit_code >= 0:
        return f"it exited, exit code {exit_code}"
    number = -exit_code
    if number == signal.SIGKILL:
        seen = f"peak {peak_bytes / 1e6:.0f} MB seen"
        return f"SIGKILL (killed, most likely out of memory: {seen}), exit code {exit_code}"
    name = next((known.name for known in signal.Signals if known == number), f"signal {number}")
    return f"{name} ({(signal.strsignal(number) or 'unknown').lower()}), exit code {exit_code}"


def again(error: Exception) -> Exception:
    """A fresh exception of the same type, message, notes and attributes, without a traceback.

    An exception object that is raised twice collects the tracebacks of both: whoever met it second
    is told where the first was. One that cannot be copied is returned itself.
    """
    try:
        twin = copy.copy(error)
    except Exception:  # its class takes other arguments than it keeps in `args`
        twin = _rebuilt(error)
    if type(twin) is not type(error) or str(twin) != str(error):
        return error
    twin.__cause__, twin.__suppress_context__ = error.__cause__, True
    if notes := getattr(error, "__notes__", None):
        twin.__notes__ = list(notes)
    return twin


def _rebuilt(error: Exception) -> Exception:
    twin = type(error).__new__(type(error), *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin


def some_of(names: Sequence[str], most: int = 3) -> str:
    """`a, b, c and 4 more`: the first of the names, and how many others there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def instead(unknown: str, known: Iterable[str]) -> str:
    """`did you mean size_ratio?`, or all that is known."""
    known = list(known)
    near = difflib.get_close_matches(unknown, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def on_a_line(name: str) -> str:
    """The name, whatever characters stand in it."""
    return name if name.isprintable() else repr(name)


def plain_text(text: str) -> str:
    """The text with `?` for every character that steers a terminal; lines and tabs stay.

    Escape codes, carriage returns, marks that turn the direction of writing, half surrogates.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in KEPT else "?" for char in text)
