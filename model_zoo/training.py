"""Trains a compact network: what `int8gate train NAME` runs before it measures and stores.

In stages: easy scenes first (on the hard ones alone a network stays at chance for many epochs),
then the hard ones, for classifiers at half the resolution before the full one. Early stopping of
the last stage watches scenes of the calibration split's pictures and digits; nothing of the
evaluation split is touched. Seeded; float sums across threads may still differ in their last bits,
so that a second training agrees in its metric, not byte for byte.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace

import numpy as np

from calibration_data.scenes import EASY_STYLES, TRAINING_STYLES, DigitScenes
from model_zoo.networks import build, layers
from model_zoo.spec import ModelSpec

SEED = 1
VALIDATION_SAMPLES = 1000
PATIENCE = 4
NORMALIZATION_MOMENTUM = 0.98  # Keras's 0.99 and MobileNet's 0.999 lag behind runs this short


@dataclass(frozen=True)
class Stage:
    """Some epochs over `samples` scenes at `scale` times the network's size.

    The learning rate warms up over a tenth of the stage, then falls by a cosine to `final` of it.
    """

    epochs: int
    samples: int
    easy: bool = False
    scale: float = 1.0
    learning_rate: float = 2e-3
    final: float = 0.3
    batch: int = 32


STAGES = {
    "classification": (
        Stage(epochs=10, samples=8000, easy=True, scale=0.5),
        Stage(epochs=14, samples=16000, scale=0.5, final=0.1),
        Stage(epochs=8, samples=8000, learning_rate=1e-3, final=0.0),
    ),
    "segmentation": (
        Stage(epochs=2, samples=4000, easy=True, batch=16),
        Stage(epochs=8, samples=8000, final=0.0, batch=16),
    ),
}
FROM_LOGITS = {"classification": False, "segmentation": True}  # keras.applications end in softmax


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
    stages = STAGES[spec.task]
    network, epochs_done = None, 0
    for number, stage in enumerate(stages, start=1):
        stage = replace(stage, epochs=min(stage.epochs, epochs or stage.epochs))
        print(f"{spec.name}: stage {number} of {len(stages)}, {stage}", flush=True)
        trained = network
        network = build(_at_scale(spec, stage.scale), "compact")
        if trained is not None:
            network.set_weights(trained.get_weights())
        epochs_done += _fit(network, spec, stage, stop_early=stage is stages[-1])
    return Trained(network, epochs_done, time.monotonic() - started)


def facts(trained: Trained) -> dict:
    """What the manifest says of a training."""
    return {"seed": SEED, "epochs": trained.epochs, "seconds": round(trained.seconds)}


def _fit(network, spec: ModelSpec, stage: Stage, stop_early: bool) -> int:
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
        keras.losses.SparseCategoricalCrossentropy(from_logits=FROM_LOGITS[spec.task]),
        metrics=["accuracy"],
        jit_compile=False,
    )
    for layer in layers(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = NORMALIZATION_MOMENTUM
    stop = keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True, verbose=1)
    history = network.fit(
        _batches(spec, "train", stage),
        validation_data=_batches(spec, "calibration", replace(stage, samples=VALIDATION_SAMPLES)),
        epochs=stage.epochs,
        callbacks=[stop] if stop_early else [],
        verbose=1 if sys.stdout.isatty() else 2,
    )
    return len(history.history["loss"])


def _at_scale(spec: ModelSpec, scale: float) -> ModelSpec:
    network = spec.compact
    size = tuple(round(side * scale) for side in network.size)
    fixed = tuple(new if old else old for old, new in zip(network.input_shape, size, strict=False))
    shape = (*fixed, network.input_shape[-1])
    return replace(spec, compact=replace(network, size=size, input_shape=shape))


def _batches(spec: ModelSpec, split: str, stage: Stage):
    """Shuffled batches for Keras; scenes are drawn once and kept as uint8."""
    import keras

    network = _at_scale(spec, stage.scale).compact
    hard = TRAINING_STYLES[spec.task] if split == "train" else None
    style = EASY_STYLES[spec.task] if stage.easy else hard
    scenes = DigitScenes(
        spec.task, split, network.size, network.input_shape[-1], stage.samples, style
    )
    images, labels = next(scenes.batches(stage.samples))

    class Batches(keras.utils.PyDataset):
        def __init__(self):
            super().__init__()
            self.rng = np.random.default_rng(SEED)
            self.on_epoch_end()

        def __len__(self):
            return len(images) // stage.batch

        def __getitem__(self, position):
            chosen = self.order[position * stage.batch : (position + 1) * stage.batch]
            return spec.preprocessing.apply(images[chosen]), labels[chosen]

        def on_epoch_end(self):
            self.order = self.rng.permutation(len(images))

    return Batches()
