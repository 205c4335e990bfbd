"""A signature of a SavedModel, of which nothing runs that could do harm.

TensorFlow runs parts of a SavedModel while it loads it (restoring, initializers), so that its graph
is searched first.
"""

from __future__ import annotations

import os
from pathlib import Path

from int8gate.engine import memory

SERVING = "serving_default"
MOST_LISTED = 8
GRAPH = "saved_model.pb"
LARGEST = 2**31  # protobuf's limit for one message
INITIALIZERS = ("saved_model_main_op", "legacy_init_op", "saved_model_init_op")


def signature(folder: Path, name: str | None = None):
    """The signature of that name, a `tf.function` that keeps its model alive.

    Without a name `serving_default`, or the only one. Raises ValueError naming the folder for one
    that is no SavedModel, that has no such signature or several to choose from, whose files lie
    elsewhere, whose graph would touch files or other processes, or holds trained ranges.
    """
    import tensorflow as tf

    _check_files(folder)
    try:
        stored = _parsed(folder)
    except Exception as error:  # of protobuf and of the file system
        raise _no_saved_model(folder, error) from error
    for meta in stored.meta_graphs:
        _check_graph(folder, meta)
    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:  # of protobuf, of the file system, of TensorFlow's C++
        raise _no_saved_model(folder, error) from error
    serve = loaded.signatures[_chosen(folder, list(loaded.signatures), name)]
    serve.loaded = loaded
    return serve


def _chosen(folder: Path, known: list[str], name: str | None) -> str:
    if name in known:
        return name
    if name is None and (SERVING in known or len(known) == 1):
        return SERVING if SERVING in known else known[0]
    listed = ", ".join(entry[:60] for entry in known[:MOST_LISTED]) or "none"
    if name is not None:
        raise ValueError(f"{folder} has no signature {name!r:.60}, it has {listed}: mend the key")
    if not known:
        raise ValueError(
            f"{folder} has no signature: save it with signatures={{'serving_default': ...}}"
        )
    raise ValueError(
        f"{folder} has {len(known)} signatures and none is {SERVING}: say which one is the model, "
        f"signature = NAME in the TOML (init: --signature NAME), one of {listed}"
    )


def _no_saved_model(folder: Path, error: Exception) -> ValueError:
    said = " ".join(str(error).split())[:160].replace(". ", "; ")
    return ValueError(f"{folder} is no whole SavedModel ({said}): export it again")


def _check_files(folder: Path) -> None:
    home = Path(os.path.realpath(folder))
    for path in sorted(folder.rglob("*")):
        if not Path(os.path.realpath(path)).is_relative_to(home):
            raise ValueError(
                f"{folder}: {path.relative_to(folder)} in it leads outside of the folder: such a "
                "file is not read; copy it into the folder"
            )
        if not (path.is_file() or path.is_dir()):
            raise ValueError(f"{folder}: {path.relative_to(folder)} in it is no file: remove it")


def _parsed(folder: Path):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = folder / GRAPH
    if file.stat().st_size >= LARGEST:
        raise ValueError("its graph has 2 GiB or more")
    return SavedModel.FromString(file.read_bytes())


def _check_graph(folder: Path, meta) -> None:
    """Searches all of it, and for savers what is run: a graph holds those of its own weights."""
    from int8gate.model_zoo.importers.tf1 import untrusted_graph
    from int8gate.model_zoo.importers.tf1.trained_ranges import check_untrained

    graph, where = meta.graph_def, str(folder)
    everything = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    untrusted_graph.check_sizes(where, everything)
    untrusted_graph.check_nodes(
        where, (node for node in everything if not untrusted_graph.is_saving(node))
    )
    run = list(untrusted_graph.reached(graph, _run(meta)))
    untrusted_graph.check_nodes(where, run)
    check_untrained(where, run)
    for node in meta.object_graph_def.nodes:
        if node.HasField("variable"):
            sides = [side.size for side in node.variable.shape.dim]
            itemsize = untrusted_graph.ITEMSIZES.get(node.variable.dtype, 1)
            memory.check_tensor(where, repr(node.variable.name[:100]), sides, itemsize)


def _run(meta) -> list:
    """The nodes that a signature or the loader runs; restoring goes by the loader's own code, but
    for models of TensorFlow 1, whose graph does it.
    """
    from int8gate.model_zoo.importers.tf1.graphs import node_of

    nodes = {node.name: node for node in meta.graph_def.node}
    ends = [info.name for s in meta.signature_def.values() for info in s.outputs.values()]
    for name in INITIALIZERS:
        ends += meta.collection_def[name].node_list.value if name in meta.collection_def else ()
    if is_old := not meta.HasField("object_graph_def"):
        ends.append(meta.saver_def.restore_op_name)
    waiting, seen = [node_of(end) for end in ends], set()
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in seen:
            seen.add(name)
            waiting += map(node_of, nodes[name].input)
    called = set(meta.object_graph_def.concrete_functions)
    functions = [f for f in meta.graph_def.library.function if f.signature.name in called]
    found = [nodes[name] for name in seen] + [node for f in functions for node in f.node_def]
    return [node for node in found if not (is_old and node.op in ("RestoreV2", "Restore"))]
