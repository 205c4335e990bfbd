"""Conversions that fail, for the tests of the diagnosis: one for each entry of `diagnoses.toml`.

Each function bears the entry's name, takes a folder that does not exist yet, and runs in a worker,
as the stages of the pipeline do.
"""

from __future__ import annotations

import worker_tasks as tasks

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.tflite import convert as tflite
from int8gate.runtimes.artifact import PROGRAM, TFLITE

PICTURE = (1, 8, 8, 3)


# Networks as a SavedModel, through the stages of the TFLite toolchain


def convert(folder, network, shape=PICTURE, dtype="float32", sample=PICTURE, of="float32", fill=1):
    """Saves `network(tf, image)`, calibrates it on two such samples, quantizes it to INT8."""
    import numpy as np

    save(folder, network, shape, dtype)
    np.save(folder / "samples.npy", np.full((2, *sample[1:]), fill, of))
    quantize(folder, calibrate(folder))


def convert_with_its_own_calibrator(folder, network, sample=PICTURE, of="float32", fill=1):
    """The same to int16 activations, for which TensorFlow's converter runs the samples itself."""
    import numpy as np

    save(folder, network)
    np.save(folder / "samples.npy", np.full((2, *sample[1:]), fill, of))
    make(folder, "tflite_int16x8", samples=folder / "samples.npy")


def calibrate(folder):
    make(folder, "tflite_fp32")
    from int8gate.quantizers.calibration import thresholds
    from int8gate.quantizers.toolchains.tflite.collector import collect

    return thresholds.ranges(collect(folder / TFLITE, folder / "samples.npy"), "min_max")


def quantize(folder, ranges):
    arguments = (folder / TFLITE, RECIPES["tflite_int8"], ranges, (0.0, 255.0), folder)
    tflite.quantize(*arguments)


def make(folder, recipe, samples=None):
    tflite.convert(folder, RECIPES[recipe], samples, folder)


def save(folder, network, shape=PICTURE, dtype="float32"):
    import tensorflow as tf

    module = tf.Module()
    signature = [tf.TensorSpec(shape, dtype, name="image")]
    serve = tf.function(lambda image: {"output": network(tf, image)}, input_signature=signature)
    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def convolve(tf, image):
    return tf.nn.conv2d(image, tf.ones((3, 3, 3, 4), image.dtype), 1, "SAME", name="net/conv")


def strings(folder):
    convert(folder, lambda tf, image: tf.strings.as_string(image, name="head/name"))


def lookup_table(folder):
    import tensorflow as tf

    module = tf.Module()
    pairs = tf.lookup.KeyValueTensorInitializer([1, 2], [3, 4], tf.int32, tf.int32)
    module.table = tf.lookup.StaticHashTable(pairs, -1, name="classes")
    signature = [tf.TensorSpec(PICTURE, tf.int32)]
    module.serve = tf.function(
        lambda image: {"output": module.table.lookup(image)}, input_signature=signature
    )
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    make(folder, "tflite_fp32")


def number_type(folder, dtype="float64"):
    def network(tf, image):
        cast = tf.cast(image, dtype)
        return tf.exp(cast, name="net/exp") if dtype == "complex64" else convolve(tf, cast)

    convert(folder, network)


def python_function(folder):
    def network(tf, image):
        return tf.numpy_function(lambda array: array, [image], tf.float32, name="net/own")

    convert(folder, network)


def box_suppression(folder):
    def network(tf, boxes):
        return tf.image.combined_non_max_suppression(
            tf.reshape(boxes, (1, 48, 1, 4)), tf.ones((1, 48, 2)), 5, 5, name="post/nms"
        )[0]

    convert(folder, network)


def unknown_channels(folder):
    convert(folder, convolve, shape=(None, None, None, None))


def select_operator(folder):
    convert(folder, lambda tf, image: tf.linalg.det(image[..., 0], name="head/det"))


def custom_operator(folder):
    convert(folder, lambda tf, image: tf.math.betainc(image, image, image, name="head/beta"))


def no_int16_kernel(folder):
    import numpy as np

    save(folder, lambda tf, image: tf.cumsum(convolve(tf, image), axis=1))
    np.save(folder / "samples.npy", np.ones((2, *PICTURE[1:]), np.float32))
    make(folder, "tflite_int16x8", samples=folder / "samples.npy")


