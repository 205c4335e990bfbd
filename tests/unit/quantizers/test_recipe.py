"""A recipe's rules: the last that matches holds; what no toolchain can mix is refused."""

from __future__ import annotations

import fnmatch
from dataclasses import replace

import pytest
import tiny_torch
from data_folders import refused
from hypothesis import given
from hypothesis import strategies as st

from int8gate.quantizers import recipe as recipes
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.recipe_type import FLOAT, WIDTHS, Rule
from int8gate.quantizers.stages import check_route
from int8gate.quantizers.toolchains.registry import find

FLOAT_DTYPES = ("float32", "float32")
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


GLOBS = st.sampled_from(["*", "head/*", "*/Conv", "stem/?elu", "[hs]*", "head/Conv", "none"])
KINDS = st.sampled_from([("int8", "uint8"), ("int8", "int16"), ("float32", "float32")])
RULES = st.lists(st.builds(lambda match, kinds: Rule(match, *kinds), GLOBS, KINDS), max_size=6)
NAMES = st.sampled_from(["head/Conv", "head/Relu", "stem/Conv", "stem/Relu", "Conv"])


def without_a_base(rules: list[Rule]) -> list[Rule]:
    return [rule for rule in rules if rule.match != "*"]


@given(RULES, NAMES)
def test_each_rule_overrides_those_before_it(rules, name):
    holds = FLOAT
    for rule in rules:
        if fnmatch.fnmatchcase(name, rule.match):
            holds = rule
    assert replace(MIXED, rules=tuple(rules)).rule_of(name) == holds


@given(RULES, st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_of_operators_that_were_fused_one_is_enough(rules, names):
    for rule in rules:
        assert rule.matches(";".join(names)) >= any(map(rule.matches, names))


@given(RULES.map(without_a_base), st.lists(NAMES, min_size=1, max_size=5))
def test_what_is_left_float_is_what_the_last_rule_says(rules, names):
    chosen = replace(MIXED, rules=(Rule("*", "int8", "uint8"), *rules))
    idle = [rule for rule in rules if not any(map(rule.matches, names))]
    if idle:
        refused(lambda: chosen.left_float(names), "none of the network", repr(idle[0].match))
        return
    floats = [name for name in dict.fromkeys(names) if chosen.rule_of(name).is_float]
    assert chosen.left_float(names) == floats


def test_a_rule_that_matches_nothing_is_refused_with_near_names():
    chosen = replace(MIXED, rules=(*RECIPES["onnx_int8"].rules, Rule("haed/*", *FLOAT_DTYPES)))
    names = ["stem/Conv", "fused/Relu;head/Conv", "head/Relu"]
    refused(lambda: chosen.left_float(names), "'haed/*'", "3", "head/Conv", "head/Relu")


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


@pytest.mark.parametrize("name", ["onnx_int8", "onnx_int8_mse"])
def test_single_operators_may_stay_float_in_8_bits(name):
    base = RECIPES[name]
    rules = (*base.rules, Rule("head/*", *FLOAT_DTYPES), Rule("head/last", "int8", "uint8"))
    check_route(tiny_torch.TORCH, base)
    check_route(tiny_torch.TORCH, replace(base, rules=rules))


def test_a_toolchain_that_does_not_follow_such_rules_refuses_them(monkeypatch):
    chosen = replace(MIXED, rules=(*RECIPES["onnx_int8"].rules, Rule("head/*", *FLOAT_DTYPES)))
    monkeypatch.setattr(type(find("onnx")), "widths", ())
    refused(lambda: check_route(tiny_torch.TORCH, chosen), "'head/*'", "onnx quantizes all")


@pytest.mark.parametrize("kinds", [("int8", "float32"), ("float16", "float32"), ("int8", "int8")])
def test_what_is_no_width_of_single_operators_is_refused(kinds):
    chosen = replace(MIXED, rules=(*RECIPES["onnx_int8"].rules, Rule("head/*", *kinds)))
    refused(
        lambda: check_route(tiny_torch.TORCH, chosen),
        "onnx_mixed has a rule for the operators 'head/*'",
        f"({kinds[0]} weights, {kinds[1]} activations)",
        "what can be mixed",
        "float32",
    )


def test_a_width_that_the_toolchain_does_not_have_is_refused_with_those_that_it_has():
    chosen = RECIPES["onnx_int8"].with_widths("onnx_wide", {"int16": ["head/*"]})
    refused(
        lambda: check_route(tiny_torch.TORCH, chosen),
        "onnx_wide has a rule for the operators 'head/*' (int16)",
        "the toolchain onnx gives single operators",
        "float32",
    )


@given(st.dictionaries(st.sampled_from(list(WIDTHS)), st.lists(NAMES, max_size=3)))
def test_of_several_widths_that_are_named_the_widest_holds(named):
    chosen = RECIPES["tflite_int8"].with_widths("mixed", named)
    names = sorted({name for globs in named.values() for name in globs})
    found = chosen.by_width(names)
    for name in names:
        widest = max((w for w, globs in named.items() if name in globs), key=list(WIDTHS).index)
        assert [width for width in WIDTHS if name in found[width]] == [widest]
    assert chosen.mixed_widths == tuple(width for width in WIDTHS if named.get(width))


@pytest.mark.parametrize("name", ["onnx_dynamic_int8", "onnx_fp32"])
def test_no_operator_is_singled_out_where_activations_are_not_8_bits(name):
    chosen = replace(RECIPES[name], rules=(*RECIPES[name].rules, Rule("head/*", *FLOAT_DTYPES)))
    refused(lambda: check_route(tiny_torch.TORCH, chosen), "what can be mixed")
    eight = replace(RECIPES[name], rules=(*RECIPES[name].rules, Rule("head/*", "int8", "uint8")))
    refused(lambda: check_route(tiny_torch.TORCH, eight), "what can be mixed")


def test_a_name_is_taken_once(monkeypatch):
    monkeypatch.setattr(recipes, "RECIPES", dict(RECIPES))
    recipes.register(MIXED)
    assert recipes.recipe("onnx_mixed") is MIXED
    with pytest.raises(ValueError, match="a recipe 'onnx_mixed' already"):
        recipes.register(replace(MIXED, io="uint8"))
