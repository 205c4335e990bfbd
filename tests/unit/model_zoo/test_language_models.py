"""The zoo's language models on their text: perplexity, and texts that are not theirs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from int8gate.calibration_data.texts import windows
from int8gate.calibration_data.texts.tokenizers import of_bytes
from int8gate.engine.cache import ArtifactCache
from int8gate.engine.worker import Worker
from int8gate.model_zoo import torch_networks, weights
from int8gate.model_zoo.registry import model
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.settings import Settings
from int8gate.tasks.registry import scenes
from int8gate.tasks.task import Scenes
from int8gate.validation import measure
from int8gate.validation.case_run import CaseRun
from int8gate.validation.measure import Measurement
from int8gate.validation.metrics.registry import metric

torch = pytest.importorskip("torch")
FEW = 100  # windows of each corpus


def reference_perplexity(network, texts: list[bytes]) -> float:
    """As textbooks have it: token by token, from the probability of each byte."""
    nats, count = 0.0, 0
    for text in texts:
        given = torch.tensor([[256, *text[:-1]]], dtype=torch.int32)
        with torch.no_grad():
            logits = network(given)[0].double()
        for place, byte in enumerate(text):
            scores = logits[place].tolist()
            largest = max(scores)
            total = sum(math.exp(score - largest) for score in scores)
            nats -= scores[byte] - largest - math.log(total)
            count += 1
    return math.exp(nats / count)


@pytest.mark.parametrize("name", ["llama_3_2_3b", "mistral_7b"])
def test_perplexity_is_that_of_twenty_plain_lines(name):
    spec = model(name)
    network = torch_networks.build(spec, "compact")
    torch_networks.load(network, weights.find_weights(spec, "compact").path)
    found = windows.TextWindows("evaluation", 128, of_bytes())
    rows = np.arange(0, len(found), 400)
    arrays, labels = next(found.feeds(len(rows), rows))
    with torch.no_grad():
        logits = network(torch.from_numpy(arrays["tokens"])).numpy()
    judged = metric("perplexity")
    score = judged.score(judged.sample_statistics(logits, labels))
    texts = [bytes(row.astype(np.uint8)) for row in labels]
    assert score == pytest.approx(reference_perplexity(network, texts), abs=1e-6)
    assert 2 < score < 8


def _turned(text: str) -> np.ndarray:
    return np.random.default_rng(0).permutation(256)[of_bytes().encode(text)]


def draw_turned(split, given, tokenizer) -> windows.TextWindows:
    """Of another tokenizer: bytes numbered otherwise."""
    other = replace(tokenizer, encode=_turned, identity="turned")
    return windows.draw(split, given, other)


class Unshifted(windows.TextWindows):
    """Labels are the tokens that the network was given, not those that follow."""

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        tokens, _ = super().sample(index)
        return tokens, tokens.astype(np.int64)


def draw_unshifted(split, given, tokenizer) -> Unshifted:
    return Unshifted(split, given[0].shape[0], tokenizer, given[0].dtype)


@pytest.fixture(scope="module")
def judged(worker, tmp_path_factory):
    """What the accuracy gate says of the compact LLaMA's float case on a few windows.

    It writes no text of its own: that is measured by the steps of a smaller one.
    """
    spec, cache = model("llama_3_2_3b"), ArtifactCache(tmp_path_factory.mktemp("cache"))
    spec = replace(spec, compact=replace(spec.compact, steps=None))

    def measured(drawn_by: str | None = None) -> Measurement:
        changed = replace(spec, scenes="spoiled" if drawn_by else None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(windows.COUNT, "evaluation", {"prose": FEW, "code": FEW})
            patch.setitem(scenes(), "spoiled", Scenes(drawn_by or "", 257))
            pipeline = Pipeline(Settings(), cache, worker)
            return measure.accuracy(CaseRun(changed, RECIPES["onnx_fp32"], pipeline))

    return measured


def test_the_models_own_text_is_scored_on_both_corpora(judged):
    found = judged()
    assert "not significantly better" not in found.result.message
    assert f"one of {FEW} samples moves perplexity" in found.result.message, "they resolve no 1%"
    accuracy = found.fields["accuracy"]
    assert accuracy["groups"].keys() == {"prose", "code"}
    for part in accuracy["groups"].values():
        assert 2 < part["float"] < part["baseline"] / 4
        assert part["drop"] == 0
        assert part["samples"] == part["sources"] == FEW
    assert accuracy["to_float"]["same_next_token"]["value"] == 1
    assert accuracy["to_float"]["kl_divergence"]["value"] < 1e-6


@pytest.mark.parametrize("drawn_by", ["draw_turned", "draw_unshifted"])
def test_a_text_that_is_not_the_models_proves_nothing(judged, drawn_by):
    found = judged(f"{__name__}:{drawn_by}")
    assert found.result.status == "invalid", found.result.message
    assert "not significantly better than the frequency of each token" in found.result.message
    assert "on prose (invalid)" in found.result.message
    assert "on code (invalid)" in found.result.message


@pytest.mark.heavy
def test_the_full_profile_reads_a_repositorys_files(tmp_path):
    """A checkpoint as it is downloaded, small and untrained: its tokenizer makes the samples."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path / "llama_3_2_3b"
    names = ["<s>", *map(chr, range(32, 127)), "\n"]
    letters = {name: number for number, name in enumerate([*names, "<unk>"])}
    made = Tokenizer(models.WordLevel(letters, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>").save_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=len(letters), tie_word_embeddings=True, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    spec = model("llama_3_2_3b")
    inputs = (replace(spec.full.inputs[0], shape=(64,)),)
    full = replace(spec.full, classes=len(letters), inputs=inputs, arguments={})
    with pytest.MonkeyPatch.context() as patch, Worker() as worker:
        patch.setitem(windows.COUNT, "evaluation", {"prose": 40, "code": 40})
        settings = Settings(profile="full", weights_dir=tmp_path)
        pipeline = Pipeline(settings, ArtifactCache(tmp_path / "cache"), worker)
        run = CaseRun(replace(spec, full=full), RECIPES["onnx_weight_int8"], pipeline)
        found = measure.accuracy(run)
    assert found.result.status == "invalid", "it was never trained"
    for part in found.fields["accuracy"]["groups"].values():
        assert part["float"] > part["baseline"]
    assert found.fields["accuracy"]["to_float"].keys() == {
        "kl_divergence",
        "same_next_token",
        "greedy_tokens_alike",
    }
