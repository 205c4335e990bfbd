"""The training loop: a network through the stages of its task.

Early stopping of the last stage watches scenes of the calibration split's pictures and digits;
nothing of the evaluation split is touched. Seeded; float sums across threads may still differ in
their last bits, so that a second training agrees in its metric, not byte for byte.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from int8gate.engine.plugins import resolve
from int8gate.model_zoo.networks import build, layers
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training import training_of
from int8gate.model_zoo.training.training_task import Stage, TrainingTask

SEED = 1
VALIDATION_SAMPLES = 1000
PATIENCE = 4
NORMALIZATION_MOMENTUM = 0.98  # Keras's 0.99 and MobileNet's 0.999 lag behind runs this short


@dataclass(frozen=True)
class Trained:
    """A trained `keras.Model`, how many epochs it took, and the wall time in seconds."""

    model: object
    epochs: int
    seconds: float


def train(spec: ModelSpec, epochs: int | None = None) -> Trained:
    """Trains the compact network of `spec` from its seed; `epochs` limits each stage (a trial)."""
    import keras

    started = time.monotonic()
    keras.utils.set_random_seed(SEED)
    task: TrainingTask = resolve(training_of(spec))
    network, epochs_done = None, 0
    for number, stage in enumerate(task.stages, start=1):
        stage = replace(stage, epochs=min(stage.epochs, epochs or stage.epochs))
        print(f"{spec.name}: stage {number} of {len(task.stages)}, {stage}", flush=True)
        trained, scaled = network, at_scale(spec, stage.scale)
        keras.utils.clear_session()  # weights are stored by layer names, which then count from 0
        network = build(scaled, "compact")
        if trained is not None:
            _carry_over(trained, network)
        epochs_done += _fit(network, scaled, task, stage, stop_early=number == len(task.stages))
    return Trained(network, epochs_done, time.monotonic() - started)


def facts(trained: Trained) -> dict:
    """What the manifest says of a training."""
    return {"seed": SEED, "epochs": trained.epochs, "seconds": round(trained.seconds)}


def at_scale(spec: ModelSpec, scale: float) -> ModelSpec:
    """The same declaration with a compact network of `scale` times its height and width."""
    network = spec.network("compact")
    size = tuple(round(side * scale) for side in network.size)
    fixed = tuple(new if old else old for old, new in zip(network.input_shape, size, strict=False))
    shape = (*fixed, network.input_shape[-1])
    return replace(spec, compact=replace(network, size=size, input_shape=shape))


def _carry_over(trained, network) -> None:
    """Sets the weights of a network from the same one trained at a smaller size, in place.

    Only a dense layer behind a Flatten has other weights at another size: each position's weights
    go to the positions that now stand in its place, in equal parts, which is average pooling.
    """
    flattened: Any = [_flattened_shape(model) for model in (trained, network)]
    carried = []
    for old, new in zip(trained.get_weights(), network.weights, strict=True):
        if old.shape != tuple(new.shape):
            (height, width, channels), (taller, wider, _) = flattened
            by_position = old.reshape(height, width, channels, -1)
            grown = by_position.repeat(taller // height, 0).repeat(wider // width, 1)
            old = grown.reshape(new.shape) * (height * width / (taller * wider))
        carried.append(old)
    network.set_weights(carried)


def _flattened_shape(model) -> tuple[int, ...] | None:
    import keras

    found = [layer for layer in layers(model) if isinstance(layer, keras.layers.Flatten)]
    if not found:
        return None
    tensor: Any = found[0].input  # one tensor, where it is annotated with lists of them, too
    return tuple(tensor.shape[1:])


def _fit(network, spec: ModelSpec, task: TrainingTask, stage: Stage, stop_early: bool) -> int:
    """Trains for one stage; returns the number of epochs."""
    import keras

    steps = stage.epochs * stage.samples // stage.batch
    rate = keras.optimizers.schedules.CosineDecay(
        stage.learning_rate / 20,
        decay_steps=steps - steps // 10,
        alpha=stage.final,
        warmup_target=stage.learning_rate,
        warmup_steps=steps // 10,
    )
    network.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-3),
        task.loss(spec),
        metrics=list(task.metrics),
        jit_compile=False,
    )
    for layer in layers(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = NORMALIZATION_MOMENTUM
    stop = keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True, verbose=1)
    watched = replace(stage, samples=min(VALIDATION_SAMPLES, stage.samples))
    history = network.fit(
        _batches(spec, task, "train", stage),
        validation_data=_batches(spec, task, "calibration", watched),
        epochs=stage.epochs,
        callbacks=[stop] if stop_early else [],
        verbose=1 if sys.stdout.isatty() else 2,
    )
    return len(history.history["loss"])


def _batches(spec: ModelSpec, task: TrainingTask, split: str, stage: Stage):
    """Shuffled batches for Keras; scenes are drawn once and kept as uint8."""
    import keras

    images, labels = task.draw(spec, split, stage)

    class Batches(keras.utils.PyDataset):
        def __init__(self):
            super().__init__()
            self.rng = np.random.default_rng(SEED)
            self.on_epoch_end()

        def __len__(self):
            return len(images) // stage.batch

        def __getitem__(self, position):
            chosen = self.order[position * stage.batch : (position + 1) * stage.batch]
            targets = task.encode(spec, labels[chosen]) if task.encode else labels[chosen]
            return spec.preprocessing.apply(images[chosen]), targets

        def on_epoch_end(self):
            self.order = self.rng.permutation(len(images))

    return Batches()
