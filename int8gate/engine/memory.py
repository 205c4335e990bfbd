"""Limits of memory and of recursion, for what reads model files.

Memory is refused before it is taken, in two ways. What a file declares is counted in Python's whole
numbers, which do not wrap, and compared with `LARGEST_TENSOR`. What a library asks for while it
reads a file is limited by the kernel, so that an allocation fails, as an error that the library
reports, instead of succeeding.

A converter that needs deeper recursion lifts Python's limit for itself alone (`recursion`): what
reads a file later in the same process would otherwise overflow the stack where the file is nested
too deeply, instead of raising a RecursionError.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

LARGEST_TENSOR = 2**30  # bytes; an input of 4096 x 4096 x 3 in float32 takes a fifth of it
READING = 2**30  # bytes beyond a multiple of its size that a file may take to be read
TIMES = 6  # that multiple: the file, the parsed message, arrays, the library's own copies
RUNNING = 3 * 2**30  # bytes beyond these that one run of a float network may take
EXHAUSTED = (  # how libraries say that memory was refused
    *("out of memory", "oom when allocating", "resourceexhausted", "bad_alloc", "can't allocate"),
    *("failed to allocate", "unable to allocate", "not enough memory", "cannot allocate"),
)


def size_of(shape: Iterable[int | None], itemsize: int) -> int:
    """Bytes of a tensor; a free side (None or negative) counts 1."""
    sides = (1 if side is None or side < 0 else int(side) for side in shape)
    return math.prod(sides) * itemsize


def check_tensor(where: str, name: str, shape: Iterable[int | None], itemsize: int) -> None:
    """Raises ValueError where a declared tensor takes more than `LARGEST_TENSOR`."""
    shape = tuple(shape)
    needed = size_of(shape, itemsize)
    if needed > LARGEST_TENSOR:
        sides = " x ".join("?" if side is None else str(side) for side in shape)
        raise ValueError(
            f"{where}: tensor {name} of {sides[:80]} takes {gib(needed)}, more than the "
            f"{gib(LARGEST_TENSOR)} that one tensor may take: the file is damaged, or the model is "
            "not for this gate"
        )


def gib(count: int) -> str:
    """Bytes for people: ``4.0 GiB``; ``2^70 bytes`` where that says nothing."""
    return f"{count / 2**30:.1f} GiB" if count < 2**60 else f"about 2^{count.bit_length()} bytes"


def reading_takes(*files: Path) -> int:
    """Bytes that the files of a model, or the folder of one, may take while they are read."""
    parts = [part for file in files for part in (file.rglob("*") if file.is_dir() else [file])]
    return READING + TIMES * sum(part.stat().st_size for part in parts if part.is_file())


@contextlib.contextmanager
def at_most(extra: int) -> Iterator[None]:
    """Lets this process allocate `extra` bytes beyond what it holds now (Linux).

    Import the libraries first: what they reserve counts. It limits the whole process, so that it
    belongs into a worker. Nothing is limited where the system has no such limit.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _reserved() + extra
    if before[1] != resource.RLIM_INFINITY:
        limit = min(limit, before[1])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def was_refused(error: BaseException) -> bool:
    """Whether an error says that memory was asked for and not given."""
    said = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(words in said for words in EXHAUSTED)


def _reserved() -> int:
    """Private writable memory of this process, touched or not: what RLIMIT_DATA counts."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def recursion(depth: int) -> Iterator[None]:
    """Up to `depth` calls deep within, and then as before, whatever is set within."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(depth)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
