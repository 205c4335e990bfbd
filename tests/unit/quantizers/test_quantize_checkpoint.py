"""A checkpoint becomes the ONNX model that the recipes make in memory, of the same numbers."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from language_checkpoints import LLAMA, MISTRAL, float_network, save, write_raw
from onnx import numpy_helper

from int8gate.quantizers.out_of_core.quantized_checkpoint import quantize_checkpoint
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx import weight_only
from int8gate.quantizers.toolchains.onnx.prepare import prepare

INT4, INT8 = RECIPES["onnx_weight_int4"], RECIPES["onnx_weight_int8"]
LENGTH = 20
IDS = np.random.default_rng(0).integers(0, 320, (2, LENGTH))


def stored_blocks(model) -> list[tuple]:
    """Of each MatMulNBits, in order: its settings, packed weights, scales and zero points."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    return [
        (
            {attribute.name: attribute.i for attribute in node.attribute},
            *(numpy_helper.to_array(constants[name]) for name in node.input[1:]),
        )
        for node in model.graph.node
        if node.op_type == "MatMulNBits"
    ]


def dequantized(settings: dict, packed, scales, zero_points) -> np.ndarray:
    """Weights (outputs, inputs), by the specification of MatMulNBits."""
    bits, outputs = settings["bits"], settings["N"]
    if bits == 4:
        packed, zero_points = (
            np.stack([each & 15, each >> 4], axis=-1).reshape(*each.shape[:-1], -1)
            for each in (packed, zero_points)
        )
    blocks = packed.shape[1]
    zeros = zero_points[:, :blocks].astype(np.float32)
    values = (packed.astype(np.float32) - zeros[..., None]) * scales[..., None]
    return values.reshape(outputs, -1)[:, : settings["K"]]


def load_weights(network, model) -> None:
    """Puts the dequantized weights of the model's products into the float network."""
    import torch

    network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.detach().clone())
    parameters = dict(network.named_parameters(remove_duplicate=False))
    names = [node.input[1] for node in model.graph.node if node.op_type == "MatMulNBits"]
    tables = [node for node in model.graph.node if node.op_type == "GatherBlockQuantized"]
    scales = {node.input[2] for node in tables}
    products = [node for node in model.graph.node if node.op_type == "MatMulNBits"]
    for node, name, blocks in zip(products, names, stored_blocks(model), strict=True):
        weight = parameters[name.rpartition("_Q")[0]]
        weight.data = torch.from_numpy(dequantized(*blocks))
        if node.input[2] in scales:
            network.model.embed_tokens.weight = torch.nn.Parameter(weight.data.clone())


def logits_of(directory, ids) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(directory / "model.onnx")
    return session.run(["logits"], {"input_ids": ids})[0]


def check_logits(directory, source) -> None:
    """Those of PyTorch with the very weights that are stored, to float tolerance, and not those of
    the float network: it would be no test if both were near.
    """
    import torch

    network = float_network(source)
    quantized = logits_of(directory, IDS)
    with torch.no_grad():
        plain = network(torch.from_numpy(IDS)).logits.numpy()
        load_weights(network, onnx.load(str(directory / "model.onnx")))
        reference = network(torch.from_numpy(IDS)).logits.numpy()
    assert quantized.shape == (2, LENGTH, 320)
    scale = np.abs(reference).max()
    assert np.abs(quantized - reference).max() < 2e-5 * scale
    assert np.abs(quantized - plain).max() > 1e-3 * scale


