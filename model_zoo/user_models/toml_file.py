"""Reads the TOML that declares a team's own models, and says what is wrong with it.

    [models.gadget]
    file = "gadget.onnx"
    task = "classification"
    data = "pictures"              # one folder for each class
    mean = [123.7, 116.3, 103.5]
    std = [58.4, 57.1, 57.4]

`toml_form.py` has the keys and their types. Paths are relative to the file. In a `pyproject.toml`
the tables stand under `tool.int8gate`. Only the TOML is read: the models are opened when a case of
theirs runs, in the worker process.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from int8gate.calibration_data.preprocessing import Hooked, Preprocessing, declared_preprocessing
from int8gate.engine.errors import on_a_line
from int8gate.engine.plugins import PYPROJECT, find_modules_in, load_plugins
from int8gate.engine.schema import Mistakes, checked
from int8gate.model_zoo.registry import model, zoo
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.user_models.declaration import SAVED_MODEL, OwnModel, Qat, format_of
from int8gate.model_zoo.user_models.toml_form import (
    Declarations,
    RecipeTable,
    Settings,
    Table,
)
from int8gate.tasks.registry import names

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # it stands in case ids, file names and -k
QAT_KEYS = {  # of a table qat, and what to add where one is missing
    "network": 'network = "module:function", which makes it as it was prepared for training',
    "checkpoint": 'checkpoint = "qat.pt", its state dict after training',
}
PATH_KEYS = {"file", "float_file", "data", "training_data"}
HEAD_OF = dict.fromkeys(("box_order", "box_unit", "background"), "corners") | {"blank": "ctc"}
NEEDED = {  # by heads that cannot do without
    "ctc": {
        "classes": 'the symbols in the order of the outputs, classes = ["a", "b", ...] or a file, '
        'classes = "characters.txt"',
        "blank": 'the end at which the outputs have it, blank = "first" (as in PyTorch and '
        'PaddleOCR) or blank = "last" (as in TensorFlow and Keras)',
    }
}
MOST_NAMES_BYTES = 10_000_000
FIT_KEYS = ("fit", "interpolation", "colours", "crop", "pad", "enlarge")
LEVEL_KEYS = ("mean", "std", "scale", "range", "preprocess")


def read_zoo(path: Path) -> list[OwnModel]:
    """The models that a TOML declares, in its order; those of a `pyproject.toml`, and of the files
    that `zoo` in it lists.

    Raises ValueError or FileNotFoundError naming the file, the table and the key.
    """
    path = Path(path)
    declared = _declarations(path) if path.is_file() else None
    listed = declared.zoo if isinstance(declared, Settings) else ()
    return [each for file in listed for each in read_zoo(path.parent / file)] + read_tables(path)


def read_pyproject(path: Path) -> list[OwnModel]:
    """As `read_zoo`, but nothing of a `pyproject.toml` that does not mention int8gate."""
    return read_zoo(path) if "int8gate" in _tools(path) else []


def read_tables(path: Path) -> list[OwnModel]:
    """The models of the tables [models.NAME] in one file, [tool.int8gate.models.NAME] in a
    `pyproject.toml`, without those of other files. Raises as `read_zoo` does, also for none.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"--zoo {path}: no such file: mend the path, or run `int8gate init`"
        )
    declared = _declarations(path)
    if not declared.models and not (isinstance(declared, Settings) and declared.zoo):
        raise ValueError(
            f"{path} declares no model: add a table [models.NAME], or run `int8gate init FILE`"
        )
    return [_model(name, table, path) for name, table in declared.models.items()]


def recipe_tables(path: Path) -> dict[str, tuple[str, RecipeTable]]:
    """The tables [recipes.NAME] of a file and of those that a `pyproject.toml` lists, by name, each
    with where it stands. Raises ValueError naming the file and what is wrong with it.
    """
    if not path.is_file():
        return {}
    declared, found = _declarations(path), {}
    for file in declared.zoo if isinstance(declared, Settings) else ():
        found |= recipe_tables(path.parent / file)
    for name, table in declared.recipes.items():
        where = f"{path}, [recipes.{on_a_line(name)}]"
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{where}: a name has letters, digits and underscores and begins with a letter: it "
                "stands in case ids and file names"
            )
        found[name] = where, table
    return found


