"""The order of remedies, from the cheapest for the user, and what depends on those before."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from int8gate.analysis.rungs import MOST_WIDE, Rung, rungs
from int8gate.quantizers.layer import Layer
from int8gate.quantizers.recipe import RECIPES, recipe
from int8gate.quantizers.recipe_type import REMEDIES, Recipe

NAMES = [name for name, each in RECIPES.items() if each.is_calibrated]
LAYERS = [f"layer[{number}]" for number in range(24)]
WITHOUT_INT16 = "SQUARED_DIFFERENCE"


@dataclass
class Some:
    """A toolchain with these remedies."""

    remedies: dict[str, object] = field(default_factory=lambda: dict.fromkeys(REMEDIES))
    widths: tuple[str, ...] = ("int16", "float32")
    training: object = "module:train"


def listed(kinds: dict[str, str] | None = None) -> list[Layer]:
    """The layers, the worst first; those of a kind in `kinds` (by name) other than CONV_2D."""
    found = []
    for name in LAYERS:
        kind = (kinds or {}).get(name, "CONV_2D")
        widths = ("float32",) if kind == WITHOUT_INT16 else ("int4", "int16", "float32")
        found.append(Layer(name, kind, (name,), 10, 100, 0.04, (name,), widths))
    return found


def rungs_of(base: Recipe, widths=("int16", "float32"), kinds=None) -> list[Rung]:
    return list(rungs(base, Some(), {}.get, lambda: listed(kinds), widths))


def climbed(base: Recipe, gains: dict[str, float], toolchain=None) -> list[Recipe]:
    chosen = toolchain or Some()
    return [rung.recipe for rung in rungs(base, chosen, gains.get, listed, ("int16", "float32"))]


def cost(base: Recipe, found: Recipe) -> int:
    """By what runs on the target: 8 bits, layers in int16, in float, int16 everywhere."""
    if found.activations != base.activations:
        return 3
    return {(): 0, ("int16",): 1, ("float32",): 2}[found.mixed_widths]


@given(
    st.sampled_from(NAMES).map(RECIPES.get),
    st.dictionaries(st.sampled_from(["cle", "bias", "smooth", "adaround"]), st.floats(0.1, 9)),
    st.floats(0.1, 9),
)
def test_no_dearer_kind_stands_before_a_cheaper_one_and_none_is_tried_twice(base, by, of_ranges):
    gains = {f"{base.name}+{name}": gain for name, gain in by.items()}
    gains |= {name: of_ranges for name in NAMES if name.startswith(f"{base.name}_")}
    found = climbed(base, gains)
    names = [each.name for each in found]
    assert len(set(names)) == len(names)
    assert base.name not in names
    costs = [cost(base, each) for each in found]
    assert costs == sorted(costs)
    for each in found:  # what a name with remedies says is what is tried
        if "+" in each.name:
            assert recipe(each.name) == each


def test_remedies_that_helped_are_tried_together_and_on_the_ranges_that_did():
    base = RECIPES["tflite_int8"]
    helped = {"tflite_int8+cle": 0.2, "tflite_int8+bias": 0.1, "tflite_int8_entropy": 0.3}
    names = [each.name for each in climbed(base, helped)]
    assert "tflite_int8+cle+bias" in names
    assert "tflite_int8_entropy+cle+bias" in names
    assert not any("smooth+" in name or "+smooth+" in name for name in names)
    alone = [each.name for each in climbed(base, {})]
    assert not any(name.count("+") > 1 for name in alone)


def test_the_worst_layers_stay_float_by_their_exact_names():
    base = RECIPES["onnx_int8"]
    wide = [each for each in climbed(base, {}) if each.mixed_widths == ("float32",)]
    assert [len(each.rules) - len(base.rules) for each in wide] == [1, 2, 4]
    assert len(wide[-1].rules) - len(base.rules) <= MOST_WIDE * len(LAYERS)
    assert wide[1].left_float(LAYERS) == LAYERS[:2], "brackets of a name are no glob"


def test_the_worst_layers_get_int16_two_at_least_before_any_stays_float():
    """What one alone reads and gives has 8 bits all the same."""
    base = RECIPES["tflite_int8"]
    found = [each for each in climbed(base, {}) if each.mixed_widths == ("int16",)]
    assert [len(each.narrow_rules) for each in found] == [2, 4, 8]
    assert found[0].by_width(LAYERS)["int16"] == LAYERS[:2]
    host = rungs_of(base, widths=("float32",))
    assert not any("int16" in rung.recipe.mixed_widths for rung in host)


@given(st.sets(st.sampled_from(LAYERS)))
def test_a_layer_without_an_int16_form_is_in_no_rung_of_int16_and_that_is_told(without):
    """A rung with it could only end in the toolchain's refusal."""
    climbing = rungs_of(RECIPES["tflite_int8"], kinds=dict.fromkeys(without, WITHOUT_INT16))
    wide = [rung for rung in climbing if rung.recipe.mixed_widths == ("int16",)]
    able = [name for name in LAYERS if name not in without]
    for number, rung in enumerate(wide):
        chosen = able[: 2 ** (number + 1)]
        assert rung.recipe.by_width(LAYERS)["int16"] == chosen
        worse = without.intersection(LAYERS[: LAYERS.index(chosen[-1])])
        assert (f"{len(worse)} {WITHOUT_INT16}" in rung.what) == bool(worse)
    assert len(wide) == sum(count <= min(12, len(able)) for count in (2, 4, 8))
    in_float = [rung for rung in climbing if rung.recipe.mixed_widths == ("float32",)]
    assert in_float[-1].recipe.by_width(LAYERS)["float32"] == LAYERS[:4]


def test_a_toolchain_without_remedies_and_mixes_has_its_other_recipes_alone():
    found = climbed(RECIPES["tflite_int8"], {}, Some(remedies={}, widths=()))
    assert {each.name for each in found} <= set(RECIPES)
    assert found[-1].name == "tflite_int16x8"


@pytest.mark.parametrize("name", ["tflite_int8_per_tensor", "tflite_uint8"])
def test_what_the_recipe_promises_of_weights_and_ends_stays(name):
    base = RECIPES[name]
    for each in climbed(base, {}):
        if each.activations == base.activations:
            assert (each.per_channel, each.io) == (base.per_channel, base.io)
