"""A checkpoint is read in ranges, and what is wrong with one is said in a sentence."""

from __future__ import annotations

import json
import math
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_checkpoints import LLAMA, write_raw, write_shard

from int8gate.quantizers.out_of_core.checkpoint import FLOATS, open_checkpoint

ONE_LINE = r"^[^\n]+\Z"
INDEX = "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def directory(tmp_path):
    write_raw(LLAMA, tmp_path / "model")
    return tmp_path / "model"


def refusal(directory) -> str:
    with pytest.raises(ValueError, match=ONE_LINE) as refused:
        open_checkpoint(directory)
    return str(refused.value)


def edit_index(directory, change):
    index = json.loads((directory / INDEX).read_text())
    change(index)
    (directory / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_tensors_of_all_shards_are_read(tmp_path, shards):
    write_raw(LLAMA, tmp_path, shards)
    checkpoint = open_checkpoint(tmp_path)
    assert len(checkpoint.tensors) == 38
    assert checkpoint.config == LLAMA
    files = {tensor.file.name for tensor in checkpoint.tensors.values()}
    assert len(files) == shards
    assert checkpoint.nbytes == sum(2 * math.prod(t.shape) for t in checkpoint.tensors.values())


@given(
    dtype=st.sampled_from(sorted(FLOATS)),
    rows=st.integers(1, 9),
    columns=st.integers(0, 7),
    seed=st.integers(0, 9),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_rows_are_what_safetensors_reads_of_them(
    tmp_path_factory, dtype, rows, columns, seed, data
):
    from safetensors.numpy import load_file, save_file

    directory = tmp_path_factory.mktemp("rows")
    types = {"BF16": ml_dtypes.bfloat16, "F16": np.float16, "F32": np.float32}
    shape = (rows, columns) if columns else (rows,)
    values = np.random.default_rng(seed).standard_normal(shape).astype(types[dtype])
    file = directory / "model.safetensors"
    save_file({"before": np.ones(3, np.float16), "weights": values}, file)
    (directory / "config.json").write_text("{}")
    tensor = open_checkpoint(directory).tensors["weights"]
    first = data.draw(st.integers(0, rows))
    last = data.draw(st.integers(first, rows))
    expected = load_file(file)["weights"].reshape(rows, -1)[first:last]
    read = tensor.float_rows(first, last)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, expected.astype(np.float32))
    assert tensor.raw_rows(first, last).tobytes() == expected.tobytes()


def test_a_missing_shard(directory):
    (directory / SECOND).unlink()
    assert refusal(directory) == (
        f"{directory / SECOND} is missing: download the checkpoint again, all of its files"
    )


@pytest.mark.parametrize("cut", [1, 1000])
def test_a_truncated_shard(directory, cut):
    content = (directory / FIRST).read_bytes()
    (directory / FIRST).write_bytes(content[:-cut])
    message = refusal(directory)
    assert message.startswith(f"{directory / FIRST} is truncated: expected {len(content):,} bytes")
    assert f"found {len(content) - cut:,}" in message


@pytest.mark.parametrize("size", [0, 5, 40])
def test_a_shard_of_less_than_its_header(directory, size):
    (directory / FIRST).write_bytes((directory / FIRST).read_bytes()[:size])
    assert "truncated or damaged; download it again" in refusal(directory)


def test_a_shard_that_ends_while_it_is_read(directory):
    tensors = open_checkpoint(directory).tensors
    last = max(tensors.values(), key=lambda tensor: (tensor.file.name == FIRST, tensor.start))
    (directory / FIRST).write_bytes((directory / FIRST).read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"ends inside of tensor {last.name}"):
        last.raw_rows(0, last.rows)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header["model.norm.weight"].update(data_offsets=[0, 128]),
        lambda header: header["model.norm.weight"].update(data_offsets=[5, 1]),
        lambda header: header["model.norm.weight"].update(data_offsets="ab"),
        lambda header: header["model.norm.weight"].update(shape=[-64]),
        lambda header: header["model.norm.weight"].update(shape=[63]),
        lambda header: header["model.norm.weight"].pop("dtype"),
        lambda header: header.update({"model.norm.weight": 3}),
    ],
)
def test_a_damaged_header(tmp_path, change):
    write_raw(LLAMA, tmp_path, 1)
    file = tmp_path / "model.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    assert str(file) in refusal(tmp_path)


