"""Which gates a run asks for, read without loading what makes them.

A run gates the models of a TOML that `--zoo`, a test path or the repository's own settings name.
In int8gate's own repository a run gates the zoo, but with `--zoo FILE` the models of that file.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

BUILT_IN = "builtin"  # what `--zoo` takes to add the zoo's models in another repository
GATES = Path(__file__).with_name("gates.py")
ZOO_TESTS = GATES.parents[2] / "tests" / "zoo"  # in int8gate's own repository
PYPROJECT = "pyproject.toml"
PLUGINS = {"plugins"}  # a `pyproject.toml` of these alone declares no models
OF_GATES = ("case", "artifacts", "baseline", "update_baseline", "gate_compare_fail")


@dataclass(frozen=True)
class Requested:
    """What a run gates: the models of `files`, absolute paths; those of the zoo, collected from
    `GATES` in another repository, `is_checkout` False, and from `tests/zoo/` in int8gate's own.
    """

    files: tuple[Path, ...]
    zoo: bool
    is_checkout: bool


REQUESTED = pytest.StashKey[Requested | None]()


def requested_by(config: pytest.Config) -> Requested:
    """What a run asks for whose gates are collected: without gates no other hook is registered."""
    found = config.stash[REQUESTED]
    assert found is not None
    return found


def requested_gates(config: pytest.Config, chosen: argparse.Namespace) -> Requested | None:
    """From the options and paths of a command line; None where nothing asks for a gate."""
    here = config.invocation_params.dir
    is_checkout = _is_checkout(config)
    named = [_path(here, arg.partition("::")[0]) for arg in chosen.file_or_dir]
    listed = chosen.int8_zoo or []
    files = [
        file for name in listed if name != BUILT_IN for file in _with_listed(_path(here, name))
    ]
    files += [path for path in named if path.suffix == ".toml" and _declares(path)]
    if not files and not listed:
        settings = config.rootpath / PYPROJECT
        files = _with_listed(settings) if _declares(settings) else []
        if named and not chosen.int8_case:  # then nothing else is wanted
            files = [file for file in files if any(file.is_relative_to(path) for path in named)]
    zoo = BUILT_IN in listed or GATES in named or (is_checkout and not listed)
    return Requested(tuple(dict.fromkeys(files)), zoo, is_checkout) if files or zoo else None


def refuse_without_models(config: pytest.Config, chosen: argparse.Namespace) -> None:
    """Raises UsageError for options that have no meaning without gates where none can be.

    Not where a repository declares models and its own tests alone are named.
    """
    given = [name for name in OF_GATES if getattr(chosen, f"int8_{name}")]
    if given and not _declares(config.rootpath / PYPROJECT):
        raise pytest.UsageError(
            f"--int8-{given[0].replace('_', '-')}: this run has no model to gate: add --int8-zoo "
            f"FILE, the TOML that declares it, or [tool.int8gate] to {config.rootpath / PYPROJECT}"
        )


def _is_checkout(config: pytest.Config) -> bool:
    """Whether pytest was started in int8gate's own repository, wherever its settings were found."""
    places = (config.rootpath, config.invocation_params.dir)
    return any((place / "tests" / "zoo" / "test_gates.py").is_file() for place in places)


def _path(folder: Path, name: str) -> Path:
    """Absolute, without links followed: as pytest has it."""
    return Path(os.path.abspath(folder / name))


def _with_listed(file: Path) -> list[Path]:
    """The file; of a `pyproject.toml` the files that it lists, and itself for its own tables."""
    settings = _settings(file) if file.name == PYPROJECT else None
    if not isinstance(settings, dict):
        return [file]
    zoo = settings.get("zoo")
    if not isinstance(zoo, list) or not all(isinstance(name, str) for name in zoo):
        return [file]
    listed = [_path(file.parent, name) for name in zoo]
    return [*listed, file] if settings.keys() - {"zoo", *PLUGINS} or not listed else listed


def _declares(file: Path) -> bool:
    """Whether a TOML declares models, or should: what is wrong in it is told later."""
    if file.name == PYPROJECT:
        settings = _settings(file)
        return settings is not None and (not isinstance(settings, dict) or set(settings) != PLUGINS)
    return isinstance(_content(file).get("models"), dict)


def _settings(file: Path):
    tool = _content(file).get("tool")
    return tool.get("int8gate") if isinstance(tool, dict) else None


def _content(file: Path) -> dict:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
