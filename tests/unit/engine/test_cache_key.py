"""Cache keys are equal exactly when the parts are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.engine.cache import array_digest, cache_key

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "1", "true", "null", "1.0", "NaN", '"', "\\u0041", "A", "\ud800"])
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)
dicts = st.dictionaries(st.text(max_size=2), plain, max_size=4)


def is_same(a: object, b: object) -> bool:
    """Equality that tells 1, 1.0 and True apart, as well as 0.0 and -0.0; one NaN is the other."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(is_same, a, b))
    return repr(a) == repr(b)


def reordered(value: object) -> object:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@settings(deadline=None)
@given(dicts)
def test_key_does_not_depend_on_order(parts):
    assert cache_key(parts) == cache_key(reordered(parts))


@settings(deadline=None)
@given(dicts, dicts)
def test_keys_are_equal_exactly_when_the_parts_are(a, b):
    assert (cache_key(a) == cache_key(b)) == is_same(a, b)


@settings(deadline=None)
@given(dicts, st.text(max_size=2), plain)
def test_key_notices_every_change(parts, name, value):
    changed = parts | {name: value}
    unchanged = name in parts and is_same(parts[name], value)
    assert (cache_key(changed) == cache_key(parts)) == unchanged
    assert cache_key({"nested": [changed]}) != cache_key(changed)


def test_key_tells_look_alikes_apart():
    values = [1, "1", True, 1.0, "True", "true", None, "null", [1], ["1"], {"1": 1}, 0, -0.0, 0.0]
    assert len({cache_key({"bits": value}) for value in values}) == len(values)


def test_key_is_stable_across_versions_of_this_code():
    """A change here throws away everybody's cache: raise SCHEMA and say so instead."""
    assert cache_key({"b": [1, 0.1, None], "a": {"é": True}}) == (
        "2e7e8eaa66522f396389b82e73681c8ad9ff03d5b12d6c3fc4a48ed84ce88c3a"
    )


@pytest.mark.parametrize(
    "value",
    [np.float64(1), np.float32(1), np.int64(1), np.bool_(True), np.ones(2), Path("x"), b"", {1}],
    ids=lambda value: type(value).__name__,
)
def test_key_refuses_what_has_no_canonical_form(value):
    with pytest.raises(TypeError, match=r"parts\['recipe'\]\[1\] is a .*: expected dict, list"):
        cache_key({"recipe": [1, value]})
    with pytest.raises(TypeError, match="keys must be str"):
        cache_key({"recipe": {1: 2}})


def test_array_digest_covers_dtype_shape_and_values():
    array = np.arange(6, dtype=np.int32)
    variants = [
        array,
        array.astype(np.uint32),
        array.astype(">i4"),
        array.byteswap(),
        array.reshape(2, 3),
        array.reshape(3, 2),
        array.reshape(2, 3).T,
        array[:5],
        array[:0],
        np.int32(0).reshape(()),
        np.zeros(1, np.int32),
        array.view([("a", "i4")]),
    ]
    assert len({array_digest(variant) for variant in variants}) == len(variants)
    assert array_digest(array) == array_digest(np.repeat(array, 2)[::2])  # not of the strides
    with pytest.raises(TypeError, match="references"):
        array_digest(np.array([object()]))
