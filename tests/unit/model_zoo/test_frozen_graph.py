"""Frozen graphs with what converters stumble over, imported: the parts make the whole."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from data_folders import refused
from frozen_graphs import FOUR_INPUTS, TWO_PREDICATES, frozen, images

from int8gate.model_zoo.importers.tf1.importer import explain, import_frozen_graph
from int8gate.runtimes.tensorflow_graphs import HostGraph

WHOLE = ["dynamic", "training", "nested", "refined", "arrays", "nested_loops", "chosen_shape"]
WHOLE += ["upscaled"]
PREPARED = ["batch_mapped", "dimmed", "brightened", "detector", "unknown_size"]
FINISHED = ["suppressed", TWO_PREDICATES, FOUR_INPUTS, "detector", "selected", "unknown_size"]
FINISHED += ["checked"]
CONVERTED = sorted({*WHOLE, *PREPARED, *FINISHED})
CONTROL_FLOW = {"Enter", "Exit", "Switch", "Merge", "LoopCond", "NextIteration"}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Imports a graph once; its folder."""
    folders: dict[str, Path] = {}

    def importing(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            import_frozen_graph(written(folders[name], name), folders[name], images(name))
        return folders[name]

    return importing


def written(folder: Path, name: str) -> Path:
    path = folder / "graph.pb"
    path.write_bytes(frozen(name))
    return path


def report(folder: Path) -> dict:
    return json.loads((folder / "import.json").read_text())


def graph_def(path: Path):
    import tensorflow as tf

    return tf.compat.v1.GraphDef.FromString(path.read_bytes())


def operators(folder: Path) -> set[str]:
    """Of the network, functions included."""
    import tensorflow as tf

    graph = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"].graph
    functions = graph.as_graph_def().library.function
    return {n.op for n in graph.as_graph_def().node} | {n.op for f in functions for n in f.node_def}


def network(folder: Path):
    """The network in float: list of arrays in, list of arrays out."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / "saved_model"))
    serve = loaded.signatures["serving_default"]
    names = sorted(serve.structured_input_signature[1])

    def run(inputs: list[np.ndarray]) -> list[np.ndarray]:
        assert loaded is not None  # the signature does not keep its functions alive
        answered = serve(**{n: tf.constant(v) for n, v in zip(names, inputs, strict=True)})
        return [answered[name].numpy() for name in sorted(answered)]

    return run


def int8(folder: Path, name: str):
    """The network converted by the stock converter to integers alone."""
    import tensorflow as tf

    host = HostGraph(folder)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (host.before(i[None]) for i in images(name))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


def source_outputs(folder: Path, image: np.ndarray, fixed: dict) -> list[np.ndarray]:
    """What the graph in the file answers, before anything of ours."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(graph_def(folder / "graph.pb"), name="")
    with tf.compat.v1.Session(graph=graph) as session:
        feed = {report(folder)["inputs"][0]: image, **fixed}
        return session.run(report(folder)["outputs"], feed)


@pytest.mark.parametrize("name", CONVERTED)
def test_network_and_host_answer_what_the_file_answers(imported, name):
    folder = imported(name)
    host, run = HostGraph(folder), network(folder)
    fixed = {"is_training:0": False, "keep_prob:0": 1.0} if name == "training" else {}
    for image in images(name)[:, None]:
        expected = source_outputs(folder, image, fixed)
        whole = host.whole(image)
        joined = host.after(image, run(host.before(image)))
        for source, a, b in zip(expected, whole, joined, strict=True):
            np.testing.assert_allclose(a, source, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(b, source, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONVERTED)
def test_network_is_free_of_control_flow_and_static(imported, name):
    folder = imported(name)
    assert not operators(folder) & CONTROL_FLOW
    assert not {op for op in operators(folder) if op.startswith(("TensorArray", "Random"))}
    told = report(folder)
    for tensor in (*told["network_inputs"], *told["network_outputs"]):
        assert all(told["static_shapes"][tensor])


@pytest.mark.parametrize("name", CONVERTED)
def test_network_converts_to_int8(imported, name):
    from ai_edge_litert.interpreter import Interpreter

    folder = imported(name)
    interpreter = Interpreter(model_content=int8(folder, name))
    interpreter.allocate_tensors()
    assert {d["dtype"] for d in interpreter.get_tensor_details()} <= {np.int8, np.int32, np.float32}
    host, runner = HostGraph(folder), interpreter.get_signature_runner("serving_default")
    image = images(name)[-1:]
    prepared = dict(zip(sorted(runner.get_input_details()), host.before(image), strict=True))
    answered = runner(**prepared)
    exact = network(folder)(host.before(image))
    for output, expected in zip(sorted(answered), exact, strict=True):
        error = np.abs(answered[output] - expected).max() / np.abs(expected).max()
        assert error < 0.1, (output, error)
    host.after(image, [answered[output] for output in sorted(answered)])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("training", "tf.Placeholder"),
        ("arrays", "tf.TensorArrayV3"),
        ("batch_mapped", "tf.TensorArrayV3"),
        ("suppressed", "tf.TensorArrayV3"),
        (TWO_PREDICATES, "Failed to functionalize Control Flow V1 ops"),
        (FOUR_INPUTS, "Merge of two inputs that differ on more than one predicate"),
    ],
)
def test_whole_graph_does_not_convert_directly(imported, name, words):
    import tensorflow as tf

    told = report(imported(name))
    (image,), outputs = told["inputs"], told["outputs"]
    converter = tf.compat.v1.lite.TFLiteConverter.from_frozen_graph(
        str(imported(name) / "graph.pb"),
        [image.removesuffix(":0")],
        [output.removesuffix(":0") for output in outputs],
        input_shapes={image.removesuffix(":0"): [1, *images(name).shape[1:]]},
    )
    with pytest.raises(Exception, match=words):
        converter.convert()


