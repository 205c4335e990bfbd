"""What the command line chose, made once and handed down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from int8gate.quantizers.training.training_schedule import DEFAULT_BUDGET_S


@dataclass(frozen=True)
class Settings:
    """Settings of a run. Times in seconds, memory in bytes.

    `train_labels`: a training learns from labels, too. `trust`: code in a user's own model files
    may run (Keras's Lambda, pickles in a .pt2).
    """

    profile: str = "compact"
    weights_dir: Path | None = None
    random_weights: bool = False
    data_dir: Path | None = None
    min_calibration_samples: int = 100
    stage_timeout_s: float = 900
    calibration_jobs: int = 1
    train_budget_s: float = DEFAULT_BUDGET_S
    train_labels: bool = False
    seed: int = 0
    trust: bool = False