def spec_of(name: str, file: Path | None) -> ModelSpec:
    """One model by name: of a TOML, else of the zoo, else of the `pyproject.toml` of this folder.

    Raises ValueError or OSError in a sentence where there is none.
    """
    from int8gate.model_zoo.user_models.resolve import declared_spec

    settings = Path(PYPROJECT)
    if file is None and (name in zoo() or not settings.is_file()):
        return model(name)
    declared = read_zoo(file) if file else read_pyproject(settings)
    own = {each.name: each for each in declared}
    if file is None and not own:
        return model(name)
    load_plugins(file or settings)
    find_modules_in((file or settings).absolute().parent)
    if name not in own:
        raise ValueError(
            f"{file or settings} declares no model {name}: it has {', '.join(own) or 'none'}"
        )
    return declared_spec(own[name])


def _declarations(path: Path) -> Declarations:
    form, content, where = Declarations, _read(path), str(path)
    if path.name == PYPROJECT:
        form, content = Settings, _tools(path).get("int8gate", {})
        where += ", [tool.int8gate]"
    try:
        return checked(form, content)
    except Mistakes as wrong:
        raise ValueError(f"{where}: {wrong.found[0]} (models are tables [models.NAME])") from None


def _tools(pyproject: Path) -> dict:
    tools = _read(pyproject).get("tool")
    return tools if isinstance(tools, dict) else {}


def _read(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no TOML ({error}): mend it there") from error


def _model(name: str, table: dict, path: Path) -> OwnModel:
    where = f"{path}, [models.{on_a_line(name)}]"
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{where}: a name has letters, digits and underscores and begins with a letter: it "
            "stands in case ids and file names"
        )
    given = _with_checkpoint(where, _checked(where, table))
    for key in PATH_KEYS & given.keys():  # relative to the TOML; links are left as they are
        given[key] = Path(os.path.abspath(path.parent / given[key]))
    files = _taken(given, ("file", "float_file"))
    trained, loss = None, None
    if declared := given.pop("qat", None):
        trained, loss = declared.get("network"), declared.get("loss")
        given |= {"qat": Qat(trained, files["file"]) if trained else None, "train_loss": loss}
    for key, file in files.items():
        key = "qat.checkpoint" if trained and key == "file" else key
        _check_file(where, key, file, is_checkpoint=key == "qat.checkpoint")
    if "signature" in given and (trained or SAVED_MODEL not in map(format_of, files.values())):
        raise ValueError(
            f"{where}: signature = {given['signature']!r:.60} is of a SavedModel, and "
            f"{files['file'].name} is none: leave the key out"
        )
    head = _head(where, given)
    classes = given.get("classes")
    if isinstance(classes, str):
        classes = _names_of(where, Path(os.path.abspath(path.parent / classes)))
    if isinstance(classes, tuple):
        given |= {"classes": len(classes), "class_names": classes}
    return OwnModel(
        name,
        where=where,
        head=head,
        fit={key.replace("fit", "kind"): value for key, value in _taken(given, FIT_KEYS).items()},
        preprocessing=_preprocessing(where, _taken(given, LEVEL_KEYS)),
        keys=tuple(table),
        **files,
        **given,
    )


