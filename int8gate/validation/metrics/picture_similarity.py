"""How close a restored picture is to the real one: PSNR and SSIM as super-resolution scores them.

The field's protocol (Timofte et al. 2013; Dong et al. 2016): luminance 0..255, the restored picture
clipped and rounded to whole grey levels, a border of `SCALE` pixels left out, the mean over
pictures. Chance is bicubic enlargement: a network no better than it is worth nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from int8gate.calibration_data.synthetic.super_resolution import SCALE, degrade, enlarge
from int8gate.runtimes.not_finite import refuse_not_finite
from int8gate.validation.metrics.registry import Metric

PEAK = 255
LEAST_LOSS = 1e-6  # of losing a picture that was restored no better than by a flat grey


def psnr(restored: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal to noise ratio in dB of pictures (h, w), grey levels.

    An exact picture scores as one with a single pixel off by one level: infinity has no mean.
    """
    error = np.square(restored.astype(np.float64) - truth).mean()
    return float(10 * np.log10(PEAK**2 / max(error, 1 / truth.size)))


def ssim(restored: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity of pictures (h, w), -1..1, with the settings of its paper.

    Wang et al. 2004, doi:10.1109/TIP.2003.819861: a Gaussian window of 1.5 pixels.
    """
    from skimage.metrics import structural_similarity

    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pictures = (restored.astype(np.float64), truth.astype(np.float64))
    return float(structural_similarity(*pictures, data_range=PEAK, **settings))


Similarity = Callable[[np.ndarray, np.ndarray], float]


def _statistics(similarity: Similarity, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Outputs and labels (n, h, w, 1), grey levels, to rows (similarity, that of flat grey, 1)."""
    if outputs.shape != labels.shape or labels.shape[-1:] != (1,):
        raise ValueError(
            f"outputs {outputs.shape} do not fit labels {labels.shape}: both are (n, h, w, 1), "
            "the large picture's luminance"
        )
    refuse_not_finite(outputs)
    restored = _inner(np.rint(np.clip(outputs, 0, PEAK)))
    truth = _inner(labels)
    blind = [np.full_like(picture, round(picture.mean())) for picture in truth]
    rows = [
        (similarity(own, real), similarity(flat, real), 1.0)
        for own, flat, real in zip(restored, blind, truth, strict=True)
    ]
    return np.array(rows, np.float64).reshape(-1, 3)


def _inner(pictures: np.ndarray) -> np.ndarray:
    """(n, h, w, 1) to (n, h - 2 * SCALE, w - 2 * SCALE)."""
    return pictures[:, SCALE:-SCALE, SCALE:-SCALE, 0]


def _mean(statistics: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    totals = statistics.sum(axis=0) if weights is None else weights @ statistics
    if not np.all(totals[..., 2] > 0):
        raise ValueError("nothing to score: no sample has any weight")
    mean = totals[..., 0] / totals[..., 2]
    return float(mean) if np.ndim(mean) == 0 else mean


def _lost(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows as they are (no picture restores more), and with flat grey in each one's place."""
    own, blind, count = statistics.T
    wrong = np.minimum(blind, own - LEAST_LOSS * count)
    return statistics, np.stack([wrong, blind, count], axis=1)


def _bicubic_statistics(similarity: Similarity, labels: np.ndarray, width: int) -> np.ndarray:
    enlarged = np.stack([enlarge(degrade(label)) for label in labels])
    return _statistics(similarity, enlarged, labels)


def _bicubic(similarity: Similarity, labels: np.ndarray) -> float:
    return float(_mean(_bicubic_statistics(similarity, labels, 3)))


def _metric(similarity: Similarity, unit: str) -> Metric:
    return Metric(
        similarity.__name__,
        partial(_statistics, similarity),
        _mean,
        partial(_bicubic, similarity),
        _lost,
        unit=unit,
        baseline="bicubic",
        baseline_statistics=partial(_bicubic_statistics, similarity),
    )


PSNR = _metric(psnr, "dB")
SSIM = _metric(ssim, "fraction")
