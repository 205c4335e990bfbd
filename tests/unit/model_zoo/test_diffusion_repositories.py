"""Folders of repositories of diffusers: the full models of them, and what is wrong with others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from data_folders import refused
from tiny_diffusion import NAMES, as_full, built, latents_of, save, small, tokens

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.calibration_data.synthetic.prompts import EMPTY, encoded
from int8gate.calibration_data.texts.tokenizers import of_pipeline, of_repository
from int8gate.model_zoo import torch_networks, weights
from int8gate.model_zoo.registry import model

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
STABLE, FLUX = NAMES


@pytest.fixture(scope="module", params=NAMES)
def saved(request, tmp_path_factory):
    """The name, the network, and the folder of its repository."""
    folder = tmp_path_factory.mktemp("repositories") / request.param
    network = built(request.param)
    save(network, folder)
    return request.param, network, folder


def full(name: str, folder: Path):
    return torch_networks.build(as_full(small(name)), "full", repository=folder)


def test_a_folder_is_the_full_model(saved):
    name, network, folder = saved
    found = weights.find_weights(model(name), "full", folder.parent)
    assert (found.kind, found.path) == ("directory", folder)
    loaded, latents = full(name, folder), latents_of(network)
    with torch.no_grad():
        contexts = network.text_part()(tokens("seven", "8"))
        for ours, theirs in zip(loaded.text_part()(tokens("seven", "8")), contexts, strict=True):
            torch.testing.assert_close(ours, theirs)
        times = network.time_features(torch.tensor([1.0, 900.0]))
        torch.testing.assert_close(
            loaded(latents, times, *contexts), network(latents, times, *contexts)
        )
        torch.testing.assert_close(loaded.picture_part()(latents), network.picture_part()(latents))


def test_each_text_encoder_reads_its_own_tokens(saved):
    name, network, folder = saved
    tokenizer = of_pipeline(folder)
    assert len(tokenizer.prompts) == (2 if name == FLUX else 1)
    first = encoded("a b", tokenizer, 8)
    assert first.tolist() == [0, *tokenizer.encode("a b").tolist(), 1, 2, 2, 2]
    assert encoded(EMPTY, tokenizer, 4).tolist() == [0, 1, 2, 2]
    if name == FLUX:
        second = encoded("a b", tokenizer, 8, place=1)
        assert second.tolist() == [*first[1:].tolist(), 2], "T5's has no mark at the beginning"
        one, other = torch.from_numpy(first)[None], torch.from_numpy(second)[None]
        with torch.no_grad():
            context, pooled = network.text_part()(one, other)
            torch.testing.assert_close(context, network.text_part()(other)[0])
            torch.testing.assert_close(pooled, network.text_part()(one)[1])
    refused(lambda: encoded("a b", tokenizer, 4), "'a b'", "5 tokens", "takes 4", "shorten")


def test_a_tokenizer_that_knows_no_padding(saved):
    _, _, folder = saved
    alone = of_repository(folder, "tokenizer")
    refused(lambda: encoded("a", alone, 8), "does not say how prompts are padded", "of_bytes")


def shards(folder: Path, part: str) -> list[Path]:
    return sorted((folder / part).glob("*.safetensors"))


def truncate(part: str):
    def change(folder: Path) -> None:
        shard = shards(folder, part)[-1]
        shard.write_bytes(shard.read_bytes()[:-100])

    return change


def configure(part: str, key: str, value):
    def change(folder: Path) -> None:
        config = json.loads((folder / part / "config.json").read_text())
        (folder / part / "config.json").write_text(json.dumps(config | {key: value}))

    return change


SPOILED = {
    "missing shard": (STABLE, lambda folder: shards(folder, "unet")[1].unlink(), "not complete"),
    "missing part": (STABLE, lambda folder: shards(folder, "vae")[0].unlink(), "not complete"),
    "truncated": (STABLE, truncate("unet"), "cannot be read"),
    "truncated text encoder": (FLUX, truncate("text_encoder_2"), "cannot be read"),
    "wider": (STABLE, configure("unet", "block_out_channels", [8, 24]), "other shapes"),
    "wider text encoder": (FLUX, configure("text_encoder", "intermediate_size", 64), "other shap"),
    "more blocks": (FLUX, configure("transformer", "num_layers", 2), "lacks the tensor"),
    "fewer blocks": (FLUX, configure("transformer", "num_single_layers", 0), "beside those of"),
    "other channels": (STABLE, configure("unet", "in_channels", 5), "other shapes"),
}


@pytest.mark.parametrize(("name", "spoil", "words"), SPOILED.values(), ids=SPOILED.keys())
def test_what_does_not_fit_is_refused(tmp_path, name, spoil, words):
    save(built(name), tmp_path)
    spoil(tmp_path)
    refused(lambda: full(name, tmp_path), str(tmp_path), words, "copy")


@pytest.mark.parametrize("name", [STABLE, FLUX])
def test_a_declaration_of_other_time_features_is_refused(name):
    spec = small(name)
    latents, _, *contexts = spec.compact.inputs
    inputs = (latents, Input("time", (20,), "float32"), *contexts)
    refused(
        lambda: torch_networks.build(
            replace(spec, compact=replace(spec.compact, inputs=inputs)), "compact"
        ),
        "the declared input time (n, 20) float32 has 20",
        "mend one of the two",
    )


def test_another_models_repository_is_refused(saved):
    name, _, folder = saved
    refused(
        lambda: torch_networks.build(model(name), "full", repository=folder),
        str(folder),
        "the declared input",
        "name the repository of the declared model",
    )


def test_a_folder_without_the_model_is_told_what_belongs_there(tmp_path):
    refused(
        lambda: weights.find_weights(model(FLUX), "full", tmp_path),
        "flux_1_schnell/model_index.json or flux_1_schnell.safetensors",
        kind=FileNotFoundError,
    )
    assert weights.find_weights(model(FLUX), "full").kind == "official"
