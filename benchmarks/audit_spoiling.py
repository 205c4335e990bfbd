"""Faults that calibration sets have, each with the kind of finding that should name it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from benchmarks import audit_material as material
from int8gate.calibration_data.audit import AuditSet

Pair = tuple[AuditSet, AuditSet | None]
SHARE = 0.15  # of the samples that are spoiled, where not all are
PHOTOGRAPHED = ("photographs", "classification", "segmentation", "detection", "helmets", "pose")


@dataclass(frozen=True)
class Spoiling:
    """`spoil` takes (rng, calibration, evaluation) and returns both, the first of them spoiled."""

    name: str
    kind: str
    spoil: Callable[..., Pair]
    fits: Callable[[material.Pool], bool] = lambda pool: True
    options: dict = field(default_factory=lambda: {"minimum": 1})


def _colour(pool) -> bool:
    return pool.calibration.shape[-1] == 3


def _labelled(pool) -> bool:
    return pool.labels is not None


def _pictured(one: AuditSet, pictures: np.ndarray) -> AuditSet:
    return material.with_inputs(replace(one, pictures=pictures, inputs=None))


def _replaced(rng, change, calibration, evaluation, share=SHARE) -> Pair:
    """A share of the samples are, in place of themselves, another sample changed."""
    pictures = calibration.pictures.copy()
    count = max(4, round(share * len(pictures)))
    rows = rng.permutation(len(pictures))[: 2 * count]
    for row, copied in zip(rows[:count], rows[count:], strict=True):
        pictures[row] = change(rng, pictures[copied])
    return _pictured(calibration, pictures), evaluation


def _replacing(change) -> Callable[..., Pair]:
    return lambda rng, calibration, evaluation: _replaced(rng, change, calibration, evaluation)


def _mixed(rng, picture):
    changes = (material.flip, material.crop, material.relight, material.shift)
    for change in rng.permutation(changes)[:2]:
        picture = change(rng, picture)
    return picture


def _all(change) -> Callable[..., Pair]:
    return lambda rng, calibration, evaluation: (
        _pictured(calibration, np.stack([change(rng, p) for p in calibration.pictures])),
        evaluation,
    )


def _noise(kind: str, share: float, calibration_only_inputs: bool, rng, calibration, evaluation):
    pictures = calibration.pictures.copy()
    rows = rng.permutation(len(pictures))[: max(3, round(share * len(pictures)))]
    shape = (len(rows), *pictures.shape[1:])
    pictures[rows] = material.random_pictures(rng, kind, shape)
    spoiled = _pictured(calibration, pictures)
    return (replace(spoiled, pictures=None) if calibration_only_inputs else spoiled), evaluation


def _shared(rng, change, share, calibration, evaluation) -> Pair:
    pictures = calibration.pictures.copy()
    count = max(3, round(share * len(pictures)))
    rows = rng.permutation(len(pictures))[:count]
    scored = rng.permutation(len(evaluation))[:count]
    for row, copied in zip(rows, scored, strict=False):
        pictures[row] = change(rng, evaluation.pictures[copied])
    return _pictured(calibration, pictures), evaluation


def _sharing(change, share=SHARE) -> Callable[..., Pair]:
    return lambda rng, calibration, evaluation: _shared(rng, change, share, calibration, evaluation)


def _classes(keep: Callable, rng, calibration, evaluation) -> Pair:
    rows = keep(rng, calibration.labels)
    labels = calibration.labels[rows]
    return (
        AuditSet(calibration.pictures[rows], calibration.inputs[rows], labels),
        replace(evaluation, labels=None),
    )


def _without_three(rng, labels):
    return np.flatnonzero(~np.isin(labels, rng.permutation(10)[:3]))


def _half_of_one(rng, labels):
    """Samples of one class come again and again, until they are half."""
    of_one = np.flatnonzero(labels == rng.integers(10))
    return np.concatenate([np.arange(len(labels)), rng.choice(of_one, len(labels))])


def _one_alone(rng, labels):
    return np.flatnonzero(labels == rng.integers(10))


def _inputs(change, evaluate=None, keep_pictures=False) -> Callable[..., Pair]:
    """Inputs are `change` of the pixels; evaluation's are `evaluate`, or -1..1."""

    def spoil(rng, calibration, evaluation):
        found = []
        for one, how in ((calibration, change), (evaluation, evaluate)):
            inputs = one.inputs if how is None else how(one.pictures.astype(np.float32))
            pictures = one.pictures if keep_pictures else None
            found.append(AuditSet(pictures, inputs.astype(np.float32)))
        return tuple(found)

    return spoil


