"""The loop around a denoiser: steps, guidance, the parts before and behind it."""

from __future__ import annotations

import denoising_export as pipeline
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.runtimes.denoising_loop import DenoisingLoop, Plan, Step
from int8gate.runtimes.hosts import open_host

NUMBERS = st.floats(-1e4, 1e4, allow_nan=False)
TIMES = st.lists(NUMBERS, max_size=4).map(tuple)


@pytest.fixture(scope="module", params=[None, 0.0, 1.0, 2.5])
def loop(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("loop")
    return open_host(pipeline.write_loop(directory, request.param)), request.param


def drawn(count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((count, *pipeline.LATENTS), np.float32)
    return [noise, rng.integers(0, 9, (count, pipeline.TOKENS)).astype(np.int32)]


def test_every_step_is_that_of_plain_lines(loop):
    host, guidance = loop
    noise, tokens = drawn()
    rows = [host.before([each[i : i + 1] for each in (noise, tokens)]) for i in range(len(noise))]
    inputs = [np.concatenate(column) for column in zip(*rows, strict=True)]
    found = host.outputs(pipeline.denoise, inputs)
    wanted = pipeline.by_hand(noise, tokens, guidance)
    assert len(found) == len(host.output_names) == len(pipeline.STEPS)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_denoiser_is_called_as_often_as_the_loop_says(loop):
    host, guidance = loop
    calls = []

    def counted(*inputs):
        calls.append(tuple(inputs[1][0].tolist()))
        return pipeline.denoise(*inputs)

    host.outputs(counted, host.before([each[:1] for each in drawn()]))
    assert len(calls) == host.calls == len(pipeline.STEPS) * (1 if guidance is None else 2)
    assert list(dict.fromkeys(calls)) == [step.time for step in pipeline.STEPS]


def test_the_picture_is_that_of_the_last_latents(loop):
    host, _ = loop
    sample = [each[:1] for each in drawn()]
    behind = host.outputs(pipeline.denoise, host.before(sample))
    (picture,) = host.after(sample, behind)
    wanted = 1 / (1 + np.exp(-behind[-1].transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(picture, wanted, rtol=1e-5)


def test_guidance_of_one_is_the_prompt_alone_and_of_none_likewise(tmp_path):
    sample = [each[:1] for each in drawn()]
    found = []
    for name, guidance in (("without", None), ("one", 1.0)):
        directory = tmp_path / name
        directory.mkdir()
        host = DenoisingLoop(pipeline.write_loop(directory, guidance))
        found.append(host.outputs(pipeline.denoise, host.before(sample))[-1])
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-6)


@settings(max_examples=30)
@given(
    steps=st.lists(st.builds(Step, TIMES, NUMBERS, NUMBERS), min_size=1, max_size=60),
    guidance=st.none() | st.floats(0, 20),
    blind=st.lists(st.lists(st.integers(0, 50000), max_size=80).map(tuple), max_size=2),
)
def test_a_plan_is_read_as_it_was_written(tmp_path_factory, steps, guidance, blind):
    directory = tmp_path_factory.mktemp("plan")
    plan = Plan(tuple(steps), guidance, tuple(blind))
    plan.write(directory)
    assert Plan.read(directory) == plan
