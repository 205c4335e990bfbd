"""Hostile SavedModels: what runs while they are loaded, and files that stand elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import hostile_graph
from hostile_archive import witness

KIND, SUFFIX = "saved_model", ""
_KEPT: list[Path] = []
GRAPH = "saved_model.pb"


def sound(path: Path) -> Path:
    """Writes the folder; returns the file of it that is damaged."""
    if not _KEPT or not _KEPT[0].is_dir():
        import numpy as np
        import tensorflow as tf

        module = tf.Module()
        module.kernel = tf.Variable(np.ones((3, 3, 3, 4), np.float32))
        image = tf.TensorSpec((None, 16, 16, 3), tf.float32, name="image")
        serve = tf.function(
            lambda image: {"scores": tf.nn.conv2d(image, module.kernel, 1, "SAME")},
            input_signature=[image],
        )
        kept = path.parent.parent / "kept-saved-model"
        tf.saved_model.save(module, str(kept), signatures={"serving_default": serve})
        _KEPT[:] = [kept]
    shutil.copytree(_KEPT[0], path)
    return path / GRAPH


def _changed(change):
    """Changes the message in place."""

    def write(path: Path) -> None:
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        file = sound(path)
        stored = SavedModel.FromString(file.read_bytes())
        change(stored.meta_graphs[0], path)
        file.write_bytes(stored.SerializeToString())

    return write


def _served(meta):
    """The function that serves, the inner one."""
    return next(f for f in meta.graph_def.library.function if len(f.node_def) > 2)


def _writes(where: str):
    """The operator stands where it is served, restored, or run by the loader."""

    def change(meta, path: Path) -> None:
        graph = meta.graph_def
        hostile_graph.const(graph, "evil_name", str(witness(path)))
        hostile_graph.const(graph, "evil_content", "x")
        inputs = ["evil_name", "evil_content"]
        if where == "main":
            graph.node.add(name="evil", op="WriteFile", input=inputs)
            meta.collection_def["saved_model_main_op"].node_list.value[:] = ["evil"]
            return
        serves = _served(meta)
        names = [f for f in graph.library.function if where in f.signature.name]
        function = names[0] if where == "restore" else serves
        for constant in [node for node in graph.node if node.name in inputs]:
            function.node_def.append(constant)
        named = [f"{name}:output:0" for name in inputs]
        function.node_def.add(name="evil", op="WriteFile", input=named)
        function.control_ret["evil"] = "evil"
        function.signature.control_output.append("evil")

    return _changed(change)


def _operator(operator: str):
    def change(meta, path: Path) -> None:
        _served(meta).node_def.add(name="evil", op=operator)

    return _changed(change)


def _old(operator: str):
    """A model of TensorFlow 1, which the loader restores with an operator of the graph."""

    def change(meta, path: Path) -> None:
        meta.ClearField("object_graph_def")
        texts = [str(witness(path)), "name", ""]
        for number, text in enumerate(texts):
            hostile_graph.const(meta.graph_def, f"evil_{number}", text)
        evil = meta.graph_def.node.add(name="evil", op=operator)
        evil.input.extend(f"evil_{number}" for number in range(3))
        evil.attr["dtypes"].list.type.append(7)
        meta.saver_def.restore_op_name = "evil"

    return _changed(change)


def _variable(meta, path: Path) -> None:
    for node in meta.object_graph_def.nodes:
        if node.HasField("variable"):
            node.variable.shape.dim[0].size = 2**40


def _asset(meta, path: Path) -> None:
    asset = meta.asset_file_def.add()
    asset.filename, asset.tensor_info.name = "../../../../etc/passwd", "evil_name:0"
    hostile_graph.const(meta.graph_def, "evil_name", "/etc/passwd")
    meta.graph_def.node.add(name="evil", op="ReadFile", input=["evil_name"])


def _splat(meta, path: Path) -> None:
    import tensorflow as tf

    node = _served(meta).node_def.add(name="evil", op="Const")
    tensor = tf.make_tensor_proto(1.0)
    tensor.tensor_shape.dim.add(size=2**40)
    node.attr["value"].tensor.CopyFrom(tensor)
    node.attr["dtype"].type = 1


def _signature(meta, path: Path) -> None:
    meta.signature_def.clear()


def _linked(which: str):
    def write(path: Path) -> None:
        sound(path)
        (path / which).unlink()
        (path / which).symlink_to(path.parent.parent / "outside" / "secret")

    return write


def _beside(name: str, content: bytes):
    def write(path: Path) -> None:
        sound(path)
        (path / name).write_bytes(content)

    return write


def _missing(which: str):
    def write(path: Path) -> None:
        sound(path)
        (path / which).unlink()

    return write


DATA, INDEX = "variables/variables.data-00000-of-00001", "variables/variables.index"
SPECIAL = {
    "writes-when-loaded": _writes("main"),
    "writes-when-restored": _writes("restore"),
    "writes-when-served": _writes("serve"),
    "reads": _operator("ReadFile"),
    "saves": _operator("SaveV2"),
    "restores": _operator("RestoreV2"),
    "python": _operator("EagerPyFunc"),
    "python-stateless": _operator("PyFuncStateless"),
    "aborts": _operator("Abort"),
    "table-from-file": _operator("InitializeTableFromTextFileV2"),
    "old-saves": _old("SaveV2"),
    "asset-above": _changed(_asset),
    "variable-huge": _changed(_variable),
    "constant-huge": _changed(_splat),
    "no-signature": _changed(_signature),
    "graph-linked": _linked(GRAPH),
    "data-linked": _linked(DATA),
    "index-linked": _linked(INDEX),
    "data-missing": _missing(DATA),
    "index-missing": _missing(INDEX),
    "index-of-text": _beside(INDEX, b"no index" * 100),
    "index-of-ones": _beside(INDEX, b"\xff" * 1000),
    "data-short": _beside(DATA, b"x"),
    "fingerprint": _beside("fingerprint.pb", b"\xff" * 1000),
}
