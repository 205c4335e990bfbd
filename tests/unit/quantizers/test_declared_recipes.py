"""Recipes by name: with remedies behind them, and those that a TOML declares."""

from __future__ import annotations

import pytest
from data_folders import refused

from int8gate.quantizers.declared_recipes import register_recipes
from int8gate.quantizers.recipe import RECIPES, find, recipe, with_remedies
from int8gate.quantizers.recipe_type import Rule


def test_a_name_tells_the_recipe_and_its_remedies_in_order():
    found = recipe("tflite_int8+cle+bias")
    assert found.remedies == ("cle", "bias")
    assert found.rules == RECIPES["tflite_int8"].rules
    assert found == with_remedies(recipe("tflite_int8+cle"), "bias")
    assert recipe("tflite_int8").remedies == ()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tflite_int9+cle", "no recipe 'tflite_int9'"),
        ("tflite_int8+cel", "did you mean cle"),
        ("tflite_int8+", "no remedy ''"),
        ("tflite_int8+cle+cle", "name every remedy once"),
        ("tflite_fp16+cle", "tflite_fp16 takes no calibrated ranges"),
    ],
)
def test_a_name_of_no_recipe_is_refused(name, said):
    refused(lambda: recipe(name), said)
    assert find(name) is None


def write(folder, text: str):
    file = folder / "models.toml"
    file.write_text(text)
    return file


def test_a_toml_declares_recipes_that_leave_operators_float(tmp_path, monkeypatch):
    monkeypatch.setattr("int8gate.quantizers.recipe.RECIPES", dict(RECIPES))
    file = write(
        tmp_path, '[recipes.gadget_mixed]\nbase = "onnx_int8+cle"\nfloat32 = ["head/*", "a[[]0]"]\n'
    )
    register_recipes(file)
    register_recipes(file)  # a second reading changes nothing
    found = recipe("gadget_mixed")
    assert found.remedies == ("cle",)
    assert found.rules[1:] == (
        Rule("head/*", "float32", "float32"),
        Rule("a[[]0]", "float32", "float32"),
    )
    assert found.left_float(["head/1", "a[0]", "b"]) == ["head/1", "a[0]"]


def test_a_toml_gives_operators_other_widths_and_the_widest_holds(tmp_path, monkeypatch):
    monkeypatch.setattr("int8gate.quantizers.recipe.RECIPES", dict(RECIPES))
    register_recipes(
        write(tmp_path, '[recipes.x]\nbase = "tflite_int8"\nfloat32 = ["a"]\nint16 = ["?"]')
    )
    found = recipe("x").by_width(["a", "b"])
    assert (found["int16"], found["float32"]) == (["b"], ["a"])
    assert "'?' in int16; 'a' in float32" in recipe("x").summary


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[recipes.x]\nbase = "onnx_int9"\nfloat32 = ["a"]', "did you mean onnx_int8"),
        ('[recipes.x]\nbase = "onnx_int8"\nfloat32 = []', "float32"),
        ('[recipes.x]\nbase = "onnx_int8"', "float32"),
        ('[recipes.x]\nbase = "onnx_int8"\nfloat32 = ["a"]\nbits = 8', "bits"),
        ('[recipes."a b"]\nbase = "onnx_int8"\nfloat32 = ["a"]', "[recipes.a b]"),
        ('[recipes.onnx_int8]\nbase = "onnx_int8"\nfloat32 = ["a"]', "choose another name"),
        ('[recipes.x]\nbase = "onnx_int8"\nfloat32 = ["*"]', "name single ones"),
        ('[recipes.x]\nbase = "onnx_dynamic_int8"\nfloat32 = ["a"]', "what can be mixed"),
    ],
)
def test_a_table_that_is_wrong_is_refused_where_it_stands(text, said, tmp_path, monkeypatch):
    monkeypatch.setattr("int8gate.quantizers.recipe.RECIPES", dict(RECIPES))
    refused(lambda: register_recipes(write(tmp_path, text)), "models.toml", said)
