"""The steps of importing a frozen graph: places of nodes, leftovers, proofs, sentences."""

from __future__ import annotations

import numpy as np
import pytest
from frozen_graphs import graph_def, images
from hypothesis import given
from hypothesis import strategies as st

from int8gate.model_zoo.importers.tf1 import control_flow, proof
from int8gate.model_zoo.importers.tf1.control_flow import (
    OUTSIDE,
    Places,
    loop_name,
    without_free_control_edges,
)
from int8gate.model_zoo.importers.tf1.graph_ends import find_ends
from int8gate.model_zoo.importers.tf1.graphs import (
    MOST_NAMES,
    Graph,
    cause,
    is_control,
    listed,
    refusal,
)
from int8gate.model_zoo.importers.tf1.leftovers import fold, without_leftovers
from int8gate.model_zoo.importers.tf1.proof import Proof, feeds, with_static_inputs
from int8gate.model_zoo.importers.tf1.simplify import TAKEN_BACK, Steps, simplify

BRANCHING = ["training", "nested", "checked", "batch_mapped", "detector", "suppressed", "dimmed"]


def leftover(build) -> tuple[Graph, tuple[str, ...]]:
    """What `build` adds to a new graph with an image: what is left of it, and its outputs."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        build(tf, tf.compat.v1.placeholder(tf.float32, (1, 4), "image"))
    ends, kept, _ = find_ends(graph.as_graph_def(), (), (), "graph.pb")
    return Graph(kept), ends.outputs


def static(name: str):
    """(Graph of fixed size, its ends, its inputs)."""
    ends, kept, _ = find_ends(graph_def(name), (), (), name)
    graph = Graph(with_static_inputs(Graph(kept), ends, images(name)))
    return graph, ends, feeds(graph, ends, images(name))


@pytest.mark.parametrize("name", BRANCHING)
def test_removing_control_edges_moves_no_node(name):
    graph = Graph(graph_def(name))
    before, after = Places(graph), Places(Graph(without_free_control_edges(graph)))
    assert {n: before[n] for n in graph.nodes} == {n: after[n] for n in graph.nodes}


@pytest.mark.parametrize("name", BRANCHING)
def test_dropping_leftovers_moves_no_node(name):
    graph = Graph(graph_def(name))
    kept = Graph(without_leftovers(graph.graph_def))
    before, after = Places(graph), Places(kept)
    assert {n: before[n] for n in kept.nodes} == {n: after[n] for n in kept.nodes}


@pytest.mark.parametrize("name", BRANCHING)
def test_folding_moves_no_node_out_of_its_loop(name):
    graph, ends, _ = static(name)
    folded = Graph(fold(graph, (*ends.inputs, *ends.outputs)))
    before, after = Places(graph), Places(folded)
    same = graph.nodes.keys() & folded.nodes.keys()
    assert {n: before[n].frame for n in same} == {n: after[n].frame for n in same}


def test_control_edges_outside_loops_and_branches_go():
    graph = Graph(graph_def("checked"))
    changed = Graph(without_free_control_edges(Graph(without_leftovers(graph.graph_def))))
    places = Places(changed)
    for node in changed.graph_def.node:
        if any(map(is_control, node.input)):
            assert places[node.name].frame != OUTSIDE
            assert not any("Assert" in edge for edge in node.input if is_control(edge))


def test_what_feeds_only_a_check_goes_with_it():
    def build(tf, image):
        scores = tf.matmul(image, tf.ones((4, 2)))
        count = tf.shape(image, name="measured")[0]
        tf.compat.v1.Assert(tf.reduce_max(scores) < 9, [tf.reduce_mean(scores), count, "too large"])
        tf.identity(scores, name="scores")

    graph, outputs = leftover(build)
    assert outputs == ("scores:0",)
    assert not {"measured", "Max", "Mean", "Assert"} & set(graph.nodes)


def test_output_that_a_check_and_a_summary_read_stays():
    def build(tf, image):
        for name in ("left", "right"):
            scores = tf.nn.softmax(tf.matmul(image, tf.ones((4, 2))), name=name)
            tf.compat.v1.summary.histogram(f"{name}_histogram", scores)
        tf.compat.v1.Assert(tf.reduce_all(scores < 2), [scores])

    assert leftover(build)[1] == ("left:0", "right:0")


def test_text_beside_values_is_no_output():
    def build(tf, image):
        tf.identity(tf.matmul(image, tf.ones((4, 2))), name="scores")
        tf.strings.as_string(image, name="told")

    assert leftover(build)[1] == ("scores:0",)


def test_condition_that_ends_inside_another_leaves_that_one():
    def both(*pairs):
        return control_flow.all_of(control_flow.literal(*pair) for pair in pairs)

    outer = control_flow.literal("outer", True)
    ends = [both(("outer", True), ("inner", outcome)) for outcome in (True, False)]
    assert control_flow.any_of(ends) == outer
    assert control_flow.any_of([outer, control_flow.literal("outer", False)]) == control_flow.ALWAYS


def test_step_that_changes_an_answer_is_taken_back():
    graph, ends, fed = static("dynamic")
    steps = Steps(graph, (*ends.inputs, *ends.outputs), Proof(graph, ends.outputs, fed))
    steps.take("Negating", _negated)
    assert steps.graph is graph
    assert steps.sentences == [f"Negating {TAKEN_BACK}: scores:0 would change."]


def test_step_whose_graph_does_not_run_is_told_without_tensorflows_words():
    graph, ends, fed = static("dynamic")
    steps = Steps(graph, (*ends.inputs, *ends.outputs), Proof(graph, ends.outputs, fed))
    steps.take("Breaking", _broken)
    (sentence,) = steps.sentences
    assert steps.graph is graph
    assert sentence.startswith(f"Breaking {TAKEN_BACK}: the rewritten graph does not run")
    assert "Conv2D" in sentence
    assert "expect" not in sentence.lower()


def test_only_the_step_that_fails_is_taken_back(monkeypatch):
    from int8gate.model_zoo.importers.tf1 import simplify as steps

    _, ends, _ = static("refined")
    kept = find_ends(graph_def("refined"), (), (), "refined")[1]
    whole = [len(simplify(kept, ends, images("refined"))[0].nodes)]
    monkeypatch.setattr(steps, "without_identities", lambda graph, kept: _negated(graph))
    graph, sentences = simplify(kept, ends, images("refined"))
    assert [s for s in sentences if TAKEN_BACK in s] == [
        f"Removing identities {TAKEN_BACK}: {ends.outputs[0]} would change."
    ]
    assert not any(node.op == "Enter" for node in graph.nodes.values())
    assert len(graph.nodes) >= whole[0]


def _negated(graph: Graph):
    """Another weight in the first convolution."""
    import tensorflow as tf

    changed = type(graph.graph_def)()
    changed.CopyFrom(graph.graph_def)
    weights = _weights(changed)
    value = tf.make_ndarray(weights.attr["value"].tensor)
    weights.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(-value))
    return changed


def _broken(graph: Graph):
    """The first convolution's weights for other channels, which shows when it runs."""
    import tensorflow as tf

    changed = type(graph.graph_def)()
    changed.CopyFrom(graph.graph_def)
    weights = _weights(changed)
    tensor = tf.make_tensor_proto(np.zeros((3, 3, 7, 8), np.float32))
    weights.attr["value"].tensor.CopyFrom(tensor)
    return changed


