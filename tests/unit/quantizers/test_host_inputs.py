"""What a network that is called step by step is calibrated on: calls of all its steps."""

from __future__ import annotations

from collections import Counter

import denoising_export as pipeline
import numpy as np
import pytest

from int8gate.quantizers import host_inputs
from int8gate.quantizers.host_inputs import network_inputs
from int8gate.runtimes.artifact import NETWORK_INPUTS, PROGRAM, SEVERAL
from int8gate.runtimes.torch_program import TorchProgramSession


def recorded(directory, prompts: int, guidance: float | None) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((prompts, *pipeline.LATENTS), np.float32)
    tokens = rng.integers(0, 9, (prompts, pipeline.TOKENS)).astype(np.int32)
    np.savez(directory / SEVERAL, input_0=noise, input_1=tokens)
    export = pipeline.write_export(directory, guidance)
    network_inputs(export, directory / SEVERAL, directory)
    with np.load(directory / NETWORK_INPUTS) as stored:
        return [stored[name] for name in stored.files]


@pytest.mark.parametrize("guidance", [None, 2.0])
@pytest.mark.parametrize("kept", [7, 24, 1000])
def test_every_step_is_there_as_often_as_every_other(tmp_path, monkeypatch, guidance, kept):
    monkeypatch.setattr(host_inputs, "KEPT_CALLS", kept)
    latents, time, context = recorded(tmp_path, prompts=12, guidance=guidance)
    every_call = 12 * len(pipeline.STEPS) * (1 if guidance is None else 2)
    assert len(latents) == len(time) == len(context)
    assert min(every_call, kept) <= len(latents) <= min(every_call, kept + 12)
    counts = Counter(map(tuple, time.tolist()))
    assert set(counts) == {step.time for step in pipeline.STEPS}
    assert max(counts.values()) - min(counts.values()) <= 2 * (1 if guidance is None else 2)


def test_all_calls_are_those_of_the_loop(tmp_path):
    latents, time, context = recorded(tmp_path, prompts=2, guidance=None)
    with np.load(tmp_path / SEVERAL) as samples:
        noise, tokens = samples["input_0"], samples["input_1"]
    behind = pipeline.by_hand(noise, tokens)
    for prompt in range(2):
        rows = slice(prompt * len(behind), (prompt + 1) * len(behind))
        wanted = [noise, *behind[:-1]]
        np.testing.assert_allclose(
            latents[rows], [each[prompt] for each in wanted], rtol=1e-5, atol=1e-6
        )
        assert [*map(tuple, time[rows].tolist())] == [step.time for step in pipeline.STEPS]
        assert (context[rows] == tokens[prompt]).all()


def test_the_empty_prompt_is_among_the_calls_where_there_is_guidance(tmp_path):
    _, _, context = recorded(tmp_path, prompts=4, guidance=2.0)
    is_blind = (context == np.array(pipeline.BLIND[0])).all(axis=1)
    assert is_blind.sum() == len(context) / 2


def test_a_slow_pipeline_is_run_for_fewer_prompts(tmp_path, monkeypatch):
    monkeypatch.setattr(host_inputs, "MOST_CALLS", 45)
    latents, *_ = recorded(tmp_path, prompts=30, guidance=None)
    assert len(latents) == 9 * len(pipeline.STEPS)
    monkeypatch.setattr(host_inputs, "MOST_CALLS", 1)
    latents, *_ = recorded(tmp_path, prompts=30, guidance=None)
    assert len(latents) == host_inputs.LEAST_PROMPTS * len(pipeline.STEPS)


def test_a_pytorch_network_computes_on_one_thread_and_leaves_the_number_of_others(tmp_path):
    """Threads that wait for each other on busy cores take 200 times as long."""
    import torch

    pipeline.write_export(tmp_path)
    session = TorchProgramSession(tmp_path / PROGRAM, trust=True)
    network, seen = session._module, []

    def watched(*tensors):
        seen.append(torch.get_num_threads())
        return network(*tensors)

    session._module = watched
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        session.predict(*(np.zeros((2, *spec.shape[1:]), np.float32) for spec in session.inputs))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1]
