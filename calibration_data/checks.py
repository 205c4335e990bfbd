"""What a calibration set must satisfy before a converter sees it."""

from __future__ import annotations

import numpy as np

MINIMUM_SAMPLES = 100
RANGE_MARGIN = 0.01  # of the declared range: so much beyond it, and so little of it, is wrong


def check_calibration(
    samples: np.ndarray,
    name: str,
    shape: tuple[int, ...],
    value_range: tuple[float, float] | None,
    minimum: int = MINIMUM_SAMPLES,
) -> None:
    """Raises ValueError naming the first thing wrong with preprocessed samples (n, h, w, channels).

    `shape` is one sample's. `value_range` is what pixels 0 and 255 become, None of arrays: values
    outside it mean another preprocessing, a sliver of it constant pictures or a preprocessing done
    twice. Infinities must never reach TensorFlow's converter: it segfaults on -inf (tensorflow
    issue 120295).
    """
    if len(samples) < max(1, minimum):
        raise ValueError(
            f"calibration set for {name} has {len(samples)} samples; static quantization needs at "
            f"least {minimum}: add samples or pass --min-calibration-samples {len(samples)}"
        )
    if samples.shape[1:] != tuple(shape):
        raise ValueError(
            f"calibration set for {name} has samples of shape {samples.shape[1:]}, the network "
            f"takes {tuple(shape)}: resize the pictures or mend the declaration"
        )
    extremes = np.array([(sample.min(), sample.max()) for sample in samples])
    finite = np.isfinite(extremes).all(axis=1)
    if not finite.all():
        first = int(np.flatnonzero(~finite)[0])
        values = samples[first][~np.isfinite(samples[first])]
        raise ValueError(
            f"calibration set for {name}: sample {first} holds {values[0]} ({(~finite).sum()} of "
            f"{len(samples)} samples are not finite): remove them, converters crash on them"
        )
    if value_range is None:
        return
    low, high = value_range
    margin = RANGE_MARGIN * (high - low)
    least, most = extremes.min(), extremes.max()
    if least < low - margin or most > high + margin:
        raise ValueError(
            f"calibration set for {name} spans {least:g}..{most:g}, its preprocessing gives "
            f"{low:g}..{high:g}: the samples were not preprocessed as inference does"
        )
    if most - least < margin:
        raise ValueError(
            f"calibration set for {name} spans only {least:g}..{most:g} of the {low:g}..{high:g} "
            "that its preprocessing gives: constant pictures, or preprocessed twice: use real "
            "samples"
        )
