"""The training loop of PyTorch networks: as `loop.py`, the stages of a `TrainingTask`.

A task's ``loss(spec)`` is called with the network's outputs and the targets (tensors, or tuples of
them) and gives a scalar. Early stopping of the last stage watches scenes of the calibration split;
nothing of the evaluation split is touched.
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace

import numpy as np

from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.torch_networks import build
from int8gate.model_zoo.training import training_of
from int8gate.model_zoo.training.loop import PATIENCE, SEED, VALIDATION_SAMPLES, Trained, at_scale
from int8gate.model_zoo.training.training_task import SeveralNetworks, Stage, TrainingTask

WEIGHT_DECAY = 1e-3
LARGEST_GRADIENT = 5.0  # norm


def train(spec: ModelSpec, epochs: int | None = None) -> Trained:
    """Trains the compact network of `spec` from its seed; `epochs` limits each stage (a trial)."""
    import torch

    started = time.monotonic()
    torch.manual_seed(SEED)
    task: TrainingTask | SeveralNetworks = resolve(training_of(spec))
    if isinstance(task, SeveralNetworks):
        network = build(spec, "compact")
        epochs_done = task.train(spec, network, epochs)
        return Trained(network.eval(), epochs_done, time.monotonic() - started)
    network, epochs_done = None, 0
    for number, stage in enumerate(task.stages, start=1):
        stage = replace(stage, epochs=min(stage.epochs, epochs or stage.epochs))
        print(f"{spec.name}: stage {number} of {len(task.stages)}, {stage}", flush=True)
        trained, scaled = network, at_scale(spec, stage.scale)
        network = build(scaled, "compact").to(memory_format=torch.channels_last)  # faster on CPUs
        if trained is not None:
            _carry_over(trained, network)
        elif task.start:
            task.start(spec, network)
        epochs_done += _fit(network, scaled, task, stage, stop_early=number == len(task.stages))
    assert network is not None  # a task has a stage
    return Trained(network.eval(), epochs_done, time.monotonic() - started)


def _carry_over(trained, network) -> None:
    """Sets the weights from the same network trained at a smaller size, in place.

    What another size changes (position embeddings) is up to the network: it offers
    ``carry_over(state: dict) -> dict`` where plain copying does not do.
    """
    state = trained.state_dict()
    if hasattr(network, "carry_over"):
        state = network.carry_over(state)
    network.load_state_dict(state)


def _fit(network, spec: ModelSpec, task: TrainingTask, stage: Stage, stop_early: bool) -> int:
    """Trains for one stage; returns the number of epochs."""
    import torch

    images, labels = task.draw(spec, "train", stage)
    watched = replace(stage, samples=min(VALIDATION_SAMPLES, stage.samples))
    held_out = task.draw(spec, "calibration", watched)
    loss_of = task.loss(spec)
    steps = stage.epochs * (len(images) // stage.batch)
    optimizer, schedule = optimization(network, stage, steps)
    rng = np.random.default_rng(SEED)
    best, best_state, waited = np.inf, None, 0
    for epoch in range(1, stage.epochs + 1):
        began, total = time.monotonic(), 0.0
        network.train()
        order = rng.permutation(len(images))[: len(images) // stage.batch * stage.batch]
        for chosen in order.reshape(-1, stage.batch):
            inputs, targets = _batch(spec, task, images[chosen], labels[chosen])
            loss = loss_of(network(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        found = _mean_loss(network, spec, task, loss_of, *held_out, stage.batch)
        print(
            f"epoch {epoch}/{stage.epochs}: loss {total * stage.batch / len(order):.4f}, "
            f"held out {found:.4f}, {time.monotonic() - began:.0f} s",
            flush=True,
        )
        if not stop_early:
            continue
        if found < best:
            best, best_state, waited = found, copy.deepcopy(network.state_dict()), 0
        elif (waited := waited + 1) >= PATIENCE:
            break
    if best_state is not None:
        network.load_state_dict(best_state)
    return epoch


def optimization(network, stage: Stage, steps: int) -> tuple:
    """AdamW for a network, and the schedule of its rate: a warm-up, then a cosine."""
    import torch

    optimizer = torch.optim.AdamW(_groups(network), lr=stage.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        stage.learning_rate,
        total_steps=steps + 1,
        pct_start=0.1,
        div_factor=20,
        final_div_factor=1 / (20 * max(stage.final, 1e-4)),
        cycle_momentum=False,
    )
    return optimizer, schedule


def _groups(network) -> list[dict]:
    """Weights decay; biases, normalization and embeddings of one axis do not."""
    decays = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    return [
        {"params": decays, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]


def _batch(spec: ModelSpec, task: TrainingTask, images: np.ndarray, labels: np.ndarray) -> tuple:
    import torch

    real = spec.preprocessing.apply(images)
    if not spec.network("compact").inputs:  # a picture
        real = real.transpose(0, 3, 1, 2)
    targets = task.encode(spec, labels) if task.encode else labels

    def as_tensor(array: np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(array))

    is_several = isinstance(targets, (tuple, list))
    return as_tensor(real), tuple(map(as_tensor, targets)) if is_several else as_tensor(targets)


def _mean_loss(network, spec, task, loss_of, images, labels, batch: int) -> float:
    import torch

    network.eval()
    losses = []
    with torch.no_grad():
        for start in range(0, len(images) - batch + 1, batch):
            chosen = slice(start, start + batch)
            inputs, targets = _batch(spec, task, images[chosen], labels[chosen])
            losses.append(float(loss_of(network(inputs), targets)))
    return float(np.mean(losses))