def in_memory(source, recipe, folder) -> onnx.ModelProto:
    """The way of the zoo: export with the weights, fold, quantize."""
    import torch

    network = float_network(source)

    class Logits(torch.nn.Module):
        def forward(self, input_ids):
            mask = torch.ones_like(input_ids)
            return network(input_ids=input_ids, attention_mask=mask, use_cache=False).logits

        def __init__(self):
            super().__init__()
            self.network = network

    with torch.no_grad():
        program = torch.onnx.export(
            Logits().eval(),
            (torch.zeros((1, LENGTH), dtype=torch.int64),),
            dynamo=True,
            input_names=["input_ids"],
            output_names=["logits"],
            opset_version=20,
            verbose=False,
        )
    folder.mkdir()
    program.save(str(folder / "exported.onnx"), external_data=False)
    prepare(folder / "exported.onnx", folder / "float.onnx")
    return weight_only.quantize(folder / "float.onnx", recipe)[0]


def check_numbers(directory, expected: onnx.ModelProto) -> None:
    """The same products with the same bits; ONNX Runtime sorts those of a layer anew."""
    made, wanted = (
        sorted(
            (
                sorted(settings.items()),
                [(each.dtype.str, each.shape, each.tobytes()) for each in of],
            )
            for settings, *of in stored_blocks(model)
        )
        for model in (onnx.load(str(directory / "model.onnx")), expected)
    )
    assert len(made) > 21
    assert made == wanted


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    directory = tmp_path_factory.mktemp("llama") / "source"
    save(LLAMA, directory)
    quantize_checkpoint(directory, INT4, directory.parent / "int4")
    return directory


def test_the_numbers_are_those_of_the_recipe_in_memory(llama, tmp_path):
    check_numbers(llama.parent / "int4", in_memory(llama, INT4, tmp_path / "memory"))


def test_logits_are_those_of_the_dequantized_network(llama):
    check_logits(llama.parent / "int4", llama)


def test_batch_and_length_are_free(llama):
    whole = logits_of(llama.parent / "int4", IDS)
    for rows, length in ((1, 1), (2, 7), (1, LENGTH)):
        part = logits_of(llama.parent / "int4", IDS[:rows, :length])
        np.testing.assert_allclose(part, whole[:rows, :length], atol=1e-4)


def test_only_the_two_files_remain_and_the_embedding_keeps_16_bits(llama):
    directory = llama.parent / "int4"
    assert {each.name for each in directory.iterdir()} == {"model.onnx", "model.onnx.data"}
    assert {each.name for each in llama.parent.iterdir()} == {"source", "int4"}
    model = onnx.load(str(directory / "model.onnx"), load_external_data=False)
    onnx.checker.check_model(str(directory / "model.onnx"))
    dtypes = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert dtypes["lm_head.weight_stored"] == onnx.TensorProto.BFLOAT16
    offsets = [
        int(entry.value)
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "offset"
    ]
    assert len(offsets) > 90
    assert all(offset % 4096 == 0 for offset in offsets)
    assert str(llama.parent).encode() not in (directory / "model.onnx").read_bytes()


def test_int8_blocks_of_a_tied_output_layer_are_its_embedding(llama, tmp_path):
    """Stored once: the 16 bits of each weight go, and logits are those of one rounded table."""
    made = tmp_path / "int8"
    quantize_checkpoint(llama, INT8, made)
    model = onnx.load(str(made / "model.onnx"), load_external_data=False)
    onnx.checker.check_model(str(made / "model.onnx"))
    of_vocabulary = [each for each in model.graph.initializer if list(each.dims[:1]) == [320]]
    names = sorted(tensor.name.partition("weight_")[2] for tensor in of_vocabulary)
    assert names == ["Q8", "scales", "zero_points"], "the blocks alone"
    (table,) = [node for node in model.graph.node if node.op_type == "GatherBlockQuantized"]
    (head,) = [
        node
        for node in model.graph.node
        if node.op_type == "MatMulNBits" and node.input[2] == table.input[2]
    ]
    assert table.input[3] == head.input[3]
    check_logits(made, llama)