def select_at_run(folder):
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    save(folder, lambda tf, image: tf.linalg.det(image[..., 0]))
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS,
        tf.lite.OpsSet.SELECT_TF_OPS,
    ]
    Interpreter(model_content=converter.convert()).allocate_tensors()


def custom_at_run(folder):
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    save(folder, lambda tf, image: tf.math.betainc(image, image, image))
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    converter.allow_custom_ops = True
    Interpreter(model_content=converter.convert()).allocate_tensors()


def variable_not_frozen(folder):
    import keras
    import numpy as np
    import tensorflow as tf

    model = keras.Sequential([keras.Input(PICTURE[1:]), keras.layers.Conv2D(4, 3)])
    tf.saved_model.save(model, str(folder))
    np.save(folder / "samples.npy", np.ones((2, *PICTURE[1:]), np.float32))
    make(folder, "tflite_int16x8", samples=folder / "samples.npy")


def reshape(folder):
    def network(tf, image):
        return tf.reshape(convolve(tf, image), (1, 256))

    convert(folder, network, shape=(None, None, None, 3), sample=(1, 9, 9, 3))


def kernel(folder):
    convert_with_its_own_calibrator(folder, convolve, sample=(1, 8, 8, 1))


def sample_type(folder):
    convert_with_its_own_calibrator(folder, convolve, of="uint8")


def tensor_list(folder):
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.Input((None, 8)), keras.layers.GRU(4, name="gru")])
    tf.lite.TFLiteConverter.from_keras_model(model).convert()


def not_legalized(folder):
    def network(tf, image):
        rows = tf.raw_ops.TensorListFromTensor(tensor=image[0], element_shape=[8, 3])
        twice = {"input_a": rows, "input_b": rows, "element_dtype": tf.float32}
        both = tf.raw_ops.TensorListConcatLists(**twice, name="net/twice")
        return tf.raw_ops.TensorListLength(input_handle=both)

    convert(folder, network)


# PyTorch programs


def convert_program(folder, network):
    """Exports `network(torch, image)` and converts the program to TFLite."""
    import torch

    from int8gate.quantizers.toolchains.tflite import from_torch as torch_to_tflite

    class Module(torch.nn.Module):
        def forward(self, image):
            return network(torch, image)

    folder.mkdir()
    program = torch.export.export(Module(), (torch.zeros(1, 3, 8, 8),))
    torch.export.save(program, str(folder / PROGRAM))
    torch_to_tflite.to_tflite(folder, folder)


def torch_operator(folder):
    convert_program(folder, lambda torch, image: torch.linalg.det(image))


def torch_complex(folder):
    convert_program(folder, lambda torch, image: torch.fft.fft(image).real)


# TF1 graphs


def convert_graph(network, shape):
    import tensorflow as tf

    tf.compat.v1.disable_control_flow_v2()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        image = tf.compat.v1.placeholder(tf.float32, shape, "image")
        output = network(tf, image)
        tf.compat.v1.lite.TFLiteConverter.from_session(session, [image], [output]).convert()


def unknown_rank(folder):
    convert_graph(convolve, None)


def tensor_array(folder):
    def network(tf, image):
        return convolve(tf, tf.map_fn(lambda one: one * 2.0, image, name="crop"))

    convert_graph(network, PICTURE)


def merge(join):
    """Converts `join(switch, merge, image, first condition, second condition)`."""
    from tensorflow.python.ops import gen_control_flow_ops as flow

    def network(tf, image):
        conditions = tf.reduce_sum(image) > 0, tf.reduce_max(image) > 1
        joined = flow.merge(join(flow.switch, image, *conditions), name="clip/Merge")
        return joined.output * 2.0

    convert_graph(network, PICTURE)


def merge_of_many(folder):
    merge(lambda switch, image, p, q: [*switch(image, p), *switch(image, q)])


def merge_of_two_conditions(folder):
    def nested(switch, image, p, q):
        no, yes = switch(image, p)
        return [switch(yes, q)[1], switch(no, q)[0]]

    merge(nested)


def merge_without_condition(folder):
    merge(lambda switch, image, p, q: [switch(image, p)[1], switch(image, q)[1]])


# Files and processes


def not_a_model(folder):
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    make(folder, "tflite_fp32")


def no_saved_model(folder):
    make(folder, "tflite_fp32")


def out_of_memory(folder):
    tasks.kill(9)


def timeout(folder):
    tasks.hang(folder.with_suffix(".pid"))


def crash_with_words(folder):
    tasks.segfault_after_printf()


def crash(folder):
    tasks.exit_hard(3)
