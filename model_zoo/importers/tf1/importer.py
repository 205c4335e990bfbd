"""The importer of TF1 frozen graphs: a `.pb` in, a network that any converter takes out.

TFLite's converter functionalizes the control flow of a whole TF1 graph before it looks at what is
asked of it, and fails on loops and conditions that only prepare the image or suppress boxes. So the
graph is read here, its ends are found (`graph_ends`), what is constant at inference is folded
(`simplify`, `unroll`), and the network is cut out of what the host keeps running (`cut`,
`cut_network`). `runtimes.tensorflow_graphs.HostGraph` runs the rest around the quantized network.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from int8gate.model_zoo.importers.tf1.trained_ranges import check_untrained

VARIABLES = {"Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable", "TemporaryVariable"}
OPERATOR = re.compile(r"[A-Za-z0-9_.>]+")
LARGEST = 2**31  # protobuf's limit for one message
REPORT = "import.json"


def read_graph_def(path: Path):
    """The `tf.compat.v1.GraphDef` of a binary frozen graph.

    Raises FileNotFoundError, or ValueError for anything else than one graph of constants.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"{path} is a directory, expected a frozen graph (.pb)"
            + (
                ": it holds a SavedModel, freeze it first (convert_variables_to_constants)"
                if (path / "saved_model.pb").exists()
                else ": name the file in it"
            )
        )
    if not path.exists():
        raise FileNotFoundError(f"frozen graph {path} does not exist")
    if (size := path.stat().st_size) >= LARGEST:
        raise ValueError(
            f"{path} has {size / 2**30:.1f} GiB, expected less than 2 GiB, which a GraphDef cannot "
            "exceed: freeze the network without its optimizer and its training variables"
        )
    graph_def = _parse(path, path.read_bytes())
    _check_complete(path, graph_def)
    _check_frozen(path, graph_def)
    return graph_def


def _parse(path: Path, content: bytes):
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    if not content:
        raise ValueError(f"{path} is empty, expected a frozen graph (.pb): copy it again")
    if _is_text(content):
        raise ValueError(
            f"{path} is text, expected a binary GraphDef: if it is a graph (.pbtxt), read it with "
            "google.protobuf.text_format and write SerializeToString()"
        )
    graph_def = _parsed(tf.compat.v1.GraphDef(), content)
    if graph_def and graph_def.node and all(OPERATOR.fullmatch(n.op) for n in graph_def.node):
        return graph_def
    for kind, message in (
        ("a SavedModel", SavedModel()),
        ("a MetaGraphDef", tf.compat.v1.MetaGraphDef()),
    ):
        parsed = _parsed(message, content)
        graphs = getattr(parsed, "meta_graphs", [parsed]) if parsed else []
        if any(len(meta.graph_def.node) for meta in graphs):
            raise ValueError(
                f"{path} is {kind}, expected a frozen GraphDef: freeze it first "
                "(convert_variables_to_constants)"
            )
    found = "a GraphDef without nodes" if graph_def and not graph_def.node else "no whole GraphDef"
    raise ValueError(
        f"{path} ({len(content):,} bytes) is {found}, expected a binary frozen graph: it is "
        "truncated, damaged or of another kind; copy or export it again"
    )


def _parsed(message, content: bytes):
    """`message` read from `content`, None when it is of another kind."""
    from google.protobuf.message import DecodeError

    try:
        message.ParseFromString(content)
    except DecodeError:
        return None
    return message


def _is_text(content: bytes) -> bool:
    head = content[:4096]
    return all(byte in b"\t\n\r" or byte >= 32 for byte in head)


def _check_complete(path: Path, graph_def) -> None:
    from int8gate.model_zoo.importers.tf1.graphs import node_of

    names = {node.name for node in graph_def.node}
    for node in graph_def.node:
        for edge in node.input:
            if node_of(edge) not in names:
                raise ValueError(
                    f"{path}: node {node.name} reads {edge}, which the graph does not hold: the "
                    "file is truncated or was cut badly; export it again"
                )


def _check_frozen(path: Path, graph_def) -> None:
    from int8gate.model_zoo.importers.tf1.leftovers import without_leftovers

    if not any(node.op in VARIABLES for node in graph_def.node):
        return
    found = [node.name for node in without_leftovers(graph_def).node if node.op in VARIABLES]
    if found:
        raise ValueError(
            f"{path} has {len(found)} unfrozen variables ({', '.join(found[:3])}"
            f"{', ...' if len(found) > 3 else ''}), expected constants: freeze it first "
            "(tf.compat.v1.graph_util.convert_variables_to_constants)"
        )


def import_frozen_graph(
    path: Path,
    directory: Path,
    samples: np.ndarray,
    inputs: tuple[str, ...] = (),
    outputs: tuple[str, ...] = (),
    cut: tuple[tuple[str, ...], tuple[str, ...]] | None = None,
) -> dict:
    """Splits the graph at `path` into a network and what the host runs around it.

    `samples` (n, ...) are real inputs with the batch in front, of the dtype the graph takes.
    `inputs` and `outputs` name the graph's ends where they cannot be told; `cut` names the inputs
    and outputs of the network where the automatic cut (`cut.find_cut`) is not wanted.

    Writes into `directory`: saved_model/ (the network: fixed shape, float32, no control flow and
    no variables, signature "serving_default"), host.pb (the simplified whole graph),
    preprocessing.pb and postprocessing.pb (only when there is one), import.json. Returns what
    import.json holds.

    Raises ValueError when the file is not a frozen graph or holds trained ranges, when its ends or
    its cut cannot be told, or when the network cannot be separated from control flow: the sentence
    names the node.
    """
    from int8gate.model_zoo.importers.tf1 import cut as cutting
    from int8gate.model_zoo.importers.tf1 import cut_network as network
    from int8gate.model_zoo.importers.tf1 import graph_ends, graphs, simplify

    source = read_graph_def(path)
    ends, graph_def, repairs = graph_ends.find_ends(source, inputs, outputs, Path(path).name)
    check_untrained(str(path), graphs.extract(graph_def, ends.outputs).node)
    named = (*cut[0], *cut[1]) if cut else ()
    simplified, more = simplify.simplify(graph_def, ends, samples, keep=named)
    try:
        split = (
            cutting.named_cut(simplified, ends, *cut) if cut else cutting.find_cut(simplified, ends)
        )
    except ValueError as error:
        undone = (simplify.TAKEN_BACK, simplify.NOT_POSSIBLE)
        tried = "; ".join(s.rstrip(".") for s in more if any(words in s for words in undone))
        raise ValueError(f"{error} ({tried})" if tried else str(error)) from error
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    report = network.write(simplified, ends, split, samples, directory)
    report["repairs"] = [*repairs, *more, *report["repairs"]]
    report["nodes"]["source"] = len(source.node)
    (directory / REPORT).write_text(json.dumps(report, indent=2) + "\n")
    return report


def explain(import_report: dict) -> list[str]:
    """What was repaired, and what was cut where and why, in sentences for people."""
    nodes = import_report["nodes"]
    parts = [f"{nodes['network']} in the network"]
    parts += [
        f"{nodes[part]} in {part}" for part in ("preprocessing", "postprocessing") if nodes[part]
    ]
    return [
        f"The graph has {nodes['source']} nodes: {', '.join(parts)}.",
        *import_report["repairs"],
        *import_report["cut"],
    ]
