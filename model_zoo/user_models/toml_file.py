"""Reads the TOML that declares a team's own models, and says what is wrong with it.

    [models.gadget]
    file = "gadget.onnx"
    task = "classification"
    data = "pictures"              # one folder for each class
    mean = [123.7, 116.3, 103.5]
    std = [58.4, 57.1, 57.4]

Paths are relative to the file. In a `pyproject.toml` the tables stand under `tool.int8gate`. Only
the TOML is read: the models are opened when a case of theirs runs, in the worker process.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path

from int8gate.calibration_data.preprocessing import Hooked, declared_preprocessing
from int8gate.engine.plugins import KEY as PLUGINS
from int8gate.engine.plugins import PYPROJECT
from int8gate.model_zoo.user_models.declaration import SAVED_MODEL, OwnModel, format_of
from int8gate.tasks import registry as tasks

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # it stands in case ids, file names and -k
HOOK = re.compile(r"[\w.]+:\w+")
# What a key takes, and how a message says it.
KEYS = {
    **dict.fromkeys(("file", "task", "data", "labels", "layout", "signature"), "text"),
    **dict.fromkeys(("fit", "interpolation", "colours"), "text"),
    **dict.fromkeys(("preprocess", "metric", "features"), "text module:function"),
    "float_file": "text",
    **dict.fromkeys(("box_order", "box_unit", "background", "blank"), "text"),
    "decode": "text module:function, or the name of a known head",
    **dict.fromkeys(("inputs", "outputs", "recipes", "targets"), "a list of text"),
    **dict.fromkeys(("size", "range"), "a list of two numbers"),
    **dict.fromkeys(("mean", "std"), "a number, or a list with one for each channel"),
    **dict.fromkeys(("channels", "pad"), "a whole number"),
    "classes": "a whole number, a list of names, or a file with one a line",
    "crop": "a number",
    "scale": 'a number, or a quotient as "1/255"',
    "enlarge": "true or false",
    "expect": "a table",
}
HEAD_KEYS = {  # the first is the default
    "box_order": ("xyxy", "yxyx"),
    "box_unit": ("fraction", "pixels"),
    "background": ("none", "first", "last"),
    "blank": ("first", "last"),
}
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
FIT_KEYS = ("interpolation", "colours", "crop", "pad", "enlarge")


def read_zoo(path: Path) -> list[OwnModel]:
    """The models that a TOML declares, in its order; those of a `pyproject.toml`, and of the files
    that `zoo` in it lists.

    Raises ValueError or FileNotFoundError naming the file, the table and the key.
    """
    path = Path(path)
    listed = _listed(_settings(path), path) if path.name == PYPROJECT and path.is_file() else []
    return [model for file in listed for model in read_zoo(path.parent / file)] + read_tables(path)


def read_pyproject(path: Path) -> list[OwnModel]:
    """As `read_zoo`, but nothing of a `pyproject.toml` that does not mention int8gate."""
    return read_zoo(path) if "int8gate" in _read(path).get("tool", {}) else []


def read_tables(path: Path) -> list[OwnModel]:
    """The models of the tables [models.NAME] in one file, [tool.int8gate.models.NAME] in a
    `pyproject.toml`, without those of other files. Raises as `read_zoo` does, also for none.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"--zoo {path}: no such file: mend the path, or run `int8gate init`"
        )
    if path.name != PYPROJECT:
        return _models(_read(path), path)
    content = _settings(path)
    is_list = bool(_listed(content, path))
    content.pop("zoo", None)
    has_models = bool(content.keys() - {PLUGINS})
    return _models(content, path) if has_models or not is_list else []


def _settings(pyproject: Path) -> dict:
    return _read(pyproject).get("tool", {}).get("int8gate", {})


def _listed(settings: dict, pyproject: Path) -> list[str]:
    files = settings.get("zoo", [])
    if not isinstance(files, list) or not all(map(_is_text, files)):
        raise ValueError(
            f"{pyproject}, [tool.int8gate]: zoo = {files!r:.60}: expected a list of files"
        )
    return files