@pytest.mark.parametrize("name", CONVERTED)
def test_parts_lie_where_control_flow_and_decoding_are(imported, name):
    folder, host = imported(name), HostGraph(imported(name))
    assert host.has_preprocessing == (name in PREPARED) == (folder / "preprocessing.pb").exists()
    assert host.has_postprocessing == (name in FINISHED) == (folder / "postprocessing.pb").exists()
    nodes = report(folder)["nodes"]
    assert (nodes["preprocessing"] > 0, nodes["postprocessing"] > 0) == (
        host.has_preprocessing,
        host.has_postprocessing,
    )


def test_detector_is_cut_before_its_boxes_are_decoded(imported):
    told = report(imported("detector"))
    assert told["static_shapes"][told["network_outputs"][0]] == [1, 64, 4]
    assert told["static_shapes"][told["network_outputs"][1]] == [1, 64, 3]
    assert not operators(imported("detector")) & {"Exp", "RealDiv", "Cast", "ResizeBilinear"}
    after = {n.op for n in graph_def(imported("detector") / "postprocessing.pb").node}
    assert "Exp" in after
    assert not after & {"Conv2D"}


def test_extracted_preprocessing_runs_alone(imported):
    import tensorflow as tf

    folder = imported("batch_mapped")
    told, image = report(folder), images("batch_mapped")[:1]
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(graph_def(folder / "preprocessing.pb"), name="")
    with tf.compat.v1.Session(graph=graph) as session:
        found = session.run(told["network_inputs"], {told["inputs"][0]: image})
    np.testing.assert_allclose(found[0], HostGraph(folder).before(image)[0])


def test_network_without_its_host_parts_is_the_identity_around(imported):
    host, image = HostGraph(imported("dynamic")), images("dynamic")[:1]
    assert np.array_equal(host.before(image)[0], image)
    assert np.array_equal(host.after(image, [image])[0], image)


def test_repairs_are_told(imported):
    told = " ".join(explain(report(imported("training"))))
    for words in ("is_training = False", "keep_prob = 1.0", "dropout", "constant conditions"):
        assert words in told
    assert "Unrolling the loop" in " ".join(explain(report(imported("refined"))))
    kept = " ".join(explain(report(imported("dimmed"))))
    assert "number of turns depends on image" in kept
    assert "Pre-processing ends at while/Exit:0: a loop" in kept
    assert "Fixed as seen" in " ".join(explain(report(imported("chosen_shape"))))
    assert "Exit_1:0" in " ".join(explain(report(imported("suppressed"))))


