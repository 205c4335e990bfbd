"""`int8gate init` on every model of the zoo, as the files that its users would bring.

Ids are numbers of the models in the zoo's order, so that `-k NAME` finds the gates alone.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import zoo_files

from int8gate.cli.init import begin
from int8gate.model_zoo.registry import zoo
from int8gate.model_zoo.user_models.inspection import inspect
from int8gate.model_zoo.user_models.resolve import resolve
from int8gate.model_zoo.user_models.toml_file import read_zoo

FEW_SECONDS = {  # the others take minutes together
    *("07-shipped", "10-h5", "10-keras", "10-saved_model", "12-pb", "13-cfg", "16-onnx", "17-pb"),
    *("19-pb", "20-pt2"),
}
# Whose file takes pictures of any size, and whose takes bytes: graphs of TensorFlow 1.
ANY_SIZE = {("detection", "pb"), ("pose", "pb"), ("detection", "onnx")}


def cases(profile: str):
    """Every model in every kind of file that is cheap; of the full profile the source alone."""
    for number, spec in enumerate(zoo().values()):
        kinds = zoo_files.KINDS[spec.source_format]
        for kind in kinds if profile == "compact" else kinds[:1]:
            if (profile, kind) == ("full", "shipped"):
                continue
            label = f"{number:02d}-{kind}"
            quick = profile == "compact" and label in FEW_SECONDS
            marks = () if quick else pytest.mark.heavy
            yield pytest.param(spec, kind, profile, id=f"{label}-{profile}", marks=marks)


@pytest.mark.parametrize(("spec", "kind", "profile"), [*cases("compact"), *cases("full")])
def test_init_reads_what_the_declaration_says(spec, kind, profile, worker, tmp_path):
    folder, output = tmp_path / "files", tmp_path / "models.toml"
    written = (zoo_files.write, spec.name, kind, profile, folder)
    file = worker.run(*written, timeout_s=500).value
    text = begin(file, output, worker)
    output.write_text(output.read_text().replace('decode = ""', f'decode = "{spec.decode}"'))
    inputs = spec.network(profile).inputs
    if inputs:
        rows = {each.name: np.zeros((2, *each.shape), each.dtype) for each in inputs}
        np.savez(tmp_path / "samples.npz", **rows, labels=np.zeros((2, *inputs[0].shape), int))
    (own,) = read_zoo(output)
    found = worker.run(inspect, own.file, own.format, timeout_s=100).value
    resolved = resolve(own, found).compact
    shutil.rmtree(folder)

    assert own.task == spec.task
    assert own.recipes == (("prequantized",) if kind == "shipped" else own.recipes)
    if inputs:
        check_arrays(spec, profile, found, own, resolved)
    else:
        check_picture(spec, kind, profile, found, own, resolved)
        assert found.picture[0] in text


def check_arrays(spec, profile, found, own, resolved):
    """Inputs by name, shape and dtype, batch first, as the network of the zoo takes them."""
    network = spec.network(profile)
    taken = [(end.name, end.shape[1:], end.dtype) for end in found.inputs]
    assert taken == [(each.name, each.shape, each.dtype) for each in network.inputs]
    assert found.outputs[0].shape[-1] == network.classes
    assert own.takes_arrays
    assert resolved.inputs == network.inputs


def check_picture(spec, kind, profile, found, own, resolved):
    """Layout, sides, channels, dtype and range of the picture, as the declaration has them."""
    network = spec.network(profile)
    *sides, channels = network.input_shape
    is_converted = kind == "tflite" or (kind == "onnx" and spec.source_format != "onnx")
    sides = network.size if is_converted else sides
    free = not is_converted and ((spec.task, kind) in ANY_SIZE or None in sides)
    layout = "nchw" if spec.is_torch else "nhwc"
    assert found.picture == (layout, (None, None) if free else tuple(sides), channels)
    takes_bytes = kind == "shipped" or (spec.task, kind) == ("detection", "pb")
    assert found.inputs[0].dtype == ("uint8" if takes_bytes else "float32")

    assert own.size == ((224, 224) if free else None)
    assert resolved.input_shape == (*(own.size or sides), channels)
    if own.task == "classification":
        assert resolved.classes == network.classes
    if kind == "shipped":
        lowest, highest = own.preprocessing.range
        assert (lowest, highest) == pytest.approx(spec.preprocessing.range)
