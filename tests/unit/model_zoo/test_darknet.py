"""Darknet's cfg and weights: the module computes what Darknet computes, and says what it cannot."""

from __future__ import annotations

import tempfile
from pathlib import Path

import darknet_reference as reference
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.model_zoo.importers.darknet.importer import (
    DarknetNetwork,
    import_darknet,
    write_darknet,
)

Sections = list[tuple[str, dict]]


def text_of(sections: Sections) -> str:
    lines = []
    for kind, options in sections:
        lines += [f"[{kind}]", *(f"{name} = {value}" for name, value in options.items()), ""]
    return "\n".join(lines)


def net(channels: int = 3, height: int = 8, width: int = 8) -> tuple[str, dict]:
    return "net", {"channels": channels, "height": height, "width": width}


def conv(filters: int, size: int = 1, **options) -> tuple[str, dict]:
    return "convolutional", {"filters": filters, "size": size, "pad": 1, **options}


def floats_of(network: DarknetNetwork, seed: int = 0) -> np.ndarray:
    """As many floats as the network takes, positive where they may be variances."""
    rng = np.random.default_rng(seed)
    parts = []
    for _, layer in network.weighted():
        for name, tensor in layer.in_file_order():
            values = rng.normal(0, 0.5, tensor.numel())
            parts.append(np.abs(values) + 0.1 if name == "rolling variance" else values)
    return np.concatenate(parts).astype(np.float32)


def write_pair(directory: Path, sections: Sections, floats=None, **header) -> tuple[Path, Path]:
    cfg, weights = directory / "net.cfg", directory / "net.weights"
    cfg.write_text(text_of(sections))
    floats = floats_of(DarknetNetwork(text_of(sections))) if floats is None else floats
    weights.write_bytes(reference.weights_file(floats, **header))
    return cfg, weights


