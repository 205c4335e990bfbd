"""Hostile ONNX files."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

KIND, SUFFIX = "onnx", ".onnx"
HUGE = 2**40


def sound(path: Path) -> None:
    import onnx_files

    onnx_files.save(onnx_files.cnn(), path)


def load(file: Path, found) -> None:
    from int8gate.model_zoo.importers.onnx.importer import import_onnx

    shape = tuple(side or 1 for side in found.inputs[0].shape)
    import_onnx(file, shape, file.parent / "imported")


def _changed(change):
    """A case: the sound model, changed in place."""

    def write(path: Path) -> None:
        import onnx_files

        model = onnx_files.cnn()
        change(model, path)
        path.write_bytes(model.SerializeToString())

    return write


def _outside(location: str):
    """A tensor that is kept in another file."""

    def change(model, path: Path) -> None:
        tensor = model.graph.initializer[0]
        target = location.format(secret=path.parent.parent / "outside" / "secret")
        tensor.ClearField("raw_data")
        tensor.data_location = tensor.EXTERNAL
        tensor.external_data.add(key="location", value=target)

    return _changed(change)


def _link(model, path: Path) -> None:
    (path.parent / "weights.bin").symlink_to(path.parent.parent / "outside" / "secret")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = tensor.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def _external_length(model, path: Path) -> None:
    (path.parent / "weights.bin").write_bytes(bytes(100))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = tensor.EXTERNAL
    for key, value in {"location": "weights.bin", "offset": "0", "length": "9" * 30}.items():
        tensor.external_data.add(key=key, value=value)


def _weight_of(*dims: int):
    def change(model, path: Path) -> None:
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)

    return _changed(change)


def _input_of(*dims: int):
    def change(model, path: Path) -> None:
        shape = model.graph.input[0].type.tensor_type.shape
        for side, size in zip(shape.dim, dims, strict=True):
            side.dim_value = size

    return _changed(change)


def _with_nodes(*made):
    """Nodes that make something huge, and add the sum of it to the scores."""

    def change(model, path: Path) -> None:
        from onnx import helper, numpy_helper

        node = model.graph.node[-1]
        node.output[0] = "before"
        for operator, inputs, output, constants in made:
            for name, value in constants.items():
                array = np.asarray(value, np.int64 if np.ndim(value) else np.float32)
                model.graph.initializer.append(numpy_helper.from_array(array, name))
            model.graph.node.append(helper.make_node(operator, inputs, [output], name=output))
        last = made[-1][2]
        model.graph.node.append(
            helper.make_node("ReduceMean", [last], ["mean"], keepdims=0, name="mean")
        )
        model.graph.node.append(helper.make_node("Add", ["before", "mean"], ["scores"], name="end"))

    return _changed(change)


def _computed(model, path: Path) -> None:
    """Fills 32 GB, a size that is told by the picture's values alone."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {"many": np.float32(2**33), "one": np.array([1], np.int64)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    model.graph.node[-1].output[0] = "before"
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0, name="most"),
            helper.make_node("Add", ["most", "many"], ["sum_of"], name="sum_of"),
            helper.make_node("Cast", ["sum_of"], ["whole"], to=TensorProto.INT64, name="whole"),
            helper.make_node("Reshape", ["whole", "one"], ["side"], name="side"),
            helper.make_node("ConstantOfShape", ["side"], ["filled"], name="filled"),
            helper.make_node("ReduceMean", ["filled"], ["mean"], keepdims=0, name="mean"),
            helper.make_node("Add", ["before", "mean"], ["scores"], name="end"),
        ]
    )


def _sparse(model, path: Path) -> None:
    from onnx import helper, numpy_helper

    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    where = numpy_helper.from_array(np.zeros(1, np.int64), "where")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, where, [HUGE]))


def _laughs(model, path: Path) -> None:
    """Functions each of which calls the one before ten times."""
    from onnx import helper

    sets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    for level in range(12):
        call = ("Relu", "") if level == 0 else (f"f{level - 1}", "local")
        names = ["x", *(f"t{i}" for i in range(9)), "y"]
        nodes = [
            helper.make_node(call[0], [before], [after], domain=call[1])
            for before, after in itertools.pairwise(names)
        ]
        model.functions.append(
            helper.make_function("local", f"f{level}", ["x"], ["y"], nodes, sets)
        )
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "f11", "local"


def _calls_itself(model, path: Path) -> None:
    from onnx import helper

    sets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    node = helper.make_node("f", ["x"], ["y"], domain="local")
    model.functions.append(helper.make_function("local", "f", ["x"], ["y"], [node], sets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "f", "local"


def _cycle(model, path: Path) -> None:
    model.graph.node[1].input[0] = model.graph.node[-2].output[0]


def _named(name: str):
    def change(model, path: Path) -> None:
        for node in model.graph.node:
            node.name = f"{name}{node.name}"
        first = model.graph.input[0].name
        model.graph.input[0].name = name
        for node in model.graph.node:
            for place, given in enumerate(node.input):
                node.input[place] = name if given == first else given

    return _changed(change)


def _custom(model, path: Path) -> None:
    model.graph.node[1].op_type, model.graph.node[1].domain = "os.system", "builtins"


SPECIAL = {
    "data-above": _outside("../outside/secret"),
    "data-far-above": _outside("../../../../../../../etc/passwd"),
    "data-absolute": _outside("{secret}"),
    "data-device": _outside("/dev/zero"),
    "data-of-no-end": _outside("../../../../../../../../dev/zero"),
    "data-null": _outside("weights\0.bin"),
    "data-empty": _outside(""),
    "data-folder": _outside("."),
    "data-link": _changed(_link),
    "data-length": _changed(_external_length),
    "weight-huge": _weight_of(HUGE),
    "weight-wraps": _weight_of(2**32, 2**32),
    "weight-negative": _weight_of(-1, 3, 3, 3),
    "input-huge": _input_of(1, 3, 2**20, 2**20),
    "input-wraps": _input_of(2**32, 2**32, 1, 1),
    "input-channels": _input_of(1, 2**31, 16, 16),
    "fills": _with_nodes(("ConstantOfShape", ["shape"], "filled", {"shape": [HUGE]})),
    "fills-in-two-steps": _with_nodes(
        ("ConstantOfShape", ["shape"], "row", {"shape": [1, 2**20]}),
        ("Tile", ["row", "times"], "filled", {"times": [2**14, 1]}),
    ),
    "expands": _with_nodes(("Expand", ["image", "shape"], "wide", {"shape": [2**26, 3, 16, 16]})),
    "counts": _with_nodes(
        ("Range", ["from", "to", "by"], "counted", {"from": 0.0, "to": 1e12, "by": 1.0})
    ),
    "pads": _with_nodes(("Pad", ["image", "sides"], "padded", {"sides": [0] * 6 + [2**20] * 2})),
    "fills-computed": _changed(_computed),
    "sparse": _changed(_sparse),
    "laughs": _changed(_laughs),
    "calls-itself": _changed(_calls_itself),
    "cycle": _changed(_cycle),
    "custom-operator": _changed(_custom),
    "named-shell": _named("$(touch ../outside/ran); `id`"),
    "named-path": _named("../../outside/ran"),
    "named-lines": _named('a"\n[models.evil]\nfile = "/etc/passwd"\x1b[31m'),
}