def _weights(changed):
    convolution = next(node for node in changed.node if node.op == "Conv2D")
    return next(node for node in changed.node if node.name == convolution.input[1])


VALUES = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20)


@given(VALUES, st.floats(2e-3, 1), st.floats(0, 1))
def test_difference_of_half_an_int8_step_is_never_rounding(values, part, rounding):
    expected = np.array([*values, 100], np.float32)
    found = expected.copy()
    found[0] += np.float32(part * 100)
    assert not proof.same(expected, found, rounding)


@given(VALUES, st.sampled_from([0.0, 1e-4, 1.0]))
def test_values_are_the_same_as_themselves(values, rounding):
    expected = np.array(values, np.float32)
    assert proof.same(expected, expected.copy(), rounding)
    assert not proof.same(expected, expected.astype(np.float64), rounding)
    assert not proof.same(expected, expected[None], rounding)


def test_proof_allows_what_the_runtime_itself_rounds():
    graph, ends, fed = static("dynamic")
    whole = Proof(graph, ends.outputs, fed)
    (name,) = ends.outputs
    assert whole.first_difference(0, {name: whole.expected[0][name]}) == ""
    assert whole.first_difference(0, {name: whole.expected[0][name] * 1.01}) == name


NAMES = st.lists(st.from_regex(r"[a-z]{1,4}(/[a-z]{1,4}){0,2}:[0-9]", fullmatch=True), min_size=1)


@given(NAMES)
def test_list_of_tensors_is_short_and_tells_both_ends(names):
    told = listed(names)
    if len(names) <= MOST_NAMES:
        assert told == ", ".join(names)
    else:
        assert told.startswith(f"{len(names)} tensors, ")
        assert told.count(":") == 2
        scope = told.partition(", in ")[2]
        first, last = told.partition(", in ")[0].split(", ", 1)[1].split(" to ")
        prefix = f"{scope}/" if scope else ""
        assert (prefix + first, prefix + last) == (names[0], names[-1])


def test_errors_are_told_without_traces():
    error = ValueError(
        "Graph execution error:\n\nDetected at node 'a/b' defined at (most recent call last):\n"
        "Node: 'a/b'\nInput is empty.\n\t [[{{node a/b}}]]\n"
    )
    assert refusal(error) == "the rewritten graph does not run (node a/b)"
    assert cause(error) == "node a/b: Input is empty."


@pytest.mark.parametrize(
    ("frame", "name"),
    [("map/while/while_context", "map/while"), ("while/", "while"), ("scan/loop", "scan/loop")],
)
def test_loops_go_by_the_name_of_their_scope(frame, name):
    assert loop_name(frame) == name
