"""How far a quantized model's answers are from the float model's, sample by sample, with intervals.

A task names such comparisons (`Task.to_float`): functions of both models' decoded outputs (n, ...)
that give a row for each sample, (sum, count). Their mean is recorded with a two-sided 95% interval,
the Bayesian bootstrap over sources (Rubin 1981, Annals of Statistics 9(1)); it gates nothing.

    kl_divergence     nats a token by which the quantized model's probabilities diverge from those
                      of float, KL(float || quantized)
    same_next_token   the share of tokens at which both find the same one likeliest
    picture_psnr      dB of peak signal to noise of one's picture against the other's, the mean over
                      pictures, of 256 grey levels
    picture_ssim      their structural similarity, the mean over channels and pictures
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from int8gate.validation.metrics.perplexity import log_probabilities
from int8gate.validation.metrics.picture_similarity import PEAK, Similarity, psnr, ssim

RESAMPLES = 1999
INTERVAL = 0.025, 0.975


@dataclass(frozen=True)
class Distance:
    """A mean and the ends of its 95% interval, on so many samples."""

    value: float
    lower_95: float
    upper_95: float
    samples: int


def kl_divergence(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Logits (n, length, vocabulary) of both models to rows (n, 2): nats, and tokens."""
    real, quantized = log_probabilities(wanted), log_probabilities(found)
    nats = (np.exp(real) * (real - quantized)).sum(axis=-1)
    return np.stack([nats.sum(axis=1), np.full(len(nats), nats.shape[1])], axis=1)


def same_next_token(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Logits (n, length, vocabulary) of both models to rows (n, 2): equal answers, and tokens."""
    same = wanted.argmax(axis=-1) == found.argmax(axis=-1)
    return np.stack([same.sum(axis=1), np.full(len(same), same.shape[1])], axis=1).astype(float)


def picture_psnr(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Pictures (n, h, w, channels) in 0..1 of both models to rows (n, 2): dB, and 1."""
    return _similar(psnr, wanted, found)


def picture_ssim(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Pictures (n, h, w, channels) in 0..1 of both models to rows (n, 2): SSIM, and 1."""
    return _similar(ssim, wanted, found)


def _similar(similarity: Similarity, wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    if wanted.shape != found.shape or wanted.ndim != 4:
        raise ValueError(
            f"outputs {found.shape} and those of float {wanted.shape} are not pictures of one "
            "shape, (n, h, w, channels)"
        )
    real, quantized = (np.rint(np.clip(each, 0, 1) * PEAK) for each in (wanted, found))
    means = [
        np.mean([similarity(one[..., c], other[..., c]) for c in range(one.shape[-1])])
        for one, other in zip(quantized, real, strict=True)
    ]
    return np.stack([means, np.ones(len(means))], axis=1)


def distance(rows: np.ndarray, sources: np.ndarray, seed: int = 0) -> dict:
    """The `Distance` of rows (n, 2) as a plain mapping; samples of a source (n,) count together."""
    _, unit = np.unique(sources, return_inverse=True)
    sums = np.zeros((unit.max() + 1, 2))
    np.add.at(sums, unit, rows)
    weights = np.random.default_rng(seed).exponential(size=(RESAMPLES, len(sums)))
    totals = weights @ sums
    low, high = np.quantile(totals[:, 0] / totals[:, 1], INTERVAL)
    value = rows[:, 0].sum() / rows[:, 1].sum()
    return asdict(Distance(float(value), float(low), float(high), len(rows)))
