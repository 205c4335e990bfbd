"""The audit of a calibration set: copies of one another, augmented ones, and what is scored."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from audit_sets import faults, kinds, pictures, scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from int8gate.calibration_data.audit import AuditSet, duplicates
from int8gate.calibration_data.audit import picture_pairs as pairs
from int8gate.calibration_data.audit.alignment import SYMMETRIES, spectra, thumbnails

COPIES = {"exact_duplicates", "near_duplicates", "augmented_samples"}
OVERLAPS = {"evaluation_overlap", "evaluation_near_overlap"}


def jpeg(picture: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=80)
    return np.asarray(Image.open(file))


def resized(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.BICUBIC))


def noisy(picture: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 3, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


CHANGED_LITTLE = {
    "jpeg": jpeg,
    "resized": lambda picture: resized(resized(picture, 48), 64),
    "noisy": noisy,
}
AUGMENTED = {
    "mirrored": lambda picture: picture[:, ::-1],
    "upside down": lambda picture: picture[::-1],
    "turned": np.rot90,
    "half turn": lambda picture: np.rot90(picture, 2),
    "transposed": lambda picture: picture.swapaxes(0, 1),
    "cropped": lambda picture: resized(picture[2:60, 4:62], 64),
    "shifted": lambda picture: np.roll(picture, (2, -3), (0, 1)),
    "brighter": lambda picture: np.clip(picture * 0.8 + 45, 0, 255).astype(np.uint8),
    "flatter": lambda picture: np.clip(picture * 0.6 + 20, 0, 255).astype(np.uint8),
}


def spoiled_by(change, count: int = 20) -> np.ndarray:
    """The last `count` pictures are the first ones changed."""
    found = pictures()
    for row in range(count):
        found[len(found) - count + row] = change(found[row])
    return found


def test_scenes_that_share_a_background_are_no_copies():
    assert faults(scenes()) & COPIES == set()


@pytest.mark.parametrize("change", CHANGED_LITTLE.values(), ids=list(CHANGED_LITTLE))
def test_near_duplicates(change):
    finding = kinds(spoiled_by(change))["near_duplicates"]
    assert finding.severity == "warning"
    assert set(finding.samples) <= {str(row) for row in range(100, 120)}
    assert "of 120 pictures" in finding.evidence


@pytest.mark.parametrize("change", AUGMENTED.values(), ids=list(AUGMENTED))
def test_augmented_samples(change):
    finding = kinds(spoiled_by(change))["augmented_samples"]
    assert finding.severity == "warning"
    assert set(finding.samples) <= {str(row) for row in range(100, 120)}


def test_exact_duplicates_are_not_reported_twice():
    found = kinds(spoiled_by(lambda picture: picture))
    assert "20 of 120" in found["exact_duplicates"].evidence
    assert set(found) & COPIES == {"exact_duplicates"}
    assert kinds(spoiled_by(lambda p: p, 1))["exact_duplicates"].severity == "advice"


@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(["jpeg", "mirrored", "none"]))
def test_order_does_not_matter(random, name):
    change = {**CHANGED_LITTLE, **AUGMENTED}.get(name)
    given = spoiled_by(change) if change else scenes()
    order = list(range(len(given)))
    random.shuffle(order)
    assert faults(given) & COPIES == faults(given[order]) & COPIES


@pytest.mark.parametrize("task_split", ["evaluation"])
def test_unrelated_pictures_add_no_copies(task_split):
    more = np.concatenate([scenes(), scenes(task_split, 150)])
    assert faults(more) & COPIES == set()


def test_pictures_of_one_colour_are_no_copies_of_one_another():
    """They are constant, and it is said once."""
    flat = pictures()
    flat[:20] = np.arange(20)[:, None, None, None] * 10
    assert faults(flat) & {"near_duplicates", "augmented_samples"} == set()


def test_disjoint_sets_do_not_overlap():
    assert faults(scenes(), scenes("evaluation", 150)) & OVERLAPS == set()


def test_one_sample_that_is_scored_too():
    found = kinds(scenes(), np.concatenate([scenes("evaluation", 150), scenes()[40:41]]))
    finding = found["evaluation_overlap"]
    assert finding.severity == "error"
    assert finding.samples == ("40",)
    assert "40 is 150 there" in finding.evidence


@pytest.mark.parametrize(
    "change",
    [*CHANGED_LITTLE.values(), AUGMENTED["mirrored"], AUGMENTED["cropped"]],
    ids=[*CHANGED_LITTLE, "mirrored", "cropped"],
)
def test_near_overlap(change):
    twins = np.stack([change(picture) for picture in scenes()[10:25]])
    finding = kinds(scenes(), np.concatenate([scenes("evaluation", 150), twins]))[
        "evaluation_near_overlap"
    ]
    assert set(finding.samples) <= {str(row) for row in range(10, 25)}


def test_pairs_within_name_each_pair_once():
    small = thumbnails(spoiled_by(jpeg))
    found = pairs.within(small)
    numbers = [(match.first, match.second) for match in found]
    assert numbers == sorted(set(numbers))
    assert all(first < second for first, second in numbers)
    assert {(row, 100 + row) for row in range(20)} >= set(numbers)
    assert len(numbers) >= 18


@pytest.mark.parametrize("symmetry", SYMMETRIES, ids=lambda s: s.name)
def test_spectra_are_laid_as_pictures_are(symmetry):
    small = thumbnails(scenes()[:8])
    np.testing.assert_allclose(
        symmetry.lay_spectra(spectra(small)), spectra(symmetry.lay(small)), atol=1e-5
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda pair: pair[0] < pair[1]),
        min_size=3,
        max_size=20,
    )
)
def test_whoever_resembles_whom_a_pair_of_them_is_named(found):
    """Chains of likeness too, in which no pair joins the first of a group to the one named."""
    matches = [pairs.Match(one, other, "mirrored", 0.99) for one, other in found]
    names = [f"p{number}" for number in range(12)]
    calibration = AuditSet(pictures=np.zeros((12, 16, 16, 3), np.uint8), names=names)
    told = list(duplicates._alike(calibration, "augmented_samples", matches))
    assert len(told) <= 1
    if told:
        example = re.search(r"\((p\d+) and (p\d+):", told[0].evidence)
        one, other = (names.index(name) for name in example.groups())
        assert (min(one, other), max(one, other)) in found