def _read(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no TOML ({error}): mend it there") from error


def _models(content: dict, path: Path) -> list[OwnModel]:
    if unknown := sorted(content.keys() - {"models", PLUGINS}):
        raise ValueError(f"{path}: unknown key {unknown[0]}; expected tables [models.NAME]")
    models = content.get("models", {})
    if not isinstance(models, dict) or not all(isinstance(t, dict) for t in models.values()):
        raise ValueError(f"{path}: models must be tables, [models.NAME], found {models!r:.80}")
    if not models:
        raise ValueError(
            f"{path} declares no model: add a table [models.NAME], or run `int8gate init FILE`"
        )
    return [_model(name, table, path) for name, table in models.items()]


def _model(name: str, table: dict, path: Path) -> OwnModel:
    where = f"{path}, [models.{_on_a_line(name)}]"
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{where}: a name has letters, digits and underscores and begins with a letter: it "
            "stands in case ids and file names"
        )
    _check_chosen(where, table)
    for key, value in table.items():
        _check(where, key, value)
    if "file" not in table:
        raise ValueError(f'{where}: file is missing: add file = "FILE", the model')
    file = _place(path, table["file"])
    _check_file(where, "file", file)
    twin = _place(path, table["float_file"]) if "float_file" in table else None
    if twin:
        _check_file(where, "float_file", twin)
    if "signature" in table and SAVED_MODEL not in (format_of(file), twin and format_of(twin)):
        raise ValueError(
            f"{where}: signature = {table['signature']!r:.60} is of a SavedModel, and {file.name} "
            "is none: leave the key out"
        )
    if "task" not in table:
        raise ValueError(f"{where}: task is missing: add task, one of {tasks.names()}")
    _one_of(where, "task", table["task"], tasks.tasks())
    _check_decode(where, table["task"], table.get("decode", ":"))
    _check_head(where, table)
    try:
        preprocessing = declared_preprocessing(
            *(_tuple(table.get(key)) for key in ("mean", "std", "scale", "range"))
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if "preprocess" in table:
        if "range" not in table:
            raise ValueError(f"{where}: preprocess needs range = [low, high], what it gives")
        preprocessing = Hooked(preprocessing.mean, preprocessing.std, table["preprocess"])
    classes = table.get("classes")
    if isinstance(classes, str):
        classes = _names_of(where, _place(path, classes))
    named = isinstance(classes, list)
    given = ("labels", "channels", "layout", "decode", "metric", "signature", "features")
    return OwnModel(
        name,
        file,
        where,
        task=table["task"],
        data=_place(path, table["data"]) if "data" in table else None,
        float_file=twin,
        head={key: table[key] for key in HEAD_KEYS if key in table},
        size=_tuple(table.get("size")),
        classes=len(classes) if named else classes,
        class_names=tuple(classes) if named else None,
        fit=_fit(table),
        preprocessing=preprocessing,
        expect=table.get("expect", {}),
        keys=tuple(table),
        **{key: table[key] for key in given if key in table},
        **{key: tuple(table.get(key, ())) for key in ("inputs", "outputs", "recipes", "targets")},
    )


def _names_of(where: str, file: Path) -> list[str]:
    """The lines of a file: class names or symbols, of which a space is one."""
    told = f"{where}: classes: {_on_a_line(str(file))}"
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
    return lines


def _place(path: Path, given: str) -> Path:
    """Relative to the TOML; links are left as they are."""
    return Path(os.path.abspath(path.parent / given))


def _fit(table: dict) -> dict:
    kind = {"kind": table["fit"]} if "fit" in table else {}
    return kind | {key: table[key] for key in FIT_KEYS if key in table}


def _check_file(where: str, key: str, file: Path) -> None:
    if not file.exists():
        near = difflib.get_close_matches(file.name, _names_in(file.parent), n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise FileNotFoundError(f"{where}: {key}: no {_on_a_line(str(file))}{hint}: mend the path")
    try:
        format_of(file)
    except ValueError as error:
        raise ValueError(f"{where}: {key}: {error}") from error


def _on_a_line(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def _check_chosen(where: str, table: dict) -> None:
    """What `init` left open is no mistake: it is said what to choose from."""
    known = _heads_of(table.get("task"))
    choices = {
        "task": f"one of {tasks.names()}",
        "decode": f"one of {', '.join([*known, 'module:function'])}",
        **{key: f"one of {', '.join(values)}" for key, values in HEAD_KEYS.items()},
    }
    for key, value in table.items():
        if key in KEYS and value == "":
            expected = choices.get(key, KEYS[key])
            raise ValueError(f'{where}: {key} = "" is still to be chosen: write {expected}')


def _check(where: str, key: str, value: object) -> None:
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(KEYS))}"
        raise ValueError(f"{where}: unknown key {key}: {hint}")
    kind = KEYS[key]
    if not _FITS[kind](value):
        raise ValueError(f"{where}: {key} = {value!r:.60}: expected {kind}")


def _one_of(where: str, key: str, value: str, known) -> None:
    if value not in known:
        raise ValueError(f"{where}: {key} = {value!r}: expected one of {', '.join(known)}")


def _check_decode(where: str, task: str, decode: str) -> None:
    known = _heads_of(task)
    if ":" not in decode and decode not in known:
        names = ", ".join([*known, "module:function"])
        raise ValueError(f"{where}: decode = {decode!r}: expected, of task {task}, {names}")


def _check_head(where: str, table: dict) -> None:
    """The keys that a known head takes, or cannot do without."""
    decode = table.get("decode")
    for key in HEAD_KEYS.keys() & table.keys():
        _one_of(where, key, table[key], HEAD_KEYS[key])
        if decode != HEAD_OF[key]:
            raise ValueError(f'{where}: {key} is of decode = "{HEAD_OF[key]}": leave the key out')
    for key, meaning in NEEDED.get(decode, {}).items():
        if key not in table or isinstance(table[key], int):
            raise ValueError(f'{where}: decode = "{decode}" needs {key}: add {meaning}')


def _heads_of(task: object) -> dict[str, str]:
    declared = tasks.tasks().get(task) if isinstance(task, str) else None
    return declared.heads if declared else {}


def _tuple(value):
    return tuple(value) if isinstance(value, list) else value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _are(kind, value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(kind, value))


def _is_symbol(value: object) -> bool:
    """Of a space, too."""
    return isinstance(value, str) and value != ""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


_FITS = {
    "text": _is_text,
    "text module:function": lambda value: _is_text(value) and bool(HOOK.fullmatch(value)),
    "text module:function, or the name of a known head": lambda value: (
        _is_text(value) and bool(HOOK.fullmatch(value) or value.isidentifier())
    ),
    "a list of text": lambda value: _are(_is_text, value),
    "a list of two numbers": lambda value: _are(_is_number, value) and len(value) == 2,
    "a number, or a list with one for each channel": lambda value: (
        _is_number(value) or _are(_is_number, value)
    ),
    "a whole number": lambda value: value == 0 or _is_whole(value),
    "a whole number, a list of names, or a file with one a line": lambda value: (
        _is_whole(value)
        or _is_text(value)
        or (_are(_is_symbol, value) and len(set(value)) == len(value))
    ),
    "a number": _is_number,
    'a number, or a quotient as "1/255"': lambda value: _is_number(value) or _is_text(value),
    "true or false": lambda value: isinstance(value, bool),
    "a table": lambda value: isinstance(value, dict),
}
