"""The data file, filled batch by batch, with a journal by which a killed run goes on.

A batch is written, its bytes are made durable, and only then does the journal say so, with their
SHA-256; a line of the journal is durable before the next batch begins. After a kill, or a loss of
power, what the journal says is therefore in the file: it is read and compared all the same, and
what differs is written again. Places are fixed (`data_plan`), so that a resumed file is the same,
byte for byte.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from int8gate.quantizers.out_of_core.checkpoint import Tensor
from int8gate.quantizers.out_of_core.data_plan import AS_STORED, BLOCKS, DataPlan, Entry, Unit
from int8gate.quantizers.toolchains.onnx.weight_only import quantize_rows

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Progress:
    """Bytes of weights that are read and written, of how many, and the seconds that are left.

    `seconds_left` is None until there is a rate; what an earlier run did, has none.
    """

    tensor: str
    done: int
    total: int
    seconds_left: float | None


class Journal:
    """Which batches of a run, named by its `identity`, are in the data file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, identity: str) -> None:
        """Starts a new journal, which is durable, itself and its name, once this returns."""
        self.path.write_bytes(b"")
        self._append({"identity": identity})
        sync_directory(self.path.parent)

    def add(self, batch: int, sha256: str) -> None:
        self._append({"batch": batch, "sha256": sha256})

    def complete(self) -> None:
        self._append({"complete": True})

    def read(self) -> tuple[str | None, dict[int, str], bool]:
        """The identity, None where no whole first line is there; by batch the digest of its bytes;
        whether the run was complete. A line that a kill cut short ends it.
        """
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]
            identity = json.loads(lines[0])["identity"]
        except (OSError, IndexError, ValueError, KeyError, TypeError):
            return None, {}, False
        digests: dict[int, str] = {}
        for line in lines[1:]:
            try:
                entry = json.loads(line)
                if "complete" in entry:
                    return identity, digests, True
                digests[int(entry["batch"])] = str(entry["sha256"])
            except (ValueError, KeyError, TypeError):
                break
        return identity, digests, False

    def cut_torn_line(self) -> None:
        """Ends the file behind its last whole line, lest the next one be joined to half of one."""
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with open(self.path, "r+b") as file:
                file.truncate(whole)
                os.fsync(file.fileno())

    def _append(self, entry: dict) -> None:
        with open(self.path, "ab") as file:
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def write_data(
    plan: DataPlan,
    tensors: dict[str, Tensor],
    file: Path,
    journal: Journal,
    progress: Callable[[Progress], None],
) -> None:
    """Fills `file` with what the journal does not have yet; all of it is durable in the end.

    `progress` is called after every batch. Raises ValueError where the disk has no room, and for
    weights that are not finite.
    """
    _, digests, _ = journal.read()
    journal.cut_torn_line()
    sizes = [sum(_source_bytes(plan, tensors, unit) for unit in batch) for batch in plan.batches]
    total, done = sum(sizes), 0
    with _room(file, plan.nbytes) as data:
        os.posix_fallocate(data, 0, plan.nbytes)
        os.ftruncate(data, plan.nbytes)
        left = []
        for number, batch in enumerate(plan.batches):
            if number in digests and _digest_in_file(plan, batch, data) == digests[number]:
                done += sizes[number]
            else:
                left.append(number)
        began, before = time.monotonic(), done
        for number in left:
            batch = plan.batches[number]
            sha256 = _write_batch(plan, tensors, batch, data)
            os.fdatasync(data)
            journal.add(number, sha256)
            done += sizes[number]
            rate = (done - before) / max(time.monotonic() - began, 1e-9)
            name = plan.entries[batch[-1].entry].source
            progress(Progress(name, done, total, (total - done) / rate if rate else None))
        os.fsync(data)


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_batch(
    plan: DataPlan, tensors: dict[str, Tensor], batch: tuple[Unit, ...], data: int
) -> str:
    """Writes the units of a batch; returns the SHA-256 of their bytes, in order."""
    digest = hashlib.sha256()
    for unit in batch:
        entry = plan.entries[unit.entry]
        arrays = _rows(plan, entry, tensors[entry.source], unit)
        ranges = entry.ranges(unit.first, unit.last)
        for (offset, length), array in zip(ranges, arrays, strict=True):
            content = memoryview(np.ascontiguousarray(array)).cast("B")
            assert content.nbytes == length, (entry.source, entry.form)
            digest.update(content)
            written = 0
            while written < length:
                written += os.pwrite(data, content[written:], offset + written)
    return digest.hexdigest()


def _rows(plan: DataPlan, entry: Entry, tensor: Tensor, unit: Unit) -> tuple[np.ndarray, ...]:
    """What is stored of the rows of a unit, one array for each of the entry's places."""
    if entry.form == BLOCKS:
        return quantize_rows(tensor.float_rows(unit.first, unit.last), plan.bits, plan.block)
    if entry.form == AS_STORED:
        return (tensor.finite_rows(unit.first, unit.last),)
    return (tensor.float_rows(unit.first, unit.last),)


def _digest_in_file(plan: DataPlan, batch: tuple[Unit, ...], data: int) -> str:
    """The SHA-256 of a batch's bytes as they are in the file."""
    digest = hashlib.sha256()
    for unit in batch:
        for offset, length in plan.entries[unit.entry].ranges(unit.first, unit.last):
            digest.update(os.pread(data, length, offset))
    return digest.hexdigest()


def _source_bytes(plan: DataPlan, tensors: dict[str, Tensor], unit: Unit) -> int:
    entry = plan.entries[unit.entry]
    return tensors[entry.source].nbytes // entry.rows * (unit.last - unit.first)


@contextmanager
def _room(file: Path, nbytes: int) -> Iterator[int]:
    """A descriptor of the file; raises ValueError in place of what a full disk raises."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        yield descriptor
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        free = os.statvfs(file.parent)
        raise ValueError(
            f"{file.parent} has no room for {nbytes / 1e9:,.2f} GB of weights "
            f"({free.f_bavail * free.f_frsize / 1e9:,.2f} GB are free; {error.strerror}): make room"
            " and run the same command again, or choose another --output"
        ) from error
    finally:
        os.close(descriptor)
