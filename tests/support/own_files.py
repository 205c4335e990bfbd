"""A model in every kind of file that a team may have, each a tiny network on 16x16 pictures."""

from __future__ import annotations

from pathlib import Path

import frozen_graphs
import onnx_files
import tiny_models
from tiny_networks import classifier

KINDS = ("keras", "h5", "onnx", "pb", "pt2", "cfg")
CFG = """[net]
width=32
height=16
channels=3
[convolutional]
filters=18
size=1
stride=1
activation=linear
[yolo]
mask=0,1,2
anchors=1,2, 3,4, 5,6
classes=1
num=3
"""


def write_all(folder: Path) -> dict[str, Path]:
    """The files by kind."""
    network = classifier()
    files = {
        kind: folder / f"gadget.{kind}" for kind in ("keras", "h5", "onnx", "pb", "pt2", "cfg")
    }
    network.save(files["keras"])
    network.save(files["h5"])
    onnx_files.save(onnx_files.cnn(), files["onnx"])
    files["pb"].write_bytes(frozen_graphs.frozen("dynamic"))
    _save_program(files["pt2"])
    files["cfg"].write_text(CFG)
    _save_model(network, folder / "saved")
    tflite = tiny_models.write_all(folder)
    return files | {"saved_model": folder / "saved"} | {n: tflite[n] for n in ("fp32", "int8")}


def _save_model(network, folder: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.network = network
    image = tf.TensorSpec((None, 16, 16, 3), tf.float32, name="image")
    serve = tf.function(lambda image: {"scores": network(image)}, input_signature=[image])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def _save_program(path: Path) -> None:
    import torch

    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten()
    network = torch.nn.Sequential(*layers, torch.nn.Linear(4 * 7 * 7, 5)).eval()
    program = torch.export.export(network, (torch.zeros(1, 3, 16, 16),))
    torch.export.save(program, str(path))
