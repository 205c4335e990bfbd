"""Takes the network out of a graph, writes the parts, and proves that they make the whole.

Shapes at the cut become static: those that real inputs show.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from int8gate.model_zoo.importers.tf1 import control_flow, leftovers, proof
from int8gate.model_zoo.importers.tf1.cut import Cut
from int8gate.model_zoo.importers.tf1.graphs import (
    Graph,
    constant,
    extract,
    free_name,
    listed,
    node_of,
    placeholder,
    replace,
    tensor_of,
)
from int8gate.model_zoo.importers.tf1.operators import INPUTS, SHAPES
from int8gate.model_zoo.importers.tf1.proof import run
from int8gate.runtimes.artifact import SAVED_MODEL

HOST, REPORT = "host.pb", "import.json"
BEFORE, AFTER = "preprocessing.pb", "postprocessing.pb"
OBSERVED = 16  # samples on which static shapes are read


def static_shapes(graph: Graph, tensors, images: list[dict]) -> dict[str, tuple[int, ...]]:
    """By tensor, its shape, which must be the same on every image."""
    tensors = tuple(dict.fromkeys(tensors))
    seen: dict[str, set] = {tensor: set() for tensor in tensors}
    for values in run(graph, tensors, images):
        for tensor, value in zip(tensors, values, strict=True):
            seen[tensor].add(value.shape)
    for tensor, found in seen.items():
        if len(found) > 1:
            raise ValueError(
                f"{tensor} has shapes {sorted(found)} on different samples, expected one static "
                "shape: name another cut, or export the graph with a fixed size"
            )
    return {tensor: found.pop() for tensor, found in seen.items()}


def frozen_shapes(graph: Graph, cut: Cut, images: list[dict], repairs: list[str]) -> dict:
    """By integer tensor that the network reads, its value, which no image may change."""
    if not cut.shapes:
        return {}
    scrambled = [{t: np.flip(v) for t, v in feed.items()} for feed in images]
    blank = [{t: np.zeros_like(v) for t, v in images[0].items()}]
    values = list(run(graph, cut.shapes, [*images, *scrambled, *blank]))
    for place, tensor in enumerate(cut.shapes):
        if any(not np.array_equal(row[place], values[0][place]) for row in values):
            raise ValueError(
                f"the network reads {tensor} ({graph.dtype(tensor).name}), which changes with the "
                "image, expected a shape: name another cut"
            )
    repairs.append(f"Fixed as seen on {len(values)} inputs: {listed(cut.shapes)}.")
    return dict(zip(cut.shapes, values[0], strict=True))


def host_without_network(graph: Graph, cut: Cut, image: dict):
    """The GraphDef of the host, where shapes of the network's tensors are constants.

    Otherwise the host would run the network to learn its shapes.
    """
    network = graph.above(map(node_of, cut.outputs), stop=cut.inputs) & graph.below(graph.anchors)
    reads = [
        tensor_of(name if port == 0 else f"{name}:{port}")
        for name, node in graph.nodes.items()
        if node.op in SHAPES and node_of(node.input[0]) in network
        for port in range(len(graph.imported.get_operation_by_name(name).outputs))
    ]
    if not reads:
        return graph.graph_def
    values = next(run(graph, reads, [image]))
    known = {
        tensor: constant(free_name(graph, f"known_{tensor}"), value)
        for tensor, value in zip(reads, values, strict=True)
    }
    changed = type(graph.graph_def)()
    changed.CopyFrom(graph.graph_def)
    for node in changed.node:
        for place, edge in enumerate(node.input):
            if not edge.startswith("^") and tensor_of(edge) in known:
                node.input[place] = known[tensor_of(edge)].name
    changed.node.extend(known.values())
    return changed


def write(graph: Graph, ends, cut: Cut, samples, directory: Path) -> dict:
    """Writes saved_model/, host.pb, preprocessing.pb and postprocessing.pb, and returns the report.

    Raises ValueError when a shape at the cut changes with the image, or when the parts do not
    answer what the whole graph does.
    """
    repairs: list[str] = []
    images = proof.feeds(graph, ends, samples)[:OBSERVED]
    shapes = static_shapes(graph, (*cut.inputs, *cut.outputs), images)
    frozen = frozen_shapes(graph, cut, images, repairs)
    inner, names = take_out(graph, cut, shapes, frozen)
    host = host_without_network(graph, cut, images[0])
    save(inner, names, cut, shapes, directory / SAVED_MODEL)
    (directory / HOST).write_bytes(host.SerializeToString())
    nodes = {"network": len(inner.nodes)} | _write_around(host, ends, cut, shapes, directory)
    report = {
        "inputs": list(ends.inputs),
        "outputs": list(ends.outputs),
        "network_inputs": list(cut.inputs),
        "network_outputs": list(cut.outputs),
        "static_shapes": {tensor: list(shape) for tensor, shape in shapes.items()},
        "repairs": repairs,
        "cut": list(cut.why),
        "nodes": nodes,
    }
    (directory / REPORT).write_text(json.dumps(report))
    _prove(graph, ends, cut, images, directory)
    return report


def take_out(graph: Graph, cut: Cut, shapes: dict, frozen: dict) -> tuple[Graph, list[str]]:
    """The network alone, and the names of its placeholders."""
    begins = {
        tensor: placeholder(free_name(graph, f"network_input_{i}"), "float32", shapes[tensor])
        for i, tensor in enumerate(cut.inputs)
    }
    fixed = {
        tensor: constant(free_name(graph, f"network_shape_{i}"), value)
        for i, (tensor, value) in enumerate(frozen.items())
    }
    part = Graph(replace(graph.graph_def, begins | fixed, cut.outputs))
    kept = [node.name for node in begins.values()]
    missing = [t for t, node in begins.items() if node.name not in part.nodes]
    if missing:
        raise ValueError(f"the network does not read {', '.join(missing)}: name another cut")
    part = Graph(extract(leftovers.fold(part, (*cut.outputs, *kept)), (*cut.outputs, *kept)))
    for name in part.order:
        node = part.nodes[name]
        if node.op in control_flow.OPERATORS or (node.op in INPUTS and name not in kept):
            raise ValueError(
                f"the network still holds {name} ({node.op}), expected no control flow and no "
                "other input: name the cut"
            )
    return part, kept


def save(network: Graph, placeholders: list[str], cut: Cut, shapes: dict, path: Path) -> None:
    """A SavedModel with the signature "serving_default" and no variables."""
    import tensorflow as tf

    arguments, results = (
        _names("image", "input", cut.inputs),
        _names("output", "output", cut.outputs),
    )
    signature = [
        tf.TensorSpec(shapes[tensor], tf.float32, name=name)
        for tensor, name in zip(cut.inputs, arguments, strict=True)
    ]

    def serve(*images):
        fed = {f"{name}:0": image for name, image in zip(placeholders, images, strict=True)}
        found = tf.graph_util.import_graph_def(network.graph_def, fed, list(cut.outputs), name="")
        return dict(zip(results, found, strict=True))

    module: Any = tf.Module()
    module.serve = tf.function(serve, input_signature=signature)
    tf.saved_model.save(
        module,
        str(path),
        signatures={"serving_default": module.serve},
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
    )


def _names(single: str, several: str, tensors) -> list[str]:
    """Signature names, whose alphabetical order is that of the tensors."""
    width = len(str(len(tensors) - 1))
    return (
        [single] if len(tensors) == 1 else [f"{several}_{i:0{width}}" for i in range(len(tensors))]
    )


def _write_around(host, ends, cut: Cut, shapes: dict, directory: Path) -> dict[str, int]:
    """Writes the parts before and after the network; how many nodes each has."""
    counts = {"preprocessing": 0, "postprocessing": 0}
    for old in (BEFORE, AFTER):
        (directory / old).unlink(missing_ok=True)
    if set(cut.inputs) != set(ends.inputs):
        part = extract(host, cut.inputs)
        counts["preprocessing"] = len(part.node)
        (directory / BEFORE).write_bytes(part.SerializeToString())
    if rest := [tensor for tensor in ends.outputs if tensor not in cut.outputs]:
        graph = Graph(host)
        begins = {t: placeholder(_own_name(graph, t), "float32", shapes[t]) for t in cut.outputs}
        part = replace(host, begins, rest)
        if layers := Graph(part).anchors:
            raise ValueError(
                f"post-processing needs layer {layers[0]}, expected the outputs of the network "
                f"({', '.join(cut.outputs)}) to be enough: name the cut"
            )
        counts["postprocessing"] = len(part.node)
        (directory / AFTER).write_bytes(part.SerializeToString())
    return counts


def _own_name(graph: Graph, tensor: str) -> str:
    operation = graph.imported.get_operation_by_name(node_of(tensor))
    alone = len(operation.outputs) == 1
    return operation.name if alone else free_name(graph, tensor.replace(":", "_"))


def _prove(graph: Graph, ends, cut: Cut, images: list[dict], directory: Path) -> None:
    """Proves both parts by what the whole graph answers, at the cut and at its ends.

    Each by itself: after a rounding in the network, post-processing may choose another box.
    """
    import tensorflow as tf

    from int8gate.runtimes.tensorflow_graphs import HostGraph

    host = HostGraph(directory, optimize=False)
    loaded = tf.saved_model.load(str(directory / SAVED_MODEL))
    serve = loaded.signatures["serving_default"]
    arguments = _names("image", "input", cut.inputs)
    whole = proof.Proof(graph, dict.fromkeys((*cut.outputs, *ends.outputs)), images)
    for place, expected in enumerate(whole.expected):
        feed = images[place]
        image = list(feed.values()) if len(feed) > 1 else next(iter(feed.values()))
        prepared = dict(zip(arguments, map(tf.constant, host.before(image)), strict=True))
        answered = serve(**prepared)
        found = [answered[name].numpy() for name in sorted(answered)]
        _check(whole, place, "the network alone", cut.outputs, found)
        _check(whole, place, "the host's graph", ends.outputs, host.whole(image))
        behind = host.after(image, [expected[name] for name in cut.outputs])
        _check(whole, place, "the host behind the network", ends.outputs, behind)


def _check(whole: proof.Proof, place: int, what: str, names, found: list) -> None:
    if name := whole.first_difference(place, dict(zip(names, found, strict=True))):
        raise ValueError(
            f"{what} answers {name} differently from the graph: this is a fault of the "
            "importer; name another cut, and report it"
        )
