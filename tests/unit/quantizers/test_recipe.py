"""A recipe's rules: the last that matches holds; what no toolchain can do yet is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_torch

from int8gate.quantizers import recipe as recipes
from int8gate.quantizers.recipe import FLOAT, RECIPES, Rule
from int8gate.quantizers.stages import check_route

MIXED = replace(
    RECIPES["onnx_int8"],
    name="onnx_mixed",
    rules=(
        Rule("*", "int8", "uint8"),
        Rule("head/*", "int8", "int16"),
        Rule("head/last", "float32", "float32"),
    ),
)


def test_the_last_rule_that_matches_holds():
    assert MIXED.rule_of("stem/Conv").activations == "uint8"
    assert MIXED.rule_of("head/Conv").activations == "int16"
    assert MIXED.rule_of("head/last") == replace(FLOAT, match="head/last")
    assert (MIXED.weights, MIXED.activations) == ("int8", "uint8")


def test_without_a_rule_all_stays_float():
    reference = RECIPES["tflite_fp32"]
    assert reference.rule_of("anything") == FLOAT
    assert reference.is_reference
    assert not replace(reference, rules=(Rule("head/*", "int8", "int8"),)).is_reference


def test_a_recipe_is_declared_by_words_alone():
    with pytest.raises(TypeError):
        recipes.Recipe("onnx_new", "a summary", "onnx")


def test_the_name_says_nothing_to_the_code():
    assert replace(RECIPES["onnx_int8"], name="tflite_of_the_team").toolchain == "onnx"


def test_a_mixed_recipe_is_refused_until_a_toolchain_can():
    with pytest.raises(ValueError, match=r"onnx_mixed has a rule .*'head/\*', and onnx quantizes"):
        check_route(tiny_torch.TORCH, MIXED)
    check_route(tiny_torch.TORCH, RECIPES["onnx_int8"])


def test_a_name_is_taken_once(monkeypatch):
    monkeypatch.setattr(recipes, "RECIPES", dict(RECIPES))
    recipes.register(MIXED)
    assert recipes.recipe("onnx_mixed") is MIXED
    with pytest.raises(ValueError, match="a recipe 'onnx_mixed' already"):
        recipes.register(replace(MIXED, io="uint8"))
