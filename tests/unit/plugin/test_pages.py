"""`docs/adding.md` and `CONTRIBUTING.md` are true: what they print is written down and run."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import team_repository
from tiny_run import ROOMS, ROOT, environment

ADDING, CONTRIBUTING = ROOT / "docs" / "adding.md", ROOT / "CONTRIBUTING.md"
FILE = re.compile(r"^`(?P<name>[\w.]+)`:\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"^## (?P<title>.*?)\n(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
SECTIONS = {found["title"]: found["text"] for found in SECTION.finditer(ADDING.read_text())}


def run(command: str, folder: Path, **variables: str) -> str:
    """What a command line of a page prints, as a shell runs it; it must end with 0."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment() | {"PATH": path} | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def commands_of(text: str) -> list[str]:
    return [line for block in COMMANDS.findall(text) for line in block.splitlines()]


@pytest.fixture(scope="module")
def team(tmp_path_factory) -> Path:
    """The repository that the page speaks of, with every file that it shows."""
    folder = team_repository.write(tmp_path_factory.mktemp("team"), with_head=True)
    for name in ("models.toml", "test_own.py"):
        (folder / name).unlink()
    for found in FILE.finditer(ADDING.read_text()):
        (folder / found["name"]).write_text(found["text"])
    return folder


def test_the_examples_are_those_of_the_page():
    shown = {found["name"]: found["text"] for found in FILE.finditer(ADDING.read_text())}
    examples = {file.name: file.read_text() for file in (ROOT / "examples/adding").iterdir()}
    assert examples == shown


def test_the_page_shows_each_addition():
    assert list(SECTIONS) == ["A model", "A recipe", "A metric", "A target", "A task"]


@pytest.mark.parametrize("title", SECTIONS)
def test_what_the_page_adds_is_gated(title, team):
    options = f"-rA -p no:cacheprovider --artifact-cache={team}/cache"
    for command in commands_of(SECTIONS[title]):
        shown = run(command, team, PYTEST_ADDOPTS=options)
        assert re.search(r"^=.* \d+ passed", shown, re.MULTILINE), shown
        for gate in re.findall(r"`(\S+\.toml::\S+)`", SECTIONS[title]):
            assert f"PASSED {gate}\n" in shown


def test_the_files_and_folders_that_the_pages_name_are_there():
    for page in (ADDING, CONTRIBUTING):
        named = re.findall(r"`([\w/.]+/[\w.]*)`", page.read_text())
        absent = [name for name in named if "pictures" not in name and not (ROOT / name).exists()]
        assert not absent, page


def test_the_map_is_that_of_the_rooms():
    rows = re.findall(r"^\| `(\w+)` \| `([\w/]+)/` \|", CONTRIBUTING.read_text(), re.MULTILINE)
    floors = runpy.run_path(str(ROOT / "tests/unit/engine/test_rooms.py"))["FLOORS"]
    assert tuple(room for room, _ in rows) == floors
    for room, folder in rows:
        inside = ROOMS.get(f"int8gate.{room}", ROOT / "int8gate" / room)
        assert (ROOT / folder).samefile(inside)


def test_what_to_do_before_a_push_works():
    commands = commands_of(CONTRIBUTING.read_text())
    assert len(commands) > 3
    for command in commands:
        run(command, ROOT)
