"""Small networks of arrays with their data: a keyword spotter, an autoencoder, one of two inputs, a
reader of texts.

Nothing is trained: features are random, what reads them is a least-squares fit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

SAMPLES, CLASSES, STEPS, FEATURES, FILTERS = 900, 4, 12, 8, 16
WORDS, COLUMNS, HIDDEN = 7, 12, 32
SYMBOLS = "abcd "  # of the reader, a blank behind them

TEAM_TASK = '''
"""Is a value above or below zero? A task of a team's own, with its metric."""
import numpy as np
from int8gate.tasks.registry import register
from int8gate.tasks.task import Task
from int8gate.validation.metrics.registry import Metric


def rows(outputs, labels):
    same = np.sign(outputs[:, 0]) == np.sign(labels[:, 0])
    return np.stack([same, np.ones(len(labels))], axis=1) * 1.0


def share(rows, weights=None):
    totals = rows.sum(axis=0) if weights is None else weights @ rows
    return totals[..., 0] / totals[..., 1]


def lost(rows):
    return np.ones_like(rows), np.ones_like(rows) * [0, 1]


SAME_SIGN = Metric("same_sign", rows, share, lambda labels: 0.5, lost)
register(
    Task(
        name="sign",
        order=50,
        metrics=("team_sign:SAME_SIGN",),
        arrays="values",
        decode="int8gate.model_zoo.user_models.decoding:rows",
    )
)
'''
TABLE = """
[models.{name}]
file = "{name}{suffix}"
task = "{task}"
data = "{name}.npz"
recipes = ["{recipe}"]
expect = {{ accuracy = "{accuracy}", size_ratio = 9, cpu_speedup_x86 = 0.01, npu_speedup = 1e-6 }}
"""


def write_spotter(folder: Path, name: str = "spotter") -> Path:
    """`name`.npz with ``mfcc`` (n, t, f), labels and speakers, `name`.onnx, `name`.keras."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, SAMPLES)
    spectra = rng.normal(size=(CLASSES, 1, FEATURES))
    mfcc = (spectra[labels] + rng.normal(size=(SAMPLES, STEPS, FEATURES))).astype(np.float32)
    speakers = np.arange(SAMPLES) // 5
    np.savez(folder / f"{name}.npz", mfcc=mfcc, labels=labels, sources=speakers)
    kernel = rng.normal(size=(3, FEATURES, FILTERS)).astype(np.float32) / 4
    windows = np.lib.stride_tricks.sliding_window_view(mfcc, 3, axis=1)  # (n, t-2, f, 3)
    hidden = np.maximum(np.einsum("ntfk,kfc->ntc", windows, kernel), 0).mean(axis=1)
    readout, bias = _fitted(hidden, np.eye(CLASSES)[labels])
    nodes = [
        helper.make_node("Transpose", ["mfcc"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["turned", "kernel"], ["filtered"]),
        helper.make_node("Relu", ["filtered"], ["active"]),
        helper.make_node("ReduceMean", ["active"], ["hidden"], axes=[2], keepdims=0),
        helper.make_node("Gemm", ["hidden", "readout", "bias"], ["scores"]),
    ]
    weights = {"kernel": kernel.transpose(2, 1, 0), "readout": readout, "bias": bias}
    given = [_end("mfcc", ("batch", STEPS, FEATURES))]
    _save(folder / f"{name}.onnx", nodes, weights, given, _end("scores", ("batch", CLASSES)))
    import keras

    taken = keras.Input((STEPS, FEATURES), name="mfcc")
    layer = keras.layers.Conv1D(FILTERS, 3, activation="relu", use_bias=False)
    dense = keras.layers.Dense(CLASSES)
    model = keras.Model(taken, dense(keras.layers.GlobalAveragePooling1D()(layer(taken))))
    layer.set_weights([kernel])
    dense.set_weights([readout, bias])
    model.save(folder / f"{name}.keras")
    return folder


def write_autoencoder(folder: Path, name: str = "autoencoder") -> Path:
    """Vectors (n, 12) that lie near a plane, but for one in five; its projection back."""
    rng = np.random.default_rng(1)
    plane = rng.normal(size=(4, COLUMNS))
    labels = (np.arange(SAMPLES) % 5 == 0).astype(int)
    values = rng.normal(size=(SAMPLES, 4)) @ plane + 0.3 * rng.normal(size=(SAMPLES, COLUMNS))
    values[labels == 1] += 1.2 * rng.normal(size=(labels.sum(), COLUMNS))
    values = values.astype(np.float32)
    np.savez(folder / f"{name}.npz", x=values, labels=labels)
    onto = np.linalg.qr(plane.T)[0].astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "down"], ["code"]),
        helper.make_node("MatMul", ["code", "up"], ["back"]),
    ]
    ends = _end("x", ("batch", COLUMNS)), _end("back", ("batch", COLUMNS))
    weights = {"down": onto, "up": np.ascontiguousarray(onto.T)}
    _save(folder / f"{name}.onnx", nodes, weights, [ends[0]], ends[1])
    return folder


def write_pair(folder: Path, name: str = "pair", stretch: float = 1.0) -> Path:
    """Two inputs, in an order that is not that of their names: values and the number of a word.

    The first of the values is `stretch` times as large, and the network divides it by that.
    """
    rng = np.random.default_rng(2)
    values = rng.normal(size=(SAMPLES, COLUMNS)).astype(np.float32)
    word = rng.integers(0, WORDS, (SAMPLES, 1)).astype(np.int32)
    target = values @ rng.normal(size=COLUMNS) + np.abs(values[:, 0]) + 0.5 * word[:, 0]
    target = (target + 0.5 * rng.normal(size=SAMPLES)).astype(np.float32)
    stretched = values * np.array([stretch] + [1] * (COLUMNS - 1), np.float32)
    np.savez(folder / f"{name}.npz", z_values=stretched, a_word=word, labels=target)
    table = rng.normal(size=(WORDS, 6)).astype(np.float32)
    layer = rng.normal(size=(COLUMNS, HIDDEN)).astype(np.float32) / 2
    joined = np.hstack([np.maximum(values @ layer, 0), table[word[:, 0]]])
    readout, bias = _fitted(joined, target[:, None])
    nodes = [
        helper.make_node("MatMul", ["z_values", "layer"], ["drawn"]),
        helper.make_node("Relu", ["drawn"], ["active"]),
        helper.make_node("Gather", ["table", "a_word"], ["looked_up"]),
        helper.make_node("Reshape", ["looked_up", "flat"], ["meaning"]),
        helper.make_node("Concat", ["active", "meaning"], ["joined"], axis=1),
        helper.make_node("Gemm", ["joined", "readout", "bias"], ["y"]),
    ]
    layer[0] /= stretch
    weights = {"layer": layer, "table": table, "readout": readout, "bias": bias}
    weights["flat"] = np.array([-1, 6], np.int64)
    given = [_end("z_values", (1, COLUMNS)), _end("a_word", (1, 1), TensorProto.INT32)]
    _save(folder / f"{name}.onnx", nodes, weights, given, _end("y", (1, 1)))
    return folder


def write_tokens(folder: Path, name: str = "tokens") -> Path:
    """`name`.keras, whose two inputs are called by the keys of a dictionary: words and values."""
    rng = np.random.default_rng(3)
    words = rng.integers(0, WORDS, (SAMPLES, 5)).astype(np.int32)
    values = rng.normal(size=(SAMPLES, 3, 4)).astype(np.float32)
    table = rng.normal(size=(WORDS, 6)).astype(np.float32)
    joined = np.hstack([values.reshape(SAMPLES, -1), table[words].reshape(SAMPLES, -1)])
    target = joined @ rng.normal(size=joined.shape[1]) + rng.normal(size=SAMPLES)
    labels = target.astype(np.float32)
    np.savez(folder / f"{name}.npz", z_values=values, a_words=words, labels=labels)
    readout, bias = _fitted(joined, labels[:, None])
    import keras

    taken = {
        "z_values": keras.Input((3, 4), name="z_values"),
        "a_words": keras.Input((5,), dtype="int32", name="a_words"),
    }
    embedding, dense = keras.layers.Embedding(WORDS, 6), keras.layers.Dense(1)
    flat = keras.layers.Flatten()(taken["z_values"])
    both = [flat, keras.layers.Flatten()(embedding(taken["a_words"]))]
    model = keras.Model(taken, dense(keras.layers.Concatenate()(both)))
    embedding.set_weights([table])
    dense.set_weights([readout, bias])
    model.save(folder / f"{name}.keras")
    return folder


def write_reader(folder: Path, name: str = "reader") -> Path:
    """`name`.onnx, from features (n, t, f) to CTC's logits (n, t, c), and `name`.npz with them and
    two words each: a symbol takes two steps, of which the second may be blank.
    """
    rng = np.random.default_rng(4)
    blank = len(SYMBOLS)
    texts, steps = [], np.full((SAMPLES, STEPS), blank)
    for row in steps:
        words = ["".join(rng.choice(list(SYMBOLS[:4]), rng.integers(1, 3))) for _ in "12"]
        texts.append(" ".join(words))
        for place, symbol in enumerate(texts[-1]):
            row[2 * place : 2 * place + 2] = SYMBOLS.index(symbol)
            if rng.random() < 0.5 or texts[-1][place + 1 : place + 2] == symbol:
                row[2 * place + 1] = blank
    spectra = rng.normal(size=(blank + 1, FEATURES))
    values = spectra[steps] + 0.45 * rng.normal(size=(SAMPLES, STEPS, FEATURES))
    values = values.astype(np.float32)
    np.savez(folder / f"{name}.npz", features=values, labels=texts)
    layer = rng.normal(size=(FEATURES, HIDDEN)).astype(np.float32) / 2
    hidden = np.maximum(values @ layer, 0).reshape(-1, HIDDEN)
    readout, bias = _fitted(hidden, np.eye(blank + 1)[steps.reshape(-1)])
    nodes = [
        helper.make_node("MatMul", ["features", "layer"], ["drawn"]),
        helper.make_node("Relu", ["drawn"], ["active"]),
        helper.make_node("MatMul", ["active", "readout"], ["read"]),
        helper.make_node("Add", ["read", "bias"], ["logits"]),
    ]
    weights = {"layer": layer, "readout": readout, "bias": bias}
    given = [_end("features", ("batch", STEPS, FEATURES))]
    end = _end("logits", ("batch", STEPS, blank + 1))
    _save(folder / f"{name}.onnx", nodes, weights, given, end)
    return folder


def _fitted(features: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (features, outputs) and biases (outputs,) of the least squares."""
    ones = np.ones((len(features), 1))
    found = np.linalg.lstsq(np.hstack([features, ones]), wanted, rcond=None)[0]
    return found[:-1].astype(np.float32), found[-1].astype(np.float32)


def _end(name: str, shape: tuple, kind: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def _save(path: Path, nodes: list, weights: dict, inputs: list, output) -> None:
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "network", inputs, [output], constants)
    opset = [helper.make_opsetid("", 13)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
