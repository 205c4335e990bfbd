"""LLaMA and Mistral: the library's networks, their masks, repositories of their files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from data_folders import refused

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.model_zoo import torch_networks, weights
from int8gate.model_zoo.registry import model
from int8gate.model_zoo.spec import Network

torch = pytest.importorskip("torch")
MODELS = ("llama_3_2_3b", "mistral_7b")
WINDOW = 32  # of the compact Mistral


def tokens(length: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2, length), generator=generator, dtype=torch.int32)


@pytest.fixture(scope="module", params=MODELS)
def trained(request):
    spec = model(request.param)
    network = torch_networks.build(spec, "compact")
    torch_networks.load(network, weights.find_weights(spec, "compact").path)
    return spec, network


def test_logits_are_those_of_the_library(trained):
    from transformers import LlamaForCausalLM, MistralForCausalLM

    _, network = trained
    kind = {"llama": LlamaForCausalLM, "mistral": MistralForCausalLM}[
        network.model.config.model_type
    ]
    library = kind(network.model.config).eval()
    library.load_state_dict(network.state_dict())
    given = tokens(128)
    with torch.no_grad():
        torch.testing.assert_close(
            network(given), library(given.long()).logits, rtol=1e-5, atol=1e-5
        )


def test_a_token_is_seen_by_those_behind_it_alone(trained):
    _, network = trained
    given, place = tokens(128), 60
    changed = given.clone()
    changed[:, place] = (changed[:, place] + 7) % 256
    with torch.no_grad():
        differs = (network(given) != network(changed)).any(dim=-1).any(dim=0)
    assert not differs[:place].any()
    assert differs[place]
    assert differs[place + 1 :].any()


def test_mistrals_attention_ends_at_its_window():
    from int8gate.model_zoo.families.causal_lm import causal_mask

    network = torch_networks.build(model("mistral_7b"), "compact")
    assert torch.equal(network.mask, causal_mask(128, WINDOW))
    seen = causal_mask(128, WINDOW)[0, 0] == 0
    assert seen.sum(dim=1).tolist() == [min(row + 1, WINDOW) for row in range(128)]
    assert seen[50].nonzero().flatten().tolist() == list(range(50 - WINDOW + 1, 51))
    assert (causal_mask(128, None)[0, 0] == 0).sum() == 128 * 129 // 2


def test_compact_blocks_are_those_of_the_model(trained):
    spec, network = trained
    config = network.model.config
    assert config.num_key_value_heads < config.num_attention_heads, "grouped-query attention"
    assert config.hidden_act == "silu", "SwiGLU"
    assert network.is_tied == (spec.name == "llama_3_2_3b")
    assert 150_000 < sum(parameter.numel() for parameter in network.parameters()) < 300_000
    full = spec.full
    assert full.arguments["num_key_value_heads"] < full.arguments["num_attention_heads"]


@pytest.mark.parametrize(("name", "billions"), [("llama_3_2_3b", 3.213), ("mistral_7b", 7.242)])
def test_the_full_declaration_has_the_published_number_of_weights(name, billions):
    spec = model(name)
    with torch.device("meta"):
        network = torch_networks.build(spec, "full")
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e9 == pytest.approx(billions, abs=0.001)
    assert spec.full.inputs[0].shape == (512,)


@pytest.fixture
def repository(tmp_path) -> tuple[Path, object]:
    """A small checkpoint as the hub has large ones: bfloat16, in shards, with its config."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    network = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    network.save_pretrained(tmp_path / "llama_3_2_3b", max_shard_size="30KB")
    return tmp_path / "llama_3_2_3b", network


def small(spec):
    """The model with a full network that the small repository is one of."""
    full = Network(
        spec.full.builder,
        classes=257,
        input_shape=(None, None, 0),
        size=(0, 0),
        official=spec.full.official,
        inputs=(Input("tokens", (16,), "int32"),),
        tokenizer=spec.full.tokenizer,
    )
    return replace(spec, full=full)


def built(spec, folder: Path):
    return torch_networks.build(spec, "full", repository=folder)


def test_a_folder_of_a_repositorys_files_is_the_full_model(repository):
    folder, network = repository
    spec = small(model("llama_3_2_3b"))
    found = weights.find_weights(spec, "full", folder.parent)
    assert (found.kind, found.path) == ("directory", folder)
    assert len(list(folder.glob("*.safetensors"))) > 1
    given = tokens(16)
    with torch.no_grad():
        expected = network.float()(given.long()).logits
        torch.testing.assert_close(built(spec, folder)(given), expected, rtol=1e-5, atol=1e-5)


def changed(key: str, value):
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {key: value}))

    return change


def truncate(folder: Path) -> None:
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: sorted(folder.glob("*.safetensors"))[1].unlink(), ("not complete", "copy")),
        (truncate, ("cannot be read", "copy")),
        (changed("hidden_size", 48), ("other shapes", "config.json")),
        (changed("num_hidden_layers", 3), ("lacks the tensor model.layers.2", "9 in all")),
        (changed("num_hidden_layers", 1), ("beside those of its config.json", "model.layers.1")),
        (changed("vocab_size", 300), ("llama of 300 tokens", "llama of 257")),
        (changed("model_type", "mistral"), ("a mistral", "expected llama")),
    ],
    ids=["missing shard", "truncated", "width", "more layers", "fewer", "vocabulary", "type"],
)
def test_what_does_not_fit_is_refused(repository, spoil, words):
    folder, _ = repository
    spoil(folder)
    refused(lambda: built(small(model("llama_3_2_3b")), folder), str(folder), *words)


def gated(inputs, classes, weights):
    raise OSError("You are trying to access a gated repo.\nMake sure to have access to it at ...")


def absent(inputs, classes, weights):
    raise OSError("We couldn't connect to the hub")


@pytest.mark.parametrize(
    ("builder", "words"),
    [
        ("gated", ("licence", "HF_TOKEN", "DIR/llama_3_2_3b")),
        ("absent", ("connect", "--weights-dir")),
    ],
)
def test_official_weights_that_cannot_be_had(builder, words):
    spec = small(model("llama_3_2_3b"))
    spec = replace(spec, full=replace(spec.full, builder=f"{__name__}:{builder}"))
    refused(
        lambda: torch_networks.build(spec, "full", official=True),
        "llama_3_2_3b",
        "meta-llama/Llama-3.2-3B",
        *words,
        kind=RuntimeError,
    )


def test_a_folder_without_the_model_is_told_what_belongs_there(tmp_path):
    spec = model("mistral_7b")
    refused(
        lambda: weights.find_weights(spec, "full", tmp_path),
        "mistral_7b/config.json or mistral_7b.safetensors",
        kind=FileNotFoundError,
    )
