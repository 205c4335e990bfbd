"""A PyTorch program exported in training mode: brought to inference exactly, or refused."""

from __future__ import annotations

import pytest
import torch
from data_folders import refused
from torch import nn

from int8gate.model_zoo.torch_networks import read_program
from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.model_zoo.user_models.inspection import inspect
from int8gate.model_zoo.user_models.resolve import resolve
from int8gate.model_zoo.user_models.training_program import for_inference
from int8gate.model_zoo.weights import Weights
from int8gate.quantizers.toolchains.onnx.from_torch import export_torch

PICTURE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Attention(nn.Module):
    def forward(self, x):
        rows = x.flatten(2)
        drop = 0.3 if self.training else 0.0
        return nn.functional.scaled_dot_product_attention(rows, rows, rows, dropout_p=drop)


LAYERS = {
    "batch_norm": lambda: nn.BatchNorm2d(4),
    "instance_norm": lambda: nn.InstanceNorm2d(4, track_running_stats=True),
    "dropout": lambda: nn.Dropout(0.5),
    "dropout2d": lambda: nn.Dropout2d(0.5),
    "alpha_dropout": lambda: nn.AlphaDropout(0.5),
    "rrelu": lambda: nn.RReLU(),
    "attention": Attention,
}


def network(*names: str) -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), *(LAYERS[name]() for name in names))
    for module in made.modules():
        if hasattr(module, "running_mean") and module.running_mean is not None:
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return made


def saved(model: nn.Module, path):
    torch.export.save(torch.export.export(model, (PICTURE,)), str(path))
    return path


@pytest.mark.parametrize("names", [*([name] for name in LAYERS), ["batch_norm", "dropout"]])
def test_it_computes_what_the_network_does_at_inference(names, tmp_path):
    model = network(*names)
    expected = model.eval()(PICTURE)
    module, repairs = read_program(saved(model.train(), tmp_path / "trained.pt2"), (PICTURE,))
    torch.testing.assert_close(module(PICTURE), expected)
    torch.testing.assert_close(module(PICTURE), expected)  # nothing counts, nothing draws
    assert "training mode" in repairs[0]
    assert "model.eval()" in repairs[0]


def test_a_network_at_inference_is_left_alone(tmp_path):
    model = network(*LAYERS).eval()
    own_statistics = nn.Sequential(model, nn.Flatten(1), nn.Unflatten(1, (4, 36, 1)))
    own_statistics.append(nn.BatchNorm2d(4, track_running_stats=False)).eval()
    path = saved(own_statistics, tmp_path / "plain.pt2")
    module, repairs = read_program(path, (PICTURE,))
    torch.testing.assert_close(module(PICTURE), own_statistics(PICTURE))
    assert repairs == []


@pytest.mark.parametrize("name", ["batch_norm", "dropout"])
def test_what_was_decomposed_in_training_is_refused(name, tmp_path):
    program = torch.export.export(network(name).train(), (PICTURE,)).run_decompositions()
    file = tmp_path / "decomposed.pt2"
    refused(lambda: for_inference(program, file), file.name, "training mode", "model.eval()")
    at_rest = torch.export.export(network(name).eval(), (PICTURE,)).run_decompositions()
    assert for_inference(at_rest, file) == []


def test_random_numbers_are_refused(tmp_path):
    class Depth(nn.Module):
        """Stochastic depth, as torchvision writes it."""

        def forward(self, x):
            return x * torch.empty(1).bernoulli_(0.5)

    path = saved(Depth(), tmp_path / "depth.pt2")
    refused(lambda: read_program(path, (PICTURE,)), path.name, "bernoulli", "model.eval()")


def test_the_report_says_what_was_done(tmp_path):
    path = saved(network("batch_norm").train(), tmp_path / "trained.pt2")
    own = OwnModel("trained", path, "models.toml", "other")
    spec = resolve(own, inspect(path, "pytorch"))
    told = export_torch(spec, "compact", Weights("own", path), 0, tmp_path)
    assert "1 batch_norm set to inference" in told["repairs"][0]
    exported = torch.export.load(str(tmp_path / "program.pt2")).module()
    torch.testing.assert_close(exported(PICTURE), network("batch_norm").eval()(PICTURE))
