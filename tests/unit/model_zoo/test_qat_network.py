"""A network trained by torch.ao's eager QAT: loaded from a checkpoint, written as a QDQ file."""

from __future__ import annotations

import copy
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import qat_networks
import torch
from onnx import numpy_helper

from int8gate.model_zoo.user_models import qat_network
from int8gate.runtimes import torch_program

HOOK = "qat_networks:{}".format


def written(tmp_path, engine: str, function: str):
    """The loaded module's copy before it is taken apart, and the QDQ file."""
    checkpoint = qat_networks.store(qat_networks.trained(engine), tmp_path / "qat.pt")
    module = qat_network.load(HOOK(function), checkpoint)
    target = tmp_path / "qdq.onnx"
    qat_network.to_qdq(module, qat_networks.SHAPE, target)
    return target


def exact(file, values: np.ndarray) -> np.ndarray:
    """What the pairs compute on floats, one sample at a time."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
    rows = values.transpose(0, 3, 1, 2)
    return np.concatenate([session.run(None, {"image": row[None]})[0] for row in rows])


@pytest.mark.parametrize(("engine", "function"), [("qnnpack", "prepared"), ("x86", "per_channel")])
def test_the_file_computes_what_the_trained_module_does_and_has_its_scales(
    tmp_path, engine, function
):
    file = written(tmp_path, engine, function)
    values, _ = qat_networks.pictures(40, seed=3)
    wanted = qat_networks.outputs(qat_networks.trained(engine), values)
    step = float(qat_networks.trained(engine).linear.activation_post_process.scale)
    assert np.abs(exact(file, values) - wanted).max() <= 1.01 * step  # a half may round otherwise
    graph = onnx.load(str(file)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = [
        np.sort(np.atleast_1d(stored[node.input[1]]))
        for node in graph.node
        if node.op_type == "QuantizeLinear"
    ]
    for name, (scale, _) in qat_networks.scales_of(qat_networks.trained(engine)).items():
        same = [each for each in found if each.shape == scale.shape]
        assert any(np.allclose(np.sort(scale), each, rtol=1e-6) for each in same), name


def test_a_module_of_seven_bits_keeps_its_clip(tmp_path):
    graph = onnx.load(str(written(tmp_path, "x86", "per_channel"))).graph
    assert sum(node.op_type == "Clip" for node in graph.node) == 8


def refused(call, *parts: str) -> None:
    with pytest.raises(ValueError, match=re.escape(parts[0])) as error:
        call()
    told = str(error.value)
    assert "\n" not in told
    for part in parts[1:]:
        assert part in told, told


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        ("unprepared", ("Small", "without fake quantization", "prepare_qat")),
        ("failing", ("RuntimeError: no weights here", "without arguments")),
        ("nothing", ("returned str", "torch.nn.Module")),
        ("absent", ("absent", "AttributeError")),
    ],
)
def test_a_function_that_gives_no_prepared_network_is_refused(tmp_path, function, parts):
    checkpoint = qat_networks.store(qat_networks.trained(), tmp_path / "qat.pt")
    refused(lambda: qat_network.load(HOOK(function), checkpoint), *parts)


def test_a_checkpoint_of_another_network_names_the_first_tensors(tmp_path):
    state = qat_networks.trained().state_dict()
    state["head.weight"] = state.pop("linear.weight")
    torch.save(state, tmp_path / "qat.pt")
    refused(
        lambda: qat_network.load(HOOK("prepared"), tmp_path / "qat.pt"),
        "qat.pt lacks linear.weight",
    )
    state["linear.weight"] = state["head.weight"]
    torch.save(state, tmp_path / "qat.pt")
    refused(lambda: qat_network.load(HOOK("prepared"), tmp_path / "qat.pt"), "also has head.weight")
    state = qat_networks.trained().state_dict()
    state["linear.weight"] = state["linear.weight"][:2]
    torch.save(state, tmp_path / "qat.pt")
    refused(lambda: qat_network.load(HOOK("prepared"), tmp_path / "qat.pt"), "linear.weight", "fit")


def test_a_checkpoint_that_holds_code_is_not_run(tmp_path):
    torch.save(qat_networks.unprepared(), tmp_path / "whole.pt")
    refused(lambda: qat_network.load(HOOK("prepared"), tmp_path / "whole.pt"), "tensors alone")
    (tmp_path / "no.pt").write_bytes(b"nothing of the kind")
    refused(lambda: qat_network.load(HOOK("prepared"), tmp_path / "no.pt"), "tensors alone")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    refused(lambda: qat_network.load(HOOK("prepared"), tmp_path / "list.pt"), "holds list")


def test_a_state_within_a_trainers_checkpoint_is_taken(tmp_path):
    state = qat_networks.trained().state_dict()
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "qat.pt")
    module = qat_network.load(HOOK("prepared"), tmp_path / "qat.pt")
    assert not module.training
    assert torch.equal(module.linear.weight, state["linear.weight"])


def test_observers_that_saw_nothing_are_named(tmp_path):
    checkpoint = qat_networks.store(qat_networks.prepared(), tmp_path / "untrained.pt")
    module = qat_network.load(HOOK("prepared"), checkpoint)
    refused(
        lambda: qat_network.to_qdq(module, qat_networks.SHAPE, tmp_path / "x.onnx"),
        "quant.activation_post_process",
        "have seen nothing",
    )


def test_a_network_that_is_switched_off_is_refused(tmp_path):
    off = copy.deepcopy(qat_networks.trained())
    off.apply(torch.ao.quantization.disable_fake_quant)
    module = qat_network.load(HOOK("prepared"), qat_networks.store(off, tmp_path / "off.pt"))
    refused(
        lambda: qat_network.to_qdq(module, qat_networks.SHAPE, tmp_path / "x.onnx"),
        "switched off",
    )


def test_an_input_of_another_size_is_refused(tmp_path):
    checkpoint = qat_networks.store(qat_networks.trained(), tmp_path / "qat.pt")
    module = qat_network.load(HOOK("prepared"), checkpoint)
    refused(
        lambda: qat_network.to_qdq(module, (1, 4, 16, 16), tmp_path / "x.onnx"),
        "(1, 4, 16, 16)",
        "mend size and channels",
    )


@pytest.mark.parametrize(
    "function", ["prepared_pt2e", pytest.param("normalized_pt2e", marks=pytest.mark.heavy)]
)
def test_a_program_of_pt2e_is_written_by_torchao(tmp_path, function):
    trained = qat_networks.trained_pt2e(getattr(qat_networks, function)())
    checkpoint = qat_networks.store(trained, tmp_path / "pt2e.pt")
    module = qat_network.load(HOOK(function), checkpoint)
    values, labels = qat_networks.pictures(60, seed=3)
    wanted = qat_networks.outputs(module, values)
    scales = [
        float(each.scale)
        for _, each in module.named_modules()
        if hasattr(each, "fake_quant_enabled") and each.scale.numel() == 1
    ]
    assert qat_network.output_shapes(module, qat_networks.SHAPE) == [(1, qat_networks.CLASSES)]
    qat_network.to_qdq(module, qat_networks.SHAPE, tmp_path / "qdq.onnx")
    assert np.mean(exact(tmp_path / "qdq.onnx", values).argmax(1) == wanted.argmax(1)) >= 0.98
    assert np.mean(wanted.argmax(1) == labels) > 0.8
    graph = onnx.load(str(tmp_path / "qdq.onnx")).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = {
        float(stored[node.input[1]]) for node in graph.node if node.op_type == "QuantizeLinear"
    }
    assert found
    assert all(np.isclose(scales, each, rtol=1e-6).any() for each in found)


def test_a_converted_network_is_refused(tmp_path, monkeypatch):
    torch.backends.quantized.engine = "qnnpack"
    converted = torch.ao.quantization.convert(copy.deepcopy(qat_networks.trained()))
    monkeypatch.setattr(qat_networks, "prepared", lambda: converted)
    refused(
        lambda: qat_network.load(HOOK("prepared"), tmp_path / "any.pt"),
        "was converted to integers",
    )


class Rounding(torch.nn.Module):
    def forward(self, image):
        return torch.fake_quantize_per_tensor_affine(image, 0.1, 0, 0, 255)


def test_a_program_that_rounds_is_refused(tmp_path):
    """As a prepared network of PyTorch 2.13 is saved; one of `convert_pt2e` is not even read."""
    program = torch.export.export(Rounding(), (torch.rand(qat_networks.SHAPE),))
    torch.export.save(program, str(tmp_path / "rounding.pt2"))
    told = "rounding.pt2 was quantized in PyTorch (it calls fake_quantize_per_tensor_affine)"
    refused(lambda: torch_program.read(tmp_path / "rounding.pt2"), told)