@pytest.mark.heavy
@pytest.mark.parametrize("recipe", [INT4, INT8], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("config", [LLAMA, MISTRAL], ids=["llama", "mistral"])
def test_both_architectures_in_every_dtype(tmp_path, config, dtype, recipe):
    source, made = tmp_path / "source", tmp_path / "made"
    save(config, source, dtype, shard="10GB" if dtype == "float32" else "100KB")
    quantize_checkpoint(source, recipe, made)
    check_numbers(made, in_memory(source, recipe, tmp_path / "memory"))
    check_logits(made, source)


def test_mistral_at_a_fixed_length(tmp_path):
    source, made = tmp_path / "source", tmp_path / "made"
    save(MISTRAL, source, "float16")
    quantize_checkpoint(source, INT8, made, length=LENGTH)
    network = float_network(source)
    load_weights(network, onnx.load(str(made / "model.onnx")))
    import torch

    with torch.no_grad():
        reference = network(torch.from_numpy(IDS[:1])).logits.numpy()
    quantized = logits_of(made, IDS[:1])
    assert np.abs(quantized - reference).max() < 2e-5 * np.abs(reference).max()
    model = onnx.load(str(made / "model.onnx"), load_external_data=False)
    (shape,) = [each.type.tensor_type.shape for each in model.graph.input]
    assert [size.dim_value for size in shape.dim] == [1, LENGTH]


def refusal(config: dict, directory, recipe=INT4, length=None, raw=LLAMA) -> str:
    write_raw(raw, directory / "source")
    (directory / "source" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"^[^\n]+\Z") as refused:
        quantize_checkpoint(directory / "source", recipe, directory / "made", length)
    assert {each.name for each in directory.iterdir()} == {"source"}, "nothing is left behind"
    return str(refused.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2' is not known: expected llama or mistral"),
        ({"model_type": ["llama"]}, "is not known: expected llama or mistral"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "expected LlamaForCausalLM"),
        ({"num_hidden_layers": 5}, "config.json says 5 layers, and the shards hold 4"),
        ({"num_hidden_layers": 10**9}, "says 1000000000 layers, and the shards hold 4"),
        ({"hidden_size": 128}, "is of shape (320, 64), expected (320, 128) by config.json"),
        ({"vocab_size": 10**12}, "expected (1000000000000, 64)"),
        ({"tie_word_embeddings": False}, "tensor lm_head.weight of shape (320, 64) is missing"),
        ({"attention_bias": True}, "self_attn.k_proj.bias of shape (32,) is missing"),
        ({"hidden_size": "wide"}, "describes no llama network"),
        ({"hidden_size": -64}, "describes no llama network"),
        ({"num_attention_heads": 0}, "describes no llama network"),
        ({"num_key_value_heads": 3}, "must be a multiple of num_key_value_heads 3"),
        ({"hidden_act": "os.system"}, "describes no llama network"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "cannot be exported"),
        ({"rope_parameters": {"rope_type": "strange"}}, "config.json"),
    ],
)
def test_a_configuration_that_does_not_match(tmp_path, change, sentence):
    assert sentence in refusal(LLAMA | change, tmp_path)


def test_a_tensor_that_has_no_place(tmp_path):
    raw = MISTRAL | {"num_hidden_layers": 4}  # untied: it has an lm_head, which differs
    message = refusal(LLAMA, tmp_path, raw=raw)
    assert "ties lm_head.weight to model.embed_tokens.weight" in message
    assert "set tie_word_embeddings to false" in message


@pytest.mark.parametrize("name", ["onnx_int8", "onnx_weight_int4_hqq", "tflite_int8"])
def test_a_recipe_of_activations_or_of_another_rounding(tmp_path, name):
    message = refusal(LLAMA, tmp_path, recipe=RECIPES[name])
    assert f"{name} does not round weights alone, in blocks, to the nearest" in message


@pytest.mark.parametrize("length", [0, 129])
def test_a_length_that_the_network_does_not_have(tmp_path, length):
    assert f"--length {length}: expected 1 to 128" in refusal(LLAMA, tmp_path, length=length)