def _with_checkpoint(where: str, given: dict) -> dict:
    """The keys with the checkpoint of a `qat` table as `file`, which it takes the place of."""
    table = given.get("qat")
    if table is None:
        return given
    parts = {key for key in ("network", "checkpoint") if key in table}
    if parts and "loss" in table:
        raise ValueError(
            f"{where}: qat: loss is to train a float file with, and network gives a trained one: "
            "leave one of them out"
        )
    if len(parts) == 1:
        missing = next(key for key in QAT_KEYS if key not in parts)
        raise ValueError(f"{where}: qat: {missing} is missing: add {QAT_KEYS[missing]}")
    if not parts:
        if "file" not in given:
            raise ValueError(f'{where}: file is missing: add file = "FILE", the model')
        return given
    if "file" in given:
        raise ValueError(
            f"{where}: file = {given['file']!r:.60} stands beside a table qat, whose network and "
            "checkpoint are the model: leave one of them out"
        )
    return {**given, "file": given["qat"]["checkpoint"]}


def _taken(given: dict, keys: Iterable[str]) -> dict:
    """Those of the keys that are given, which are so no longer."""
    return {key: given.pop(key) for key in keys if key in given}


def _head(where: str, given: dict) -> dict:
    """The keys of a known head, which `given` has no longer."""
    decode = given.get("decode")
    for key, meaning in NEEDED.get(decode, {}).items():
        if key not in given or isinstance(given[key], int):
            raise ValueError(f'{where}: decode = "{decode}" needs {key}: add {meaning}')
    head = _taken(given, HEAD_OF)
    for key in head:
        if decode != HEAD_OF[key]:
            raise ValueError(f'{where}: {key} is of decode = "{HEAD_OF[key]}": leave the key out')
    return head


def _names_of(where: str, file: Path) -> tuple[str, ...]:
    """The lines of a file: class names or symbols, of which a space is one."""
    told = f"{where}: classes: {on_a_line(str(file))}"
    try:
        if file.stat().st_size > MOST_NAMES_BYTES:
            raise ValueError(f"{told} has more than {MOST_NAMES_BYTES} bytes: shorten it")
        lines = file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except OSError as error:
        raise type(error)(f"{told} cannot be read ({error.strerror}): mend the path") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{told} is no text ({error}): save it in UTF-8") from error
    if not lines[-1]:
        lines.pop()
    seen: dict[str, int] = {}
    for number, name in enumerate(lines, start=1):
        if not name or name in seen:
            what = f"has {name!r:.60} as line {seen[name]} has" if name else "is empty"
            raise ValueError(
                f"{told}: line {number} {what}: expected a name of its own for each output"
            )
        seen[name] = number
    if not lines:
        raise ValueError(f"{told} is empty: expected a name a line, in the order of the outputs")
    return tuple(lines)


def _checked(where: str, table: dict) -> dict:
    """The keys that a table has, as `Table` reads them."""
    told = "file is missing"
    try:
        given = checked(Table, table).model_dump(exclude_unset=True)
        if {"file", "qat"} & given.keys():
            return given
    except Mistakes as wrong:
        first = str(wrong.found[0])
        if first != "task is missing" or {"file", "qat"} & table.keys():
            told = first
    told = told.replace(" = '', expected", ' = "" is still to be chosen: write')  # `init` left it
    cure = {
        "file is missing": ': add file = "FILE", the model',
        "task is missing": f": add task, one of {names()}",
    }
    raise ValueError(f"{where}: {told}{cure.get(told, '')}")


def _preprocessing(where: str, given: dict) -> Preprocessing:
    hook, pair = given.pop("preprocess", None), given.pop("range", None)
    if hook and not pair:
        raise ValueError(f"{where}: preprocess needs range = [low, high], what it gives")
    try:
        made = declared_preprocessing(value_range=pair, **given)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return Hooked(made.mean, made.std, hook) if hook else made


def _check_file(where: str, key: str, file: Path, is_checkpoint: bool = False) -> None:
    if not file.exists():
        beside = file.parent.iterdir() if file.parent.is_dir() else ()
        near = difflib.get_close_matches(file.name, [each.name for each in beside], n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise FileNotFoundError(f"{where}: {key}: no {on_a_line(str(file))}{hint}: mend the path")
    if is_checkpoint:
        return
    try:
        format_of(file)
    except ValueError as error:
        raise ValueError(f"{where}: {key}: {error}") from error