@given(noise=st.binary(max_size=200), at=st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_noise_is_refused_or_read_and_never_an_other_error(tmp_path_factory, noise, at):
    directory = tmp_path_factory.mktemp("noise")
    write_raw(LLAMA | {"num_hidden_layers": 1}, directory, 1)
    file = directory / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:at] + noise + content[at + len(noise) :])
    message = ""
    try:
        open_checkpoint(directory)
    except ValueError as error:
        message = str(error)
    assert not message or str(file) in message


@pytest.mark.parametrize(("dtype", "bits"), [("F8_E4M3", "u1"), ("I8", "i1"), ("I32", "i4")])
def test_a_wrong_dtype(tmp_path, dtype, bits):
    (tmp_path / "config.json").write_text("{}")
    write_shard(
        tmp_path / "model.safetensors", {"weights": np.zeros((4, 2), bits)}, {"weights": dtype}
    )
    message = refusal(tmp_path)
    assert f"tensor weights is {dtype}, expected one of BF16, F16, F32" in message


def test_values_that_are_not_finite(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for dtype, kind in (("BF16", "uint16"), ("F16", "uint16"), ("F32", "uint32")):
        bits = np.zeros((5, 3), kind)
        bits[3, 1] = {"BF16": 0xFF80, "F16": 0x7E01, "F32": 0x7FC00000}[dtype]
        write_shard(tmp_path / "model.safetensors", {"weights": bits}, {"weights": dtype})
        tensor = open_checkpoint(tmp_path).tensors["weights"]
        tensor.float_rows(0, 3)
        with pytest.raises(ValueError, match="tensor weights holds NaN or infinity in row 3"):
            tensor.float_rows(2, 5)


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/passwd", "a/b.safetensors", "..", "a\\b", "", "a\0b"]
)
def test_a_file_name_that_leaves_the_directory(directory, name):
    write_shard(directory.parent / "outside.safetensors", {"x": np.zeros(1, "uint16")}, {})
    edit_index(directory, lambda index: index["weight_map"].update({"model.norm.weight": name}))
    assert "which is a path" in refusal(directory)


@pytest.mark.parametrize("name", [FIRST, INDEX, "config.json"])
def test_a_link_that_leaves_the_directory(directory, name):
    outside = (directory / name).rename(directory.parent / "outside")
    (directory / name).symlink_to(outside)
    assert "is a link to" in refusal(directory)


def test_links_of_the_hubs_cache_are_followed(tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "abc"
    write_raw(LLAMA, snapshot)
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir()
    for number, file in enumerate(list(snapshot.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(f"../../blobs/{number}")
    assert len(open_checkpoint(snapshot).tensors) == 38


def test_pickled_weights_are_never_opened(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert "pytorch_model.bin is pickled Python, which is never opened" in refusal(tmp_path)


def test_no_weights_at_all(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert "holds neither model.safetensors nor model.safetensors.index" in refusal(tmp_path)


def test_no_configuration(directory):
    (directory / "config.json").unlink()
    assert "config.json is missing" in refusal(directory)


def test_no_directory(tmp_path):
    assert "is no directory" in refusal(tmp_path / "absent")


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, "\xff"])
def test_a_configuration_that_is_no_object(directory, text):
    (directory / "config.json").write_text(text, encoding="latin-1")
    assert str(directory / "config.json") in refusal(directory)


def test_a_checkpoint_that_is_quantized_already(directory):
    config = LLAMA | {"quantization_config": {"quant_method": "gptq"}}
    (directory / "config.json").write_text(json.dumps(config))
    assert "quantized already" in refusal(directory)


@pytest.mark.parametrize("located", [None, {}, {"a": 3}, [1]])
def test_an_index_without_files(directory, located):
    edit_index(directory, lambda index: index.update(weight_map=located))
    assert "expected `weight_map`" in refusal(directory)


def test_an_index_of_other_shards(directory):
    edit_index(directory, lambda index: index["weight_map"].update(absent=FIRST))
    assert "tensor absent (1 such) was expected in" in refusal(directory)
    edit_index(directory, lambda index: index["weight_map"].pop("absent"))
    edit_index(directory, lambda index: index["weight_map"].pop("model.norm.weight"))
    assert "tensor model.norm.weight (1 such) is in" in refusal(directory)
