"""The audit of a calibration set: counts, classes, values, noise, and what a finding holds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from audit_sets import faults, kinds, pictures, scenes, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.calibration_data.audit import AuditSet, Finding, audit
from int8gate.calibration_data.audit.finite import structure

LABELS = np.arange(200) % 10
permutations = st.permutations(range(10))


def of_labels(labels) -> AuditSet:
    return AuditSet(np.zeros((len(labels), 2, 2, 1), np.uint8), labels=np.asarray(labels))


def class_faults(labels, classes=10, scored=None) -> set[str]:
    evaluation = None if scored is None else of_labels(scored)
    found = faults(of_labels(labels), evaluation, classes=classes)
    return found & {"missing_classes", "unbalanced_classes", "one_class"}


def test_clean_scenes_have_no_fault():
    own, scored = scenes(), scenes("evaluation", 150)
    calibration = AuditSet(own, unit(own), np.arange(120) % 5)
    evaluation = AuditSet(scored, unit(scored), np.arange(150) % 5)
    assert faults(calibration, evaluation, classes=5, value_range=(0, 1)) == set()


@pytest.mark.parametrize(("count", "kind"), [(1, "error"), (99, "error"), (100, "advice")])
def test_too_few_samples(count, kind):
    found = audit(of_labels(np.zeros(count, int)))
    sizes = [finding for finding in found if finding.kind.endswith("few_samples")]
    assert [finding.severity for finding in sizes] == [kind]
    assert f"has {count} samples" in sizes[0].evidence
    assert "500" in sizes[0].cure


def test_enough_samples():
    assert "few_samples" not in kinds(of_labels(np.zeros(500, int)))
    assert "too_few_samples" not in kinds(of_labels(np.zeros(60, int)), minimum=60)
    assert list(kinds(AuditSet(np.zeros((0, 4, 4, 3), np.uint8)))) == ["too_few_samples"]


def test_balanced_classes():
    assert class_faults(LABELS) == set()
    assert class_faults(LABELS, scored=np.arange(1000) % 10) == set()


def test_missing_classes_are_named():
    finding = kinds(of_labels(LABELS[LABELS != 3]), classes=10)["missing_classes"]
    assert "1 of 10 classes" in finding.evidence
    assert "class 3" in finding.evidence


def test_classes_that_a_random_sample_would_miss_are_not_missing():
    labels = np.random.default_rng(0).integers(0, 1000, 500)
    assert class_faults(labels, classes=1000) == set()
    assert class_faults(np.arange(500), classes=1000) == set()
    assert class_faults(np.arange(500) % 50, classes=1000) >= {"missing_classes"}


def test_classes_are_judged_by_those_that_are_scored():
    rare = np.concatenate([np.zeros(900, int), np.ones(100, int)])
    drawn = np.concatenate([np.zeros(180, int), np.ones(20, int)])
    assert class_faults(drawn, classes=2) == {"unbalanced_classes"}
    assert class_faults(drawn, classes=2, scored=rare) == set()


def test_one_class_alone():
    assert class_faults(np.full(120, 4)) == {"one_class"}
    assert class_faults(np.zeros(120, int), classes=1) == set()
    assert class_faults(np.full(120, 4), classes=None, scored=LABELS) == {"one_class"}


@settings(max_examples=20, deadline=None)
@given(permutations, st.lists(st.integers(0, 9), min_size=100, max_size=300))
def test_names_of_classes_do_not_matter(names, labels):
    renamed = np.array(names)[labels]
    assert class_faults(labels) == class_faults(renamed)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_labels_are_balanced(seed):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 40))
    labels = rng.integers(0, classes, rng.integers(100, 600))
    assert class_faults(labels, classes=classes) == set()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_values_that_are_not_finite_are_named(value):
    inputs = unit(scenes())
    inputs[[17, 60], 3, 4, 1] = value
    names = [f"picture{row}.png" for row in range(120)]
    finding = kinds(AuditSet(scenes(), inputs, names=names))["not_finite"]
    assert finding.severity == "error"
    assert finding.samples == ("picture17.png", "picture60.png")
    assert str(value) in finding.evidence


def test_inputs_alone_that_are_not_finite():
    inputs = unit(scenes())
    inputs[5] = np.nan
    assert "not_finite" in faults(AuditSet(None, inputs))


def test_large_finite_values_are_finite():
    inputs = np.full((120, 4, 4, 3), 3e38, np.float32)
    assert "not_finite" not in faults(AuditSet(None, inputs))


@pytest.mark.parametrize("has_pictures", [True, False], ids=["pictures", "inputs"])
def test_constant_pictures(has_pictures):
    spoiled = pictures()
    spoiled[[2, 9]] = np.array([40, 90, 200], np.uint8) if has_pictures else 77
    audited = AuditSet(spoiled) if has_pictures else AuditSet(None, unit(spoiled))
    finding = kinds(audited)["constant_pictures"]
    assert finding.samples == ("2", "9")
    assert finding.severity == "warning"
    spoiled[:40] = 0
    assert kinds(AuditSet(spoiled))["constant_pictures"].severity == "error"


def noises(rng, shape) -> dict[str, np.ndarray]:
    return {
        "uniform": rng.integers(0, 256, shape, np.uint8),
        "gaussian": np.clip(rng.normal(127, 40, shape), 0, 255).astype(np.uint8),
        "two levels": (rng.integers(0, 2, shape) * 255).astype(np.uint8),
        "per channel": rng.integers(0, [256, 40, 8], shape).astype(np.uint8),
    }


@pytest.mark.parametrize("kind", list(noises(np.random.default_rng(0), (1, 2, 2, 3))))
@pytest.mark.parametrize("side", [16, 48, 224])
def test_noise(kind, side):
    rng = np.random.default_rng(side)
    noise = noises(rng, (20, side, side, 3))[kind]
    finding = kinds(noise)["random_noise"]
    assert finding.severity == "error"
    assert "20 of 20" in finding.evidence
    assert "random_noise" in faults(AuditSet(None, unit(noise)))
    assert "random_noise" in faults(AuditSet(None, unit(noise).transpose(0, 3, 1, 2)))


def test_some_noise_among_pictures():
    spoiled = pictures()
    spoiled[30:42] = np.random.default_rng(1).integers(0, 256, (12, 64, 64, 3), np.uint8)
    finding = kinds(spoiled)["random_noise"]
    assert finding.samples[0] == "30"
    assert "12 of 120" in finding.evidence


def test_textures_and_stars_are_no_noise():
    from int8gate.calibration_data.synthetic import picture_sources as sources

    for name in ("grass.png", "gravel.png", "brick.png", "hubble_deep_field.jpg", "text.png"):
        picture = sources.source_picture(name)
        for side in (48, 128, 224):
            cuts = [picture[at : at + side, at : at + side] for at in (0, 60, 120)]
            assert min(map(structure, cuts)) > 3.2, (name, side)


def test_a_finding_is_json():
    finding = Finding("random_noise", "error", "it is noise", "use pictures", ("a", "b"))
    assert json.loads(json.dumps(finding.as_dict())) == {
        "kind": "random_noise",
        "severity": "error",
        "evidence": "it is noise",
        "cure": "use pictures",
        "samples": ["a", "b"],
    }
    with pytest.raises(ValueError, match="severity"):
        Finding("k", "fatal", "e", "c")


def test_worst_first():
    spoiled = pictures()
    spoiled[:3] = 7
    found = audit(AuditSet(spoiled, labels=np.zeros(120, int)), classes=10, minimum=200)
    severities = [finding.severity for finding in found]
    assert severities == sorted(severities, key=("error", "warning", "advice").index)
    assert {"error", "warning"} <= set(severities)


def test_sets_that_do_not_fit():
    with pytest.raises(ValueError, match="neither pictures nor inputs"):
        AuditSet()
    with pytest.raises(ValueError, match="expected uint8"):
        AuditSet(unit(scenes()))
    with pytest.raises(ValueError, match="119 labels for 120 samples"):
        AuditSet(scenes(), labels=np.zeros(119, int))
    with pytest.raises(ValueError, match="121 inputs"):
        AuditSet(scenes(), np.zeros((121, 4)))


def test_inputs_that_are_no_pictures():
    assert faults(AuditSet(None, np.random.default_rng(0).normal(size=(120, 30)))) == set()
