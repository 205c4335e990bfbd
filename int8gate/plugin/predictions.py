"""What each sample scored, kept beside a report or a saved run for comparisons in pairs."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from int8gate.validation.case_summary import PREDICTIONS

COMPARED_BY = (
    "int8_baseline",
    "int8_update_baseline",
    "int8_gate_compare_fail",
)
SAVING = ("benchmark_autosave", "benchmark_save")


def predictions_folders(config: pytest.Config) -> list[Path]:
    """Where this run keeps what each sample scored; none where nothing will ask for it."""
    report = config.getoption("int8_report")
    beside_runs = saves(config) or (is_compared(config) and not report)
    return [
        *([report / PREDICTIONS] if report else []),
        *([runs_folder(config) / PREDICTIONS] if beside_runs else []),
    ]


def is_compared(config: pytest.Config) -> bool:
    """Whether the run is to be compared with accepted results or with an earlier run."""
    return any(config.getoption(name) for name in COMPARED_BY)


def runs_folder(config: pytest.Config) -> Path:
    """Where runs are saved, see `validation/comparing/history.py`."""
    return config.rootpath / config.option.int8_runs


def saves(config: pytest.Config) -> bool:
    """Whether the run is to be saved: pytest-benchmark's options, which then save both."""
    return any(config.getoption(name, None) for name in SAVING)


def store_predictions(config: pytest.Config, run, case: str, accuracy: dict) -> None:
    """Keeps the scores by sample of a case (its key) and of its float model, and names their files
    in `accuracy`.
    """
    folders = predictions_folders(config)
    if not folders:
        return
    from int8gate.validation.comparing.sample_scores import Predictions, store

    data = run.pipeline.data.known(run.spec, "evaluation").digest

    def scores(key: str, of) -> Predictions:
        rows, sources = of.statistics, of.sources
        return Predictions(key, accuracy["metric"], data, rows, sources, of.answers)

    kept = {"predictions": scores(case, run.evaluation)}
    if run.plan.has_float and not run.recipe.is_reference:
        of_float = case.removesuffix(run.recipe.name) + run.plan.toolchain.reference.name
        kept["float_predictions"] = scores(of_float, run.float_evaluation)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            accuracy |= {name: store(folder, each).sha256 for name, each in kept.items()}
        except OSError as error:
            warnings.warn(
                f"{case}: what each sample scored cannot be kept in {folder} ({error.strerror}): a "
                "comparison with this run will go by intervals",
                stacklevel=2,
            )