def test_checks_of_each_picture_do_not_stand_in_the_way(imported):
    told = report(imported("checked"))
    assert told["outputs"] == [f"{n}:0" for n in ("heatmaps", "offsets", "forward", "backward")] + [
        "candidates:0"
    ]
    assert told["network_inputs"] == told["inputs"]  # the loop over one picture is unrolled
    sentences = " ".join(explain(told))
    assert "taken back" not in sentences
    assert "not possible" not in sentences


def test_network_ends_before_five_axes_in_the_order_of_the_outputs(imported):
    told = report(imported("checked"))
    heads = ["Sigmoid:0", "BiasAdd_3:0", "BiasAdd_4:0", "BiasAdd_5:0"]
    assert told["network_outputs"] == heads  # and not the name of its first beside it


def test_rewriting_by_its_own_words(imported):
    sentences = explain(report(imported("checked"))) + explain(report(imported("dimmed")))
    for noise in ("most recent call last", "Detected at", "while_context", "Enter", "Merge"):
        assert noise not in " ".join(sentences)
    assert "Unrolling the loop while was not possible: its number of turns" in " ".join(sentences)
    assert "a loop (while)" in " ".join(sentences)


def test_graph_without_control_flow_stays_whole(imported):
    told = report(imported("upscaled"))
    assert told["cut"] == ["The network is the whole graph."]
    assert told["static_shapes"]["picture:0"] == [1, 32, 32, 3]
    assert "Shape" not in operators(imported("upscaled"))


@pytest.mark.parametrize("name", ["middle_loop", "middle_condition", "long_loop", "functional"])
def test_control_flow_between_layers_is_refused(tmp_path, name):
    message = refused(partial(import_frozen_graph, written(tmp_path, name), tmp_path, images(name)))
    assert "control flow between layers" in message
    assert "name the cut" in message


def test_refusal_says_why_a_loop_stayed(tmp_path):
    path = written(tmp_path, "long_loop")
    call = partial(import_frozen_graph, path, tmp_path, images("long_loop"))
    refused(call, "more than 64 turns")


def test_shape_that_changes_with_the_image_is_refused(tmp_path):
    path = written(tmp_path, "varying_shape")
    call = partial(import_frozen_graph, path, tmp_path, images("varying_shape"))
    refused(call, "the network reads Reshape/shape:0", "changes with the image")


def test_host_does_not_run_layers_for_their_shapes(imported):
    after = {n.op for n in graph_def(imported("unknown_size") / "postprocessing.pb").node}
    assert "Exp" in after
    assert not after & {"Conv2D", "MatMul", "Shape"}


def test_graph_without_a_layer_is_refused(tmp_path):
    path = written(tmp_path, "unlearned")
    assert "no convolution" in refused(
        partial(import_frozen_graph, path, tmp_path, images("unlearned"))
    )


def test_cut_may_be_named(tmp_path):
    path = written(tmp_path, "dynamic")
    cut = (("image:0",), ("MatMul:0",))
    told = import_frozen_graph(path, tmp_path, images("dynamic"), cut=cut)
    assert told["network_outputs"] == ["MatMul:0"]
    assert HostGraph(tmp_path).has_postprocessing


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        ((("image:0",), ("Relu:0",)), "layers Conv2D_1, MatMul are not between"),
        ((("Relu:0",), ("scores:0",)), "layers Conv2D are not between"),
        ((("nowhere:0",), ("scores:0",)), "no tensor nowhere:0"),
        ((("Reshape/shape:0",), ("scores:0",)), "no tensor Reshape/shape:0|is int32"),
    ],
)
def test_cut_that_does_not_separate_is_refused(tmp_path, cut, words):
    path = written(tmp_path, "dynamic")
    with pytest.raises(ValueError, match=words):
        import_frozen_graph(path, tmp_path, images("dynamic"), cut=cut)


def test_cut_through_control_flow_is_refused(tmp_path):
    cut = (("image:0",), ("BiasAdd_2:0",))
    with pytest.raises(ValueError, match=r"control flow .* is between"):
        import_frozen_graph(
            written(tmp_path, "middle_loop"), tmp_path, images("middle_loop"), cut=cut
        )
