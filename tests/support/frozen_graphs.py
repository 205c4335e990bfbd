"""Small TF1 frozen graphs, each with what converters stumble over in real ones.

`frozen(name)` is a serialized GraphDef, `images(name)` are inputs for it (n, ...). The names:

    dynamic        a placeholder of unknown shape, a Reshape to a shape that is computed
    training       dropout, a keep probability, an is_training condition, assertions, a summary,
                   a saver, StopGradient
    nested         conditions of constant predicates in one another
    refined        a loop of three turns with a convolution in it
    arrays         a loop of three turns over a TensorArray, then a convolution
    nested_loops   a loop of two turns, with a constant condition, in a loop of three
    batch_mapped   map_fn over the batch resizes the image (uint8, unknown size), then convolutions
    dimmed         a loop whose turns depend on the image above the convolutions
    brightened     a condition on the image's mean above the convolutions
    unknown_size   the same loop loses the image's shape: Reshape and decoding ask for it
    chosen_shape   a condition on the image above a Reshape, which chooses one shape either way
    checked        a loop over the pictures asserts, resizes under a condition and normalizes; four
                   heads, three of them reshaped to five axes; a loop over channels collects maxima
    upscaled       super-resolution: a placeholder of unknown size, a transposed convolution to a
                   computed shape, DepthToSpace
    suppressed     two heads, then a loop over a TensorArray that suppresses boxes
    two_predicates Merge of two inputs that differ in two predicates below the convolutions
    four_inputs    Merge of four inputs below the convolutions
    detector       preprocessing loop, two heads, box decoding, NonMaxSuppression, padding condition
    selected       convolution, softmax, TopK
    middle_loop    a loop whose turns depend on the image between two convolutions
    middle_condition  a condition on the image between two convolutions
    long_loop      a loop of a hundred turns between two convolutions
    functional     a condition of TF2's kind (If) between two convolutions
    varying_shape  a condition on the image chooses the shape between layers
    two_images     two image placeholders
    unlearned      no convolution
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np

SIZE = 16
TWO_PREDICATES, FOUR_INPUTS = "two_predicates", "four_inputs"


@cache
def frozen(name: str) -> bytes:
    """The graph `name`, serialized."""
    return graph_def(name).SerializeToString()


def graph_def(name: str):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    graph = tf.Graph()
    with _control_flow_v1(), graph.as_default():
        _GRAPHS[name](_Layers())
    return graph.as_graph_def()


def images(name: str, count: int = 8) -> np.ndarray:
    noise = np.random.default_rng(1).uniform(0, 1, (count, SIZE, SIZE, 3))
    bright = np.linspace(0.2, 1, count)[:, None, None, None]  # on both sides of conditions
    if name in {"batch_mapped", "detector"}:
        return (255 * noise * bright).astype(np.uint8)
    return (noise * bright).astype(np.float32)


@contextmanager
def _control_flow_v1() -> Iterator[None]:
    import tensorflow as tf

    enabled = tf.compat.v1.control_flow_v2_enabled()
    tf.compat.v1.disable_control_flow_v2()
    try:
        yield
    finally:
        restore = "enable" if enabled else "disable"
        getattr(tf.compat.v1, f"{restore}_control_flow_v2")()


class _Layers:
    """Layers of fixed random weights."""

    def __init__(self):
        self._rng = np.random.default_rng(0)

    def conv(self, x, channels: int = 8, stride: int = 1):
        import tensorflow as tf

        shape = (3, 3, x.shape[-1], channels)
        weights = tf.constant(self._rng.normal(0, 0.2, shape).astype(np.float32))
        bias = tf.constant(self._rng.normal(0, 0.1, channels).astype(np.float32))
        return tf.nn.bias_add(tf.nn.conv2d(x, weights, stride, "SAME"), bias)

    def normal(self, shape) -> np.ndarray:
        return self._rng.normal(0, 0.3, shape).astype(np.float32)

    def features(self, x, channels: int = 8):
        import tensorflow as tf

        return tf.nn.relu6(self.conv(tf.nn.relu(self.conv(x)), channels, 2))

    def dense(self, x, classes: int = 5):
        import tensorflow as tf

        shape = (x.shape[-1], classes)
        return tf.matmul(x, tf.constant(self._rng.normal(0, 0.3, shape).astype(np.float32)))

    def heads(self, x):
        """Box codes (1, 64, 4) and scores (1, 64, 3)."""
        import tensorflow as tf

        features = self.features(x)
        codes = tf.reshape(self.conv(features, 4), (1, -1, 4))
        scores = tf.sigmoid(tf.reshape(self.conv(features, 3), (1, -1, 3)))
        return codes, scores


def _image(shape=(1, SIZE, SIZE, 3), dtype: str = "float32", name: str = "image"):
    import tensorflow as tf

    return tf.compat.v1.placeholder(dtype, shape, name)


def _dynamic(layers: _Layers) -> None:
    import tensorflow as tf

    image = _image((None, None, None, 3))
    features = layers.features(image)
    size = tf.shape(features)
    rows = tf.reshape(features, [size[0], size[1] * size[2], 8])
    tf.nn.softmax(layers.dense(tf.reduce_mean(rows, 1)), name="scores")


def _training(layers: _Layers) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    image = _image((None, SIZE, SIZE, 3))
    training = _image((), "bool", "is_training")
    keep = v1.placeholder_with_default(np.float32(0.5), (), "keep_prob")
    with tf.control_dependencies([v1.Assert(tf.reduce_all(image < 1e3), [image])]):
        features = tf.stop_gradient(layers.features(tf.identity(image)))
    features = v1.cond(training, lambda: features * 2, lambda: features * 0.5)
    features = tf.debugging.check_numerics(features, "not finite")
    pooled = v1.nn.dropout(tf.reduce_mean(features, [1, 2]), keep_prob=keep)
    scores = tf.nn.softmax(layers.dense(pooled), name="scores")
    v1.summary.histogram("scores_histogram", scores)
    tf.raw_ops.SaveV2(
        prefix=tf.constant("model"), tensor_names=["w"], shape_and_slices=[""], tensors=[scores]
    )


def _nested(layers: _Layers) -> None:
    import tensorflow as tf

    cond, false = tf.compat.v1.cond, tf.constant(False)
    features = layers.features(_image())
    chosen = cond(
        false,
        lambda: tf.reverse(features, [1]),
        lambda: cond(tf.constant(3) > 2, lambda: features + 1.0, lambda: tf.cumsum(features)),
    )
    tf.nn.softmax(layers.dense(tf.reduce_mean(chosen, [1, 2])), name="scores")


def _refined(layers: _Layers) -> None:
    import tensorflow as tf

    start = layers.features(_image())
    _, refined = tf.compat.v1.while_loop(
        lambda i, x: i < 3, lambda i, x: (i + 1, tf.nn.relu(layers.conv(x)) + x), (0, start)
    )
    layers.conv(refined, 2)


def _arrays(layers: _Layers) -> None:
    import tensorflow as tf

    image = _image()
    array = tf.TensorArray(tf.float32, 3)
    _, array = tf.compat.v1.while_loop(
        lambda i, a: i < 3,
        lambda i, a: (i + 1, a.write(i, image * tf.cast(i + 1, tf.float32))),
        (0, array),
    )
    stacked = tf.reshape(tf.transpose(array.stack(), [1, 2, 3, 4, 0]), (1, SIZE, SIZE, 9))
    layers.features(stacked)


def _nested_loops(layers: _Layers) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1

    def inner(i, x):
        return i + 1, v1.cond(tf.equal(i, 0), lambda: layers.conv(x) + x, lambda: x * 0.5)

    def outer(i, x):
        return i + 1, v1.while_loop(lambda i, x: i < 2, inner, (0, x))[1]

    refined = v1.while_loop(lambda i, x: i < 3, outer, (0, layers.features(_image())))[1]
    layers.conv(refined, 2)


def _batch_mapped(layers: _Layers) -> None:
    import tensorflow as tf

    image = _image((None, None, None, 3), "uint8", "image_tensor")
    resized = _mapped(tf.cast(image, tf.float32))
    layers.features(resized * (2 / 255) - 1.0)


def _mapped(image):
    import tensorflow as tf

    resized = tf.map_fn(
        lambda x: tf.compat.v1.image.resize_bilinear(x[None], (SIZE, SIZE))[0], image
    )
    resized.set_shape((None, SIZE, SIZE, 3))
    return resized


def _brightened(layers: _Layers) -> None:
    import tensorflow as tf

    image = _image()
    dark = tf.reduce_mean(image) < 0.3
    layers.features(tf.compat.v1.cond(dark, lambda: image * 2.0, lambda: image - 0.1))


def _dimmed(layers: _Layers) -> None:
    import tensorflow as tf

    dimmed = tf.compat.v1.while_loop(
        lambda x: tf.reduce_max(x) > 0.5, lambda x: x * 0.75, [_image()]
    )
    layers.features(dimmed)


def _checked(layers: _Layers) -> None:
    import tensorflow as tf

    image = _image((None, None, None, 3))

    def prepare(picture):
        shape = tf.shape(picture)
        three = tf.Assert(tf.equal(shape[2], 3), ["expected 3 channels, found", shape])
        some = tf.Assert(tf.reduce_all(shape > 0), ["expected a picture, found", shape])
        with tf.control_dependencies([three, some]):
            fits = tf.reduce_all(tf.equal(shape[:2], (SIZE, SIZE)))
            scale = tf.constant(2.0)
        resized = tf.compat.v1.cond(
            fits,
            lambda: tf.identity(picture),
            lambda: tf.compat.v1.image.resize_bilinear(picture[None], (SIZE, SIZE))[0],
        )
        return resized * scale - 1.0

    prepared = tf.map_fn(prepare, image)
    prepared.set_shape((None, SIZE, SIZE, 3))
    features = layers.features(prepared)
    scores = tf.sigmoid(layers.conv(features, 4))
    tf.identity(scores, name="heatmaps")
    for name in ("offsets", "forward", "backward"):
        maps = layers.conv(features, 8)
        shape = tf.concat([tf.shape(maps)[:3], [2, 4]], 0)
        tf.transpose(tf.reshape(maps, shape), (0, 1, 2, 4, 3), name=name)
    array = tf.TensorArray(tf.float32, 4)

    def collect(i, found):
        best, place = tf.math.top_k(tf.reshape(scores[..., i], (tf.shape(scores)[0], -1)), 3)
        kind = tf.cast(tf.fill(tf.shape(place), i), tf.float32)
        return i + 1, found.write(i, tf.stack([best, tf.cast(place, tf.float32), kind], -1))

    _, array = tf.compat.v1.while_loop(lambda i, _: i < 4, collect, (0, array))
    tf.transpose(array.stack(), (1, 0, 2, 3), name="candidates")


def _upscaled(layers: _Layers) -> None:
    import tensorflow as tf

    image = _image((None, None, None, 3))
    features = layers.features(image)
    size = tf.shape(features)
    weights = tf.constant(layers.normal((3, 3, 12, 8)))
    shape = tf.stack([size[0], size[1] * 2, size[2] * 2, 12])
    widened = tf.nn.relu(tf.nn.conv2d_transpose(features, weights, shape, 2))
    tf.nn.depth_to_space(widened, 2, name="picture")


def _unknown_size(layers: _Layers) -> None:
    import tensorflow as tf

    dimmed = tf.compat.v1.while_loop(
        lambda x: tf.reduce_max(x) > 0.5,
        lambda x: x * 0.75,
        [_image((None, None, None, 3))],
        shape_invariants=[tf.TensorShape((None, None, None, 3))],
    )
    features = layers.features(dimmed)
    size = tf.shape(features)
    rows = tf.reshape(features, [size[0], size[1] * size[2], 8])
    codes = layers.dense(tf.reduce_mean(rows, 1))
    tf.identity(tf.exp(codes) * tf.cast(size[1] * size[2], tf.float32), name="sizes")


def _chosen_shape(layers: _Layers) -> None:
    _reshaped(layers, 64)


def _varying_shape(layers: _Layers) -> None:
    _reshaped(layers, 32)


def _reshaped(layers: _Layers, rows_when_dark: int) -> None:
    import tensorflow as tf

    image = _image()
    rows = tf.compat.v1.cond(
        tf.reduce_mean(image) < 0.3,
        lambda: tf.constant(rows_when_dark // 2) * 2,
        lambda: tf.constant(64),
    )
    features = tf.reshape(layers.features(image), [-1, rows, 8])
    tf.identity(layers.dense(tf.reduce_mean(features, 1))[:1], name="scores")


def _suppressed(layers: _Layers) -> None:
    import tensorflow as tf

    codes, scores = layers.heads(_image())
    best = tf.reduce_max(scores[0], 1)
    array = tf.TensorArray(tf.int32, 4)

    def turn(i, left, kept):
        place = tf.argmax(left, output_type=tf.int32)
        near = tf.reduce_sum(tf.abs(codes[0] - codes[0, place]), 1) < 0.1
        return i + 1, tf.where(near, tf.zeros_like(left), left), kept.write(i, place)

    _, _, array = tf.compat.v1.while_loop(
        lambda i, left, kept: (i < 4) & (tf.reduce_max(left) > 0.01), turn, (0, best, array)
    )
    tf.gather(codes[0], array.stack(), name="boxes")


def _two_predicates(layers: _Layers) -> None:
    """As optimizers of graphs leave them: the outcomes of two conditions in one Merge."""
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_ops as ops

    features = layers.features(_image())
    first, second = tf.reduce_mean(features) > 0.6, tf.reduce_max(features) > 1.0
    no, yes = ops.switch(features, first)
    both, _ = ops.switch(yes, second)
    neither, _ = ops.switch(no, second)
    one, _ = ops.merge([both * 2.0, neither * 3.0])
    _, other = ops.switch(features, second)
    merged, _ = ops.merge([one, other * 5.0])
    tf.identity(merged, name="result")


def _four_inputs(layers: _Layers) -> None:
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_ops as ops

    features = layers.features(_image())
    first, second = tf.reduce_mean(features) > 0.6, tf.reduce_max(features) > 1.0
    ends = []
    for branch in ops.switch(features, first):
        ends += ops.switch(branch, ops.switch(second, first)[len(ends) // 2])
    merged, _ = ops.merge([end * (i + 1.0) for i, end in enumerate(ends)])
    tf.identity(merged, name="result")


def _detector(layers: _Layers) -> None:
    import tensorflow as tf

    image = _image((None, None, None, 3), "uint8", "image_tensor")
    prepared = _mapped(tf.cast(image, tf.float32)) * (2 / 255) - 1.0
    codes, scores = layers.heads(prepared)
    anchors = np.random.default_rng(2).uniform(0.1, 0.9, (64, 4)).astype(np.float32)
    y, x, h, w = tf.unstack(tf.transpose(codes[0]))
    cy, cx = y / 10 * anchors[:, 2] + anchors[:, 0], x / 10 * anchors[:, 3] + anchors[:, 1]
    height, width = tf.exp(h / 5) * anchors[:, 2] / 2, tf.exp(w / 5) * anchors[:, 3] / 2
    boxes = tf.stack([cy - height, cx - width, cy + height, cx + width], 1)
    size = tf.cast(tf.shape(image)[1:3], tf.float32)

    def suppressed(of_one):
        boxes, best = of_one
        kept = tf.image.non_max_suppression(boxes, best, 10, 0.5, 0.4)
        count = tf.shape(kept)[0]
        kept = tf.compat.v1.cond(
            count < 10, lambda: tf.pad(kept, [[0, 10 - count]]), lambda: kept[:10]
        )
        scaled = tf.gather(boxes, kept) * tf.concat([size, size], 0)
        return scaled, tf.gather(best, kept), tf.cast(count, tf.float32)

    found = tf.map_fn(suppressed, (boxes[None], tf.reduce_max(scores, 2)), dtype=(tf.float32,) * 3)
    for tensor, name in zip(found, ("boxes", "scores", "count"), strict=True):
        tf.identity(tensor, name=name)


def _selected(layers: _Layers) -> None:
    import tensorflow as tf

    pooled = tf.reduce_mean(layers.features(_image()), [1, 2])
    tf.nn.top_k(tf.nn.softmax(layers.dense(pooled)), 2)


def _middle_loop(layers: _Layers) -> None:
    import tensorflow as tf

    halved = tf.compat.v1.while_loop(
        lambda x: tf.reduce_max(x) > 0.5, lambda x: x / 2, [layers.features(_image())]
    )
    layers.conv(halved, 2)


def _middle_condition(layers: _Layers) -> None:
    import tensorflow as tf

    features = layers.features(_image())
    chosen = tf.compat.v1.cond(
        tf.reduce_mean(features) > 0.5, lambda: features * 2, lambda: features + 1
    )
    layers.conv(chosen, 2)


def _long_loop(layers: _Layers) -> None:
    import tensorflow as tf

    _, faded = tf.compat.v1.while_loop(
        lambda i, x: i < 100, lambda i, x: (i + 1, x * 0.99), (0, layers.features(_image()))
    )
    layers.conv(faded, 2)


def _functional(layers: _Layers) -> None:
    import tensorflow as tf

    tf.compat.v1.enable_control_flow_v2()
    features = layers.features(_image())
    bright = tf.reduce_mean(features) > 0.5
    layers.conv(tf.cond(bright, lambda: features * 2, lambda: features + 1), 2)


def _two_images(layers: _Layers) -> None:
    layers.conv(_image(name="left") - _image(name="right"))


def _unlearned(layers: _Layers) -> None:
    import tensorflow as tf

    tf.nn.relu(_image(), name="result")


_GRAPHS: dict[str, Callable[[_Layers], None]] = {
    "dynamic": _dynamic,
    "training": _training,
    "nested": _nested,
    "refined": _refined,
    "arrays": _arrays,
    "nested_loops": _nested_loops,
    "batch_mapped": _batch_mapped,
    "dimmed": _dimmed,
    "brightened": _brightened,
    "unknown_size": _unknown_size,
    "chosen_shape": _chosen_shape,
    "checked": _checked,
    "upscaled": _upscaled,
    "suppressed": _suppressed,
    "two_predicates": _two_predicates,
    "four_inputs": _four_inputs,
    "detector": _detector,
    "selected": _selected,
    "middle_loop": _middle_loop,
    "middle_condition": _middle_condition,
    "long_loop": _long_loop,
    "functional": _functional,
    "varying_shape": _varying_shape,
    "two_images": _two_images,
    "unlearned": _unlearned,
}
