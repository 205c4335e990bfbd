"""The splits of the scenes: disjoint, stratified, balanced, and the same whoever draws them."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate import calibration_data
from int8gate.tasks import registry

ROOT = Path(__file__).parents[3]
TASKS = ("classification", "segmentation")
SPLITS = ("train", "calibration", "evaluation")
LOADED = ("calibration", "evaluation")  # the two that a run uses
SIZES = (((96, 96), 1), ((128, 128), 3), ((64, 80), 3))
indices = st.integers(0, 299)


@pytest.fixture(scope="module")
def sources():
    from int8gate.calibration_data.synthetic import picture_sources as sources

    return sources


@pytest.fixture(scope="module")
def scenes():
    from int8gate.calibration_data.synthetic import scenes

    return scenes


def small(task: str, split: str, size=(64, 64), channels: int = 1):
    return calibration_data.load(task, split, size, channels)


def contents(arrays) -> list[bytes]:
    return [array.tobytes() for array in arrays]


def pairs(split_contents: dict[str, list[bytes]]):
    return [
        (one, other, set(split_contents[one]) & set(split_contents[other]))
        for one in SPLITS
        for other in SPLITS
        if one < other
    ]


def test_pictures_stand_in_one_split(sources):
    names = [name for split in SPLITS for name in sources.PICTURES[split]]
    assert len(names) == len(set(names))
    pixels = {s: contents(map(sources.source_picture, sources.PICTURES[s])) for s in SPLITS}
    assert all(not shared for *_, shared in pairs(pixels)), "one picture under two names"


def test_tiles_stand_once_whatever_way_they_are_turned(sources):
    """A background is a turned, mirrored tile: no such version may stand in another split."""
    turned = {
        split: [
            min(
                np.rot90(side, turns).tobytes()
                for side in (tile, tile[:, ::-1])
                for turns in range(4)
            )
            for tile in sources.tiles(split)
        ]
        for split in SPLITS
    }
    assert all(not shared for *_, shared in pairs(turned))
    for split in LOADED:
        assert len(set(turned[split])) == len(turned[split]), f"{split} holds one tile twice"


def test_digits_are_disjoint_and_exhaustive(sources):
    owned = [sources.digits(split)[2] for split in SPLITS]
    assert sorted(np.concatenate(owned).tolist()) == list(range(1797))
    assert all(
        not shared for *_, shared in pairs({s: contents(sources.digits(s)[0]) for s in SPLITS})
    ), "two copies of one digit stand on different sides"


def test_digits_are_what_scikit_learn_says_they_are(sources):
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    for split in SPLITS:
        pictures, split_labels, owned = sources.digits(split)
        np.testing.assert_array_equal(split_labels, labels[owned])
        np.testing.assert_array_equal(pictures.reshape(-1, 64) * 16, images[owned])


def test_digits_are_stratified(sources):
    of_all = sum(np.bincount(sources.digits(split)[1]) for split in SPLITS)
    for split in SPLITS:
        share = sources.DIGIT_SHARES[split] * of_all
        assert (np.abs(np.bincount(sources.digits(split)[1]) - share) <= 1).all(), split


@pytest.mark.parametrize("task", TASKS)
def test_evaluation_is_large_enough_to_tell(task):
    evaluation = small(task, "evaluation")
    assert len(evaluation) >= 2000
    assert len(np.unique(evaluation.sources)) >= 350
    assert len(small(task, "calibration")) >= 100


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", LOADED)
def test_sources_share_neither_digit_nor_tile(task, split, sources):
    drawn = small(task, split)
    numbers = np.unique(drawn.sources)
    digits_of_sources = drawn._digits_of_sources
    assert len(numbers) <= len(digits_of_sources)
    assert len(np.unique(digits_of_sources)) == digits_of_sources.size
    assert numbers.max() < len(sources.tiles(split)), "there is no private tile for each source"


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", LOADED)
def test_labels_are_those_of_the_source(task, split, sources):
    """A picture's label is its source's digit; a map tells digits from everything else."""
    drawn = small(task, split)
    _, labels, _ = sources.digits(split)
    for index in range(0, len(drawn), len(drawn) // 40):
        label = drawn.sample(index)[1]
        if task == "classification":
            assert label == labels[drawn._digits_of_sources[drawn.sources[index], 0]]
        else:
            assert np.unique(label).tolist() == [0, 1], "no digit, or no background"


def test_classes_are_balanced():
    for split in LOADED:
        drawn = small("classification", split)
        counts = np.bincount([drawn.label(index) for index in range(len(drawn))], minlength=10)
        assert counts.min() >= 0.9 * counts.max(), (split, counts)
    drawn = small("segmentation", "evaluation")
    background = np.mean([(drawn.sample(index)[1] == 0).mean() for index in range(400)])
    assert 0.6 < background < 0.95, "always guessing the background would be nearly right"


@pytest.mark.parametrize("task", TASKS)
def test_the_first_scenes_hold_every_class(task):
    """What is cut to the first samples of a set (slow kernels, fidelity) still sees all of them."""
    for split in LOADED:
        drawn = small(task, split)
        labels = [np.unique(drawn.sample(index)[1]) for index in range(100)]
        assert len(np.unique(np.concatenate(labels))) == registry.scenes()[task].classes


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=15, deadline=None)
@given(st.lists(indices, min_size=1, max_size=4), st.sampled_from(LOADED), st.sampled_from(SIZES))
def test_a_scene_is_the_same_in_any_order_and_after_pickling(task, chosen, split, shape):
    drawn = small(task, split, *shape)
    again = pickle.loads(pickle.dumps(small(task, split, *shape)))
    first = [drawn.sample(index) for index in chosen]
    images, labels = next(again.batches(len(chosen), np.array(chosen[::-1])))
    for (image, label), other_image, other_label in zip(
        first, images[::-1], labels[::-1], strict=True
    ):
        np.testing.assert_array_equal(image, other_image)
        np.testing.assert_array_equal(label, other_label)
        assert image.dtype == np.uint8
        assert image.shape == (*shape[0], shape[1])
        if task == "segmentation":
            assert label.shape == shape[0]


@pytest.mark.parametrize("task", TASKS)
def test_another_process_draws_the_same(task):
    code = (
        "import hashlib\nfrom int8gate import calibration_data\n"
        f"drawn = calibration_data.load({task!r}, 'evaluation', (64, 64), 3)\n"
        "content = b''.join(drawn.sample(i)[0].tobytes() for i in (7, 0, 1999))\n"
        "print(hashlib.sha256(content).hexdigest(), drawn.digest())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    drawn = small(task, "evaluation", (64, 64), 3)
    content = b"".join(drawn.sample(index)[0].tobytes() for index in (7, 0, 1999))
    assert found.stdout.split() == [hashlib.sha256(content).hexdigest(), drawn.digest()]


@pytest.mark.parametrize("task", TASKS)
def test_scenes_hold_the_same_at_every_size(task):
    """The same digit, of about the same share of the scene; its place may differ."""
    for split in LOADED:
        sets = [small(task, split, *shape) for shape in SIZES]
        for index in range(0, 300, 15):
            labels = [drawn.sample(index)[1] for drawn in sets]
            assert len({tuple(np.unique(label)) for label in labels}) == 1, (split, index)
            shares = [np.mean(label) for label in labels]
            assert max(shares) <= 2.5 * min(shares), (split, index)


def test_different_scenes_differ():
    for task in TASKS:
        for split in LOADED:
            drawn = small(task, split)
            assert len({drawn.image(index).tobytes() for index in range(120)}) == 120


@pytest.mark.parametrize("task", TASKS)
def test_digest_names_the_set(task, scenes):
    style = replace(scenes.STYLES[task], contrast=(123, 124))
    different = [
        scenes.DigitScenes(*parameters)
        for parameters in (
            (task, "calibration", (64, 64), 1, 300),
            (task, "calibration", (64, 64), 1, 301),
            (task, "calibration", (64, 64), 3, 300),
            (task, "calibration", (64, 80), 1, 300),
            (task, "calibration", (80, 64), 1, 300),
            (task, "evaluation", (64, 64), 1, 300),
            (task, "train", (64, 64), 1, 300),
            (task, "calibration", (64, 64), 1, 300, style),
            (({*TASKS} - {task}).pop(), "calibration", (64, 64), 1, 300),
        )
    ]
    assert len({drawn.digest() for drawn in different}) == len(different)
    assert len({*different}) == len(different)
    same = scenes.DigitScenes(task, "calibration", (64, 64), 1, 300, scenes.STYLES[task])
    assert same == different[0] == pickle.loads(pickle.dumps(same))
