"""Hostile `.h5` files of Keras 2: code, modules and functions that a configuration names."""

from __future__ import annotations

import json
from pathlib import Path

import hostile_keras
from hostile_archive import witness

KIND, SUFFIX = "keras", ".h5"
_KEPT: list[bytes] = []


def sound(path: Path) -> None:
    """16x16 pictures to 5 classes, written by Keras 2."""
    if not _KEPT:
        import tf_keras

        layers = tf_keras.layers
        network = tf_keras.Sequential(
            [
                layers.Input((16, 16, 3)),
                layers.DepthwiseConv2D(3, activation="relu", name="first"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(5, name="last"),
            ],
            name="tiny",
        )
        network.save(path)
        _KEPT.append(path.read_bytes())
    path.write_bytes(_KEPT[0])


def _opened(change):
    def write(path: Path) -> None:
        import h5py

        sound(path)
        with h5py.File(path, "r+") as file:
            change(file, path)

    return write


def _configured(change):
    def changed(file, path: Path) -> None:
        config = json.loads(file.attrs["model_config"])
        change(config["config"]["layers"], path)
        file.attrs["model_config"] = json.dumps(config)

    return _opened(changed)


def _layer(**values):
    """Instead of the first layer with weights; ``{witness}`` is the file that must not appear."""

    def change(layers: list, path: Path) -> None:
        text = json.dumps(values).replace("{witness}", str(witness(path)))
        layers[1] = {"config": {"name": "evil"}} | json.loads(text)

    return _configured(change)


def _options(number: int, **options):
    return _configured(lambda layers, path: layers[number]["config"].update(options))


def _lambda(layers: list, path: Path) -> None:
    import codecs
    import marshal

    code = compile(f"lambda x: __import__('os').system('touch {witness(path)}')", "x", "eval")
    packed = codecs.encode(marshal.dumps(code.co_consts[0]), "base64").decode()
    layers[1] = {
        "class_name": "Lambda",
        "config": {
            **{"name": "evil", "function": [packed, None, None], "function_type": "lambda"},
            **{"module": "os", "output_shape": None, "output_shape_type": "raw"},
            **{"output_shape_module": None, "arguments": {}},
        },
    }


def _calling(function: str, **arguments):
    """A functional network whose layer calls a function of TensorFlow by its name."""

    def change(file, path: Path) -> None:
        text = json.dumps(arguments).replace("{witness}", str(witness(path)))
        picture = {"name": "image", "batch_input_shape": [None, 16, 16, 3], "dtype": "float32"}
        evil = {"name": "evil", "trainable": True, "dtype": "float32", "function": function}
        layers = [
            {"class_name": "InputLayer", "config": picture, "name": "image", "inbound_nodes": []},
            {
                **{"class_name": "TFOpLambda", "config": evil, "name": "evil"},
                "inbound_nodes": [["image", 0, 0, json.loads(text)]],
            },
        ]
        ends = {"input_layers": [["image", 0, 0]], "output_layers": [["evil", 0, 0]]}
        config = {"name": "tiny", "trainable": True, "layers": layers} | ends
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})

    return _opened(change)


COMMAND = {"name": "evil", "command": "touch {witness}"}
NAMED = {"module": "os", "class_name": "function", "config": "system", "registered_name": None}
SPECIAL = {
    "lambda": _configured(_lambda),
    "class-of-os": _layer(module="os", class_name="system", config=COMMAND, registered_name=None),
    "class-of-builtins": _layer(module="builtins", class_name="exec", registered_name=None),
    "class-of-keras": _layer(
        module="keras.utils", class_name="get_file", registered_name=None, config=COMMAND
    ),
    "class-without-a-name": _layer(class_name=None),
    "class-unknown": _layer(class_name="Mine"),
    "function-of-os": _options(1, activation=NAMED),
    "function-of-keras": _options(
        1, activation=NAMED | {"module": "keras.utils", "config": "get_file"}
    ),
    "initializer-of-os": _options(
        1, depthwise_initializer={"module": "os", "class_name": "system", "config": {}}
    ),
    "calls-a-writer": _calling("io.write_file", contents="x"),
    "calls-a-copier": _calling("io.gfile.makedirs", path="{witness}"),
    "calls-python": _calling("py_function", func="os.system", Tout="float32"),
    "calls-a-method": _layer(class_name="ClassMethod", config={"cls_symbol": "io.gfile.GFile"}),
    "vocabulary-elsewhere": _layer(
        class_name="StringLookup", config={"vocabulary": "/etc/passwd", "name": "evil"}
    ),
    "units": _options(3, units=2**40),
    "units-eight-gigabytes": _options(3, units=2**29),
    "input-shape": _options(0, batch_input_shape=[None, 2**20, 2**20, 3]),
    "elsewhere": _opened(hostile_keras.elsewhere),
    "linked": _opened(hostile_keras.linked),
    "config-nested": _opened(
        lambda file, path: file.attrs.__setitem__("model_config", "[" * 50_000 + "]" * 50_000)
    ),
}
