"""Command lines: the short names of int8gate's options, and what pytest takes for a test path.

An option registered under a short name would take it from a conftest.py or a plugin that comes
later. So only `--int8-report` is registered, and `--report` is put into these words where pytest
would not know it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

PREFIX = "--int8-"
SETTINGS = ("pyproject.toml", "pytest.toml", "pytest.ini", "tox.ini", "setup.cfg")


def short_names(parser: pytest.Parser, group: str) -> dict[str, str]:
    """The registered name for each short one: `{"--report": "--int8-report"}`."""
    options = parser.getgroup(group).options
    return {f"--{name.removeprefix(PREFIX)}": name for found in options for name in found.names()}


def translated(args: Iterable[str], parser: pytest.Parser, names: dict[str, str]) -> list[str]:
    """The command line with `--int8-` before the short names that nobody else has registered.

    What follows `--` is left as it is. A file of arguments (`@FILE`) is replaced by its lines.
    """
    read = iter(list(_with_files(args)))
    done: list[str] = []
    for arg in read:
        if arg == "--":
            return [*done, arg, *read]
        name, equals, value = arg.partition("=")
        if name in names and not is_known(parser, name):
            arg = f"{names[name]}{equals}{value}"
        done.append(arg)
    return done


def is_known(parser: pytest.Parser, name: str) -> bool:
    """Whether an option of that name is registered so far."""
    try:
        return parser.parse_known_and_unknown_args([name])[1] != [name]
    except pytest.UsageError:  # known, and in want of a value
        return True


def look_for_conftests_too(
    config: pytest.Config, parser: pytest.Parser, args: list[str], names: dict[str, str]
) -> None:
    """Lets pytest look for conftest.py files where it would without the values of short options.

    In `--report DIR` it takes DIR for the only test path, and leaves out the conftest.py files of
    the folders that it collects from, in which options are declared.
    """
    known = config.known_args_namespace
    try:
        read = parser.parse_known_args(translated(args, parser, names))
    except pytest.UsageError:  # a conftest.py will have the option, or pytest says what is wrong
        return
    if known.file_or_dir and not read.file_or_dir:
        usual = config.getini("testpaths") or ["."]
        known.file_or_dir = [*known.file_or_dir, *usual]


def refuse_hidden_settings(config: pytest.Config) -> None:
    """Raises UsageError for a command line that hides the project's settings from pytest.

    pytest takes an existing directory after a space for a test path, before it knows the options,
    and looks for the settings there.
    """
    given = config.invocation_params
    folders = (given.dir, *given.dir.parents)
    paths = (folder / name for folder in folders for name in SETTINGS)
    settings = next((path for path in paths if path.is_file()), None)
    if settings is None or (config.inipath and config.inipath.parent == settings.parent):
        return
    pairs = zip(given.args, given.args[1:], strict=False)
    if hiding := [name for name, value in pairs if _leads_away(config, name, value)]:
        raise pytest.UsageError(
            f"write {' '.join(f'{name}=DIR' for name in hiding)}, with an equals sign: pytest took "
            f"the directory for a test path and did not read {settings}"
        )


def _leads_away(config: pytest.Config, name: str, value: str) -> bool:
    """Whether an option of int8gate has this value, a directory somewhere else."""
    here = config.invocation_params.dir
    destination = f"int8_{name.removeprefix(PREFIX).removeprefix('--').replace('-', '_')}"
    is_ours = str(getattr(config.option, destination, None)) == value
    return is_ours and (here / value).is_dir() and not (here / value).is_relative_to(here)


def _with_files(args: Iterable[str]) -> Iterator[str]:
    """As pytest reads them: `@FILE` stands for the lines of a file."""
    for arg in args:
        try:
            lines = Path(arg[1:]).read_text().splitlines() if arg.startswith("@") else None
        except (OSError, UnicodeDecodeError):  # pytest says what is wrong with it
            lines = None
        if lines is None:
            yield arg
        else:
            yield from _with_files(lines)