def image_for(sections: Sections, seed: int = 1) -> np.ndarray:
    shape = [sections[0][1][name] for name in ("channels", "height", "width")]
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def run(network: DarknetNetwork, image: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        outputs = network(torch.from_numpy(image)[None])
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return [output[0].numpy() for output in outputs]


@st.composite
def networks(draw) -> Sections:
    """Small networks of every layer that has a reference, each fitting what it stands behind."""
    height, width = draw(st.integers(4, 9)), draw(st.integers(4, 9))
    sections = [net(draw(st.integers(1, 3)), height, width)]
    shapes = []  # of the layers so far
    shape = (sections[0][1]["channels"], height, width)
    for number in range(draw(st.integers(1, 6))):
        kinds = ["convolutional", "maxpool"]
        kinds += ["upsample"] if max(shape[1:]) <= 9 else []
        kinds += ["route", "shortcut"] if number else []
        kind = draw(st.sampled_from(kinds))
        channels, height, width = shape
        if kind == "convolutional":
            size, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
            groups = draw(st.sampled_from([g for g in (1, 2) if channels % g == 0]))
            options = {"filters": groups * draw(st.integers(1, 2)), "size": size, "stride": stride}
            options |= {"groups": groups, "pad": draw(st.integers(0, 1))}
            options |= {"batch_normalize": draw(st.integers(0, 1))}
            options["activation"] = draw(st.sampled_from(["linear", "leaky", "relu", "mish"]))
            padding = size // 2 * options["pad"]
            sides = [(side + 2 * padding - size) // stride + 1 for side in (height, width)]
            shape = (options["filters"], *sides)
        elif kind == "maxpool":
            options = {"size": draw(st.integers(1, 4)), "stride": draw(st.integers(1, 3))}
            sides = [(side - 1) // options["stride"] + 1 for side in (height, width)]
            shape = (channels, *sides)
        elif kind == "upsample":
            options = {"stride": draw(st.integers(1, 2))}
            shape = (channels, *(side * options["stride"] for side in (height, width)))
        elif kind == "route":
            first = draw(st.integers(0, number - 1))
            alike = [n for n in range(number) if shapes[n][1:] == shapes[first][1:]]
            taken = draw(st.lists(st.sampled_from(alike), min_size=1, max_size=3))
            groups = 2 if all(shapes[n][0] % 2 == 0 for n in taken) and draw(st.booleans()) else 1
            written = [n - number if draw(st.booleans()) else n for n in taken]
            options = {"layers": ",".join(map(str, written)), "groups": groups}
            options["group_id"] = draw(st.integers(0, groups - 1))
            shape = (sum(shapes[n][0] for n in taken) // groups, *shapes[first][1:])
        else:
            alike = [n for n in range(number) if shapes[n] == shapes[-1]]
            options = {"from": draw(st.sampled_from(alike)) - number}
            options["activation"] = draw(st.sampled_from(["linear", "leaky"]))
        sections.append((kind, options))
        shapes.append(shape)
        if min(shape) < 1:
            sections.pop()
            break
    if len(sections) == 1:
        sections.append(conv(2))
    return sections


@given(sections=networks(), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_modules_compute_what_plain_loops_compute(sections, seed):
    floats = np.concatenate([[], floats_of_any(sections, seed)])
    with tempfile.TemporaryDirectory() as directory:
        network = import_darknet(*write_pair(Path(directory), sections, floats))
    image = image_for(sections, seed)
    expected = reference.forward(sections, floats, image)[-1].transpose(1, 2, 0)
    if expected.shape[:2] == (1, 1):
        expected = expected[0, 0]
    (found,) = run(network, image)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def floats_of_any(sections: Sections, seed: int) -> np.ndarray:
    network = DarknetNetwork(text_of(sections))
    return floats_of(network, seed) if network.weighted() else np.zeros(0, np.float32)


@given(sections=networks(), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_written_pairs_come_back(sections, seed):
    torch.manual_seed(seed)
    network = DarknetNetwork(text_of(sections)).eval()
    with tempfile.TemporaryDirectory() as directory:
        cfg, weights = write_darknet(network, Path(directory) / "new", "other")
        assert (cfg.name, weights.name) == ("other.cfg", "other.weights")
        again = import_darknet(cfg, weights)
    assert again.text == network.text
    image = image_for(sections, seed)
    for ours, theirs in zip(run(network, image), run(again, image), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("version", [(0, 1, 0), (0, 2, 0), (0, 2, 5), (1, 0, 0)])
def test_headers_of_all_versions_are_read(tmp_path, version):
    sections = [net(), conv(4, 3, batch_normalize=1)]
    floats = floats_of(DarknetNetwork(text_of(sections)))
    network = import_darknet(*write_pair(tmp_path, sections, floats, version=version))
    expected = reference.forward(sections, floats, image_for(sections))[-1]
    np.testing.assert_allclose(
        run(network, image_for(sections))[0], expected.transpose(1, 2, 0), atol=1e-4
    )


@pytest.mark.parametrize("version", [(0, 2, 5), (1001, 0, 0)])
def test_connected_layers_are_matrices_transposed_in_old_files(tmp_path, version):
    sections = [net(2, 2, 3), ("connected", {"output": 4, "activation": "linear"})]
    sections.append(("softmax", {}))
    rng = np.random.default_rng(0)
    biases, matrix = rng.normal(size=4), rng.normal(size=(4, 12))
    stored = matrix.T if version[0] > 1000 else matrix
    floats = np.concatenate([biases, stored.ravel()])
    network = import_darknet(*write_pair(tmp_path, sections, floats, version=version))
    image = image_for(sections)
    expected = matrix @ image.ravel() + biases
    np.testing.assert_allclose(run(network, image)[0], expected, rtol=1e-4, atol=1e-5)


def test_a_normalized_connected_layer_has_its_statistics_behind_the_matrix(tmp_path):
    sections = [net(1, 1, 2), ("connected", {"output": 1, "batch_normalize": 1})]
    sections[1][1]["activation"] = "linear"
    bias, weights, scale, mean, variance = 0.5, [2.0, 3.0], 4.0, 1.0, 16.0
    floats = [bias, *weights, scale, mean, variance]
    network = import_darknet(*write_pair(tmp_path, sections, floats))
    found = run(network, np.array([[[1.0, 2.0]]], np.float32))[0]
    np.testing.assert_allclose(found, [(8 - 1) / 4 * 4 + 0.5], rtol=1e-5)


def test_a_classifier_gives_logits(tmp_path):
    sections = [net(), conv(5, 3, stride=2, activation="leaky"), ("maxpool", {"size": 2})]
    sections += [conv(7, activation="linear"), ("avgpool", {}), ("softmax", {"groups": 1})]
    floats = floats_of(DarknetNetwork(text_of(sections)))
    network = import_darknet(*write_pair(tmp_path, sections, floats))
    expected = reference.forward(sections, floats, image_for(sections))[-1].ravel()
    (found,) = run(network, image_for(sections))
    assert found.shape == (7,)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def detector() -> Sections:
    """Two heads, as YOLOv3-tiny has them."""
    yolo = {"anchors": "1,2, 3,4, 5,6", "num": 3, "classes": 2}
    return [
        *(net(), conv(4, 3, activation="leaky"), ("maxpool", {"size": 2, "stride": 2})),
        *(conv(4, 3, activation="leaky"), conv(7, activation="linear")),
        ("yolo", {"mask": "2", **yolo}),
        *(("route", {"layers": "-3"}), ("upsample", {}), ("route", {"layers": "-1, 0"})),
        conv(14, activation="linear"),
        ("yolo", {"mask": "0,1", "scale_x_y": 1.05, **yolo}),
    ]


def test_a_detector_gives_its_raw_maps_channels_last(tmp_path):
    sections = detector()
    floats = floats_of(DarknetNetwork(text_of(sections)))
    network = import_darknet(*write_pair(tmp_path, sections, floats))
    found = run(network, image_for(sections))
    assert [output.shape for output in found] == [(4, 4, 7), (8, 8, 14)]
    outputs = reference.forward(sections, floats, image_for(sections))
    for ours, number in zip(found, (4, 9), strict=True):
        np.testing.assert_allclose(ours, outputs[number].transpose(1, 2, 0), atol=1e-4)
    coarse, fine = network.heads
    assert coarse.anchors == ((5.0, 6.0),)
    assert fine.anchors == ((1.0, 2.0), (3.0, 4.0))
    assert (coarse.scale_x_y, fine.scale_x_y, fine.classes) == (1.0, 1.05, 2)


def test_a_well_known_network_takes_as_many_floats_as_its_file_holds():
    """yolov3-tiny.weights, published with its paper, has 35,434,956 bytes, 20 of them a header."""

    def leaky(filters, size):
        return conv(filters, size, stride=1, batch_normalize=1, activation="leaky")

    yolo = {"anchors": "10,14, 23,27, 37,58, 81,82, 135,169, 344,319", "num": 6, "classes": 80}
    sections = [net(3, 416, 416)]
    for filters in (16, 32, 64, 128, 256):
        sections += [leaky(filters, 3), ("maxpool", {"size": 2, "stride": 2})]
    sections += [leaky(512, 3), ("maxpool", {"size": 2, "stride": 1}), leaky(1024, 3)]
    sections += [leaky(256, 1), leaky(512, 3), conv(255, activation="linear")]
    sections += [("yolo", {"mask": "3,4,5", **yolo}), ("route", {"layers": -4}), leaky(128, 1)]
    sections += [("upsample", {"stride": 2}), ("route", {"layers": "-1,8"}), leaky(256, 3)]
    sections += [conv(255, activation="linear"), ("yolo", {"mask": "0,1,2", **yolo})]
    network = DarknetNetwork(text_of(sections))
    count = sum(t.numel() for _, layer in network.weighted() for _, t in layer.in_file_order())
    assert 4 * count + 20 == 35_434_956
    assert [network.shapes[head.number] for head in network.heads] == [(255, 13, 13), (255, 26, 26)]


def test_pooling_pads_below_and_right():
    network = DarknetNetwork(text_of([net(1, 2, 2), ("maxpool", {"size": 2, "stride": 1})]))
    (found,) = run(network.eval(), np.array([[[-4.0, -3.0], [-1.0, -2.0]]], np.float32))
    np.testing.assert_array_equal(found[..., 0], [[-1, -2], [-1, -2]])


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ([net(), ("lstm", {})], r"layer 0, \[lstm\] in line 6: .* not supported, only avgpool"),
        ([net(), conv(2, stride="two")], r"\[convolutional\] in line 6: stride=two is not a whole"),
        ([net(), conv(0)], "filters=0: expected 1 or more"),
        ([net(), conv(3, groups=2)], "groups=2 divides not both 3 channels and 3 filters"),
        ([net(), conv(3, xnor=1)], "xnor=1 is not supported"),
        ([net(), conv(3, activation="loggy")], "activation=loggy is not supported, only linear"),
        ([net(), conv(3, 9, pad=0)], r"nothing of \(3, 8, 8\) is left"),
        ([net(), conv(3), ("route", {"layers": 1})], r"reads layers \(1,\): expected .* 0 to 0"),
        ([net(), conv(3), ("route", {"layers": -2})], r"reads layers \(-1,\)"),
        ([net(), conv(3), ("route", {})], "option layers is missing"),
        ([net(), conv(3), ("route", {"layers": -1, "groups": 2})], "do not fit channels"),
        ([net(), conv(3), conv(2), ("shortcut", {"from": -2})], "outputs of different shapes"),
        ([net(), conv(3), conv(2, stride=2), ("route", {"layers": "0,1"})], "widths differ"),
        ([net(), conv(3), ("softmax", {}), conv(2)], r"reads layer 1, \[softmax\]"),
        ([net(), ("maxpool", {"size": 2, "padding": 5})], "padding=5 of size=2"),
        ([("net", {"channels": 3}), conv(3)], "must be given and positive"),
        ([conv(3)], r"expected one section \[net\]"),
        (
            [net(), conv(7), ("yolo", {"anchors": "1,2,3,4", "num": 2, "classes": 2})],
            "need 14 channels, the layer before has 7",
        ),
        (
            [net(), conv(7), ("yolo", {"anchors": "1,2", "num": 2, "mask": 1})],
            r"num=2 anchors and mask \(1,\) do not fit the 1 pairs",
        ),
    ],
)
def test_what_a_cfg_cannot_say_is_refused_in_a_sentence(tmp_path, sections, expected):
    cfg = tmp_path / "net.cfg"
    cfg.write_text(text_of(sections))
    with pytest.raises(ValueError, match=expected) as refusal:
        import_darknet(cfg)
    assert "\n" not in str(refusal.value)
    assert "net.cfg" in str(refusal.value)


def test_a_layer_behind_a_head_must_read_something_else(tmp_path):
    sections = [*detector()[:6], conv(4)]
    with pytest.raises(ValueError, match=r"reads layer 4, \[yolo\]"):
        DarknetNetwork(text_of(sections))


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00\x80", b"width=3\n[net]\n", b"[net]\nwidth"]
)
def test_files_that_are_no_cfg_are_refused(tmp_path, content):
    (tmp_path / "net.cfg").write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.cfg"):
        import_darknet(tmp_path / "net.cfg")


def test_comments_blanks_and_short_names_are_read():
    text = "; a network\n [ net ]\nwidth = 4 # columns\nheight=4\nchannels=1\n[conv]\nfilters=2\n"
    network = DarknetNetwork(text)
    assert network.shapes == [(2, 4, 4)]
    assert network.sections[0].line == 6


def test_a_misspelt_option_is_told():
    with pytest.warns(UserWarning, match=r"\[convolutional\] in line 6: not read: strid"):
        DarknetNetwork(text_of([net(), conv(3, strid=2)]))


SMALL = [net(), conv(2, 3, batch_normalize=1), conv(3, activation="linear")]
COUNT = (4 * 2 + 2 * 3 * 9) + (3 + 3 * 2)


def test_truncated_weights_name_the_layer_in_which_they_end(tmp_path):
    pair = write_pair(tmp_path, SMALL, np.ones(COUNT - 4))
    with pytest.raises(
        ValueError,
        match=rf"net\.weights holds {COUNT - 4} floats, its cfg takes {COUNT}: it ends in "
        r"net\.cfg: layer 1, \[convolutional\] in line 12, which needs 9 where 5 are left",
    ):
        import_darknet(*pair)


def test_surplus_weights_are_counted(tmp_path):
    pair = write_pair(tmp_path, SMALL, np.ones(COUNT + 6))
    with pytest.raises(ValueError, match=rf"holds {COUNT + 6} floats.*{COUNT}: 6 are left behind"):
        import_darknet(*pair)


@pytest.mark.parametrize(
    ("position", "value", "expected"),
    [
        (6, -1.0, r"rolling variance of net\.cfg: layer 0, .* are below zero"),
        (COUNT - 1, np.nan, r"weights of net\.cfg: layer 1, .* hold NaN or infinity"),
    ],
)
def test_values_of_no_network_are_refused(tmp_path, position, value, expected):
    floats = np.ones(COUNT)
    floats[position] = value
    with pytest.raises(ValueError, match=expected):
        import_darknet(*write_pair(tmp_path, SMALL, floats))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not even a header"),
        (b"[net]\nwidth=416\nheight=416\n", "not a Darknet weights file"),
        (reference.weights_file(np.ones(COUNT))[:-1], "no whole number of floats"),
    ],
)
def test_files_that_are_no_weights_are_refused(tmp_path, content, expected):
    cfg, weights = write_pair(tmp_path, SMALL)
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=expected):
        import_darknet(cfg, weights)
