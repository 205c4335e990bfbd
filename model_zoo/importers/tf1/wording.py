"""How graphs are spoken of: tensors, loops and TensorFlow's errors, in words for people."""

from __future__ import annotations

import re
from collections.abc import Sequence

MOST_NAMES = 4
_NODE = re.compile(r"\{\{node ([^}\s]+)\}\}|[Nn]ode '([^']+)'|[Nn]ode:? \[\[([^\]]+)\]\]")
_TRACE = re.compile(
    r"Graph execution error|Detected at node|Node: '|\[\[|Original stack trace|File "
)


class NotRewritten(ValueError):
    """Why a graph cannot be rewritten, in a clause of ours."""


def listed(tensors: Sequence[str]) -> str:
    """Names in a sentence: all of a few, else how many, the first and the last."""
    names = list(tensors)
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    scope = _common_scope(names)
    first, last = (name.removeprefix(scope) for name in (names[0], names[-1]))
    within = f", in {scope.rstrip('/')}" if scope else ""
    return f"{len(names)} tensors, {first} to {last}{within}"


def _common_scope(names: Sequence[str]) -> str:
    scopes = [name.rpartition(":")[0].split("/")[:-1] for name in names]
    common = []
    for parts in zip(*scopes, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "".join(f"{part}/" for part in common)


def failed_node(error: Exception) -> str:
    """The node that an error of TensorFlow is about, empty when it does not say."""
    node = getattr(error, "op", None) or getattr(error, "node_def", None)
    if node is not None:
        return node.name
    found = _NODE.search(str(error))
    return next(filter(None, found.groups()), "") if found else ""


def refusal(error: Exception) -> str:
    """Why a rewritten graph is not used, without TensorFlow's words."""
    if isinstance(error, NotRewritten):
        return str(error)
    node = failed_node(error)
    return f"the rewritten graph does not run{f' (node {node})' if node else ''}"


def cause(error: Exception) -> str:
    """What an error of TensorFlow says, in one line, without its stack traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not _TRACE.match(line)] or [type(error).__name__]
    node = failed_node(error)
    where = f"node {node}: " if node and node not in told[0] else ""
    return f"{where}{told[0]}"[:200]