IMAGENET = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def _imagenet(pixels):
    return (pixels / 255 - IMAGENET[0]) / IMAGENET[1]


def _halved(change):
    """Resized after scaling: no value is a whole grey level any more."""

    def apply(pixels):
        count, height, width, channels = pixels.shape
        cut = change(pixels)[:, : height // 2 * 2, : width // 2 * 2]
        return cut.reshape(count, height // 2, 2, width // 2, 2, channels).mean((2, 4))

    return apply


def _values(value, rng, calibration, evaluation) -> Pair:
    inputs = calibration.inputs.copy()
    inputs[rng.integers(len(inputs))].flat[rng.integers(inputs[0].size)] = value
    return replace(calibration, inputs=inputs), evaluation


def _few(rng, calibration, evaluation) -> Pair:
    count = int(rng.integers(1, 100))
    return AuditSet(calibration.pictures[:count], calibration.inputs[:count]), evaluation


def _blank(rng, picture):
    return np.full_like(picture, rng.integers(256))


def _other_content(rng, calibration, evaluation) -> Pair:
    pictures = material.digits(32).calibration
    pictures = pictures[rng.permutation(len(pictures))[: len(calibration)]]
    size = calibration.pictures.shape[1:3]
    large = np.stack([material.resized(picture, size) for picture in pictures])
    return _pictured(
        AuditSet(large), np.repeat(large, calibration.pictures.shape[-1], -1)
    ), evaluation


def _swapped_file(rng, calibration, evaluation) -> Pair:
    return _pictured(calibration, calibration.pictures[..., ::-1]), evaluation


def _to_unit(pixels):
    return pixels / 255


def _to_signed(pixels):
    return pixels / 127.5 - 1


SPOILINGS = (
    Spoiling("1..99 samples", "too_few_samples", _few, options={}),
    Spoiling(
        "3 of 10 classes left out",
        "missing_classes",
        partial(_classes, _without_three),
        _labelled,
        {"minimum": 1, "classes": 10},
    ),
    Spoiling(
        "half of one class",
        "unbalanced_classes",
        partial(_classes, _half_of_one),
        _labelled,
        {"minimum": 1, "classes": 10},
    ),
    Spoiling(
        "one class alone",
        "one_class",
        partial(_classes, _one_alone),
        _labelled,
        {"minimum": 1, "classes": 10},
    ),
    *(
        Spoiling(
            f"noise, {kind}, {share:.0%}{', inputs alone' * alone}",
            "random_noise",
            partial(_noise, kind, share, alone),
        )
        for kind in ("uniform", "gaussian", "few levels", "per channel")
        for share, alone in ((0.1, False), (1.0, False), (1.0, True))
    ),
    *(
        Spoiling(f"augmented: {name}", "augmented_samples", _replacing(change))
        for name, change in {
            "flips": material.flip,
            "crops": material.crop,
            "shifts": material.shift,
            "brightness and contrast": material.relight,
            "quarter turns": material.turn,
            "two of these": _mixed,
        }.items()
    ),
    Spoiling("copies", "exact_duplicates", _replacing(lambda rng, p: p)),
    Spoiling("re-encoded copies", "near_duplicates", _replacing(material.encode)),
    Spoiling("rescaled copies", "near_duplicates", _replacing(material.rescale)),
    Spoiling("noisy copies", "near_duplicates", _replacing(material.add_noise)),
    Spoiling("overlap, 3 samples or 2%", "evaluation_overlap", _sharing(lambda rng, p: p, 0.02)),
    Spoiling("overlap, re-encoded", "evaluation_near_overlap", _sharing(material.encode)),
    Spoiling("overlap, rescaled", "evaluation_near_overlap", _sharing(material.rescale)),
    Spoiling("overlap, flipped", "evaluation_near_overlap", _sharing(material.flip)),
    Spoiling("overlap, cropped", "evaluation_near_overlap", _sharing(material.crop)),
    Spoiling("0..255 for -1..1", "input_scale", _inputs(lambda x: x)),
    Spoiling("0..255 for 0..1", "input_scale", _inputs(lambda x: x, _to_unit)),
    Spoiling("0..1 for -1..1", "input_scale", _inputs(_to_unit)),
    Spoiling(
        "0..1 for -1..1, resized after",
        "input_scale",
        _inputs(_halved(_to_unit), _halved(_to_signed)),
    ),
    Spoiling(
        "0..255 for 0..1, resized after",
        "input_scale",
        _inputs(_halved(lambda x: x), _halved(_to_unit)),
    ),
    Spoiling(
        "another standard deviation",
        "input_scale",
        _inputs(lambda x: (x / 255 - IMAGENET[0]) / 0.226, _imagenet),
        _colour,
    ),
    Spoiling(
        "no mean subtracted",
        "input_mean",
        _inputs(lambda x: x / 255 / IMAGENET[1], _imagenet),
        _colour,
    ),
    Spoiling("mean 127 for 127.5", "input_mean", _inputs(lambda x: (x - 127) / 127.5)),
    Spoiling(
        "declared 0..1, given -1..1",
        "input_range",
        _inputs(_to_signed),
        options={"minimum": 1, "value_range": (0, 1)},
    ),
    Spoiling(
        "declared 0..255, given 0..1",
        "input_range",
        _inputs(_to_unit),
        options={"minimum": 1, "value_range": (0, 255)},
    ),
    Spoiling(
        "BGR, pictures given",
        "channel_order",
        _inputs(lambda x: _to_signed(x)[..., ::-1], keep_pictures=True),
        _colour,
    ),
    Spoiling(
        "BGR, inputs alone",
        "channel_order",
        _inputs(lambda x: _to_signed(x)[..., ::-1]),
        lambda pool: pool.name in PHOTOGRAPHED,
    ),
    Spoiling(
        "BGR, pictures decoded so",
        "channel_order",
        _swapped_file,
        lambda pool: pool.name in PHOTOGRAPHED,
    ),
    Spoiling(
        "NCHW for NHWC",
        "wrong_layout",
        _inputs(lambda x: _to_signed(x).transpose(0, 3, 1, 2)),
        _colour,
    ),
    Spoiling(
        "NHWC reshaped to NCHW",
        "wrong_layout",
        _inputs(lambda x: x.reshape(len(x), 3, *x.shape[1:3]), lambda x: x.transpose(0, 3, 1, 2)),
        _colour,
    ),
    Spoiling(
        "NCHW reshaped to NHWC",
        "wrong_layout",
        _inputs(lambda x: x.transpose(0, 3, 1, 2).reshape(x.shape)),
        _colour,
    ),
    *(
        Spoiling(
            f"domain: {name}",
            "inverted_pictures" if name == "negative" else "domain_mismatch",
            _all(change),
            _colour if name == "grey" else lambda pool: True,
        )
        for name, change in material.DOMAINS.items()
    ),
    Spoiling(
        "domain: digits for scenes",
        "domain_mismatch",
        _other_content,
        lambda pool: pool.name != "digits",
    ),
    Spoiling("a NaN", "not_finite", partial(_values, np.nan)),
    Spoiling("an infinity", "not_finite", partial(_values, -np.inf)),
    Spoiling("blank pictures", "constant_pictures", _replacing(_blank)),
)
