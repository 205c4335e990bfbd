"""Hostile `.h5` files of Keras."""

from __future__ import annotations

import json
from pathlib import Path

import hostile_keras
import numpy as np

KIND, SUFFIX = "keras", ".h5"
sound = hostile_keras.sound


def _opened(change):
    def write(path: Path) -> None:
        import h5py

        sound(path)
        with h5py.File(path, "r+") as file:
            change(file, path)

    return write


def _configured(change):
    def changed(file, path: Path) -> None:
        config = json.loads(file.attrs["model_config"])
        change(config, path)
        file.attrs["model_config"] = json.dumps(config)

    return _opened(changed)


def _lambda(config: dict, path: Path) -> None:
    hostile_keras._lambda(config, path)


def _set(number: int, **options):
    return _configured(
        lambda config, path: config["config"]["layers"][number]["config"].update(options)
    )


def _attribute(value):
    return _opened(lambda file, path: file.attrs.__setitem__("model_config", value))


def _no_attribute(file, path: Path) -> None:
    del file.attrs["model_config"]


SPECIAL = {
    "lambda": _configured(_lambda),
    "class-of-os": _configured(
        lambda config, path: config["config"]["layers"][1].update(module="os", class_name="system")
    ),
    "function-of-os": _set(
        1, activation={"module": "os", "class_name": "function", "config": "system"}
    ),
    "units": _set(3, units=2**40),
    "filters": _set(1, filters=2**33),
    "input-shape": _set(0, batch_shape=[None, 2**20, 2**20, 3]),
    "elsewhere": _opened(hostile_keras.elsewhere),
    "linked": _opened(hostile_keras.linked),
    "virtual": _opened(hostile_keras.virtual),
    "claims": _opened(hostile_keras.claiming),
    "turns": _opened(hostile_keras.turning),
    "config-nested": _attribute("[" * 50_000 + "]" * 50_000),
    "config-number": _attribute(7),
    "config-numbers": _attribute(np.arange(1000)),
    "config-null": _attribute("null"),
    "config-missing": _opened(_no_attribute),
}
