"""Whether a `.pt2` archive of `torch.export` can be loaded without running what stands in it.

`torch.export.load` unpickles sample inputs, some weights and custom objects, loads compiled
libraries (AOTInductor), evaluates expressions of shapes and calls operators by name: each of these
runs code of whoever wrote the file (https://docs.pytorch.org/docs/stable/export/pt2_archive.html,
and torch/export/pt2_archive/_package.py of PyTorch 2.13, which this follows). So the archive is
read first, with PyTorch's own reader, and only what is data may be in it: raw tensors, a graph that
is data (`check_graph`), and sample inputs that PyTorch's restricted unpickler takes.

A graph is data where it has known operators, plain names and plain arithmetic alone. PyTorch finds
operators by attribute (``torch.os.system`` is one), evaluates shapes with SymPy, which evaluates
Python, and writes names of nodes into Python code that it compiles.
"""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from int8gate.engine import memory
from int8gate.runtimes import archive

# What a graph may name.
OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed|torchvision)\.\w+(\.\w+)?"
    r"|torch\.ops\.higher_order\.\w+|torch\.(_sym_|sym_)\w+|math\.[a-z]\w*"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|xor"
    r"|not_|invert|lshift|rshift|getitem)"
)
OF_FILES = re.compile(r"torch\.ops\.aten\.(from_file|_?save|_?load)\b.*")
NAME = re.compile(r"[\w.\-+]*", re.ASCII)
TREES = {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", None}
INERT = ("metadata", "as_string", "as_strings")  # text that nobody evaluates
FUNCTIONS = {"Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod"} | {
    *("FloorDiv", "ModularIndexing", "Where", "PythonMod", "CleanDiv", "CeilToInt", "FloorToInt"),
    *("CeilDiv", "LShift", "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv"),
    *("TruncToFloat", "TruncToInt", "RoundToInt", "RoundDecimal", "ToFloat", "Identity", "Not"),
    *("Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan"),
    *("And", "Or", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Piecewise", "ExprCondPair"),
}
SYMBOL = re.compile(r"[A-Za-z]\w*|-?[\d.]{1,40}(e[+-]?\d{1,3})?", re.ASCII)  # or a number
POWERS = {"Pow", "PowByNatural", "FloatPow", "LShift"}
ARITHMETIC = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.BinOp),
    *(ast.UnaryOp, ast.USub, ast.UAdd, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod),
    *(ast.Pow, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Tuple),
)
MOST_EXPRESSION = 2000  # characters
LARGEST_NUMBER = 2**63
LARGEST_POWER = 8

# The members of an archive.
NEEDED = "archive_format"
GRAPHS, SAMPLES = "models/", "data/sample_inputs/"
TENSORS = {"data/weights/": r"weight_\d+", "data/constants/": r"tensor_\d+"}
CONFIG = re.compile(r"[\w.]+_(weights|constants)_config\.json")
PASSIVE = re.compile(r"archive_format|archive_version|byteorder|version|\.data/\w+|extra/.*")
MOST_TEXT = 10**8  # bytes of a graph
ITEMSIZE = 16  # of the widest dtype, complex128
TRUST = "export the model again from plain tensors or, if you trust the file, pass --trust"


def check_graph(where: str, content: bytes, cure: str) -> None:
    """Raises ValueError where a serialized graph (JSON) names anything that could run code.

    `where` begins the sentence, `cure` ends it.
    """
    try:
        graph = json.loads(content)
        for key, text in _texts(graph, ""):
            if reason := _refused(key, text):
                raise ValueError(f"{where} {reason}: {cure}")
    except RecursionError as error:
        raise ValueError(f"{where} is nested too deeply: export the model again") from error
    if not isinstance(graph, dict):
        raise ValueError(f"{where} is no graph: export the model again")


def _texts(value: object, key: str) -> Iterator[tuple[str, str]]:
    """Every text with the key it stands under; keys themselves stand under "key"."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if key == "range_constraints":
                yield "expr_str", name
            elif key not in INERT:
                yield "key", name
            yield from _texts(inner, name if key not in INERT else key)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)
    elif isinstance(value, str):
        yield key, value


def _refused(key: str, text: str) -> str | None:
    """Why a text may not stand under its key."""
    if key in INERT:
        return None
    if key == "target":
        if not OPERATORS.fullmatch(text) or OF_FILES.fullmatch(text):
            return f"calls {text[:80]!r}, which is no operator that is run from a file"
        return None
    if key == "guards_code":
        return "holds code (guards of its inputs)"
    if key == "expr_str":
        return None if _is_arithmetic(text) else f"holds code in a size ({text[:60]!r})"
    if key in ("in_spec", "out_spec"):
        return None if _is_plain_tree(text) else "takes or gives objects of a class of its own"
    return None if NAME.fullmatch(text) else f"holds the name {text[:60]!r}, which could be code"


def _is_arithmetic(text: str) -> bool:
    """Whether a size is arithmetic over symbols, and small enough to be computed."""
    if len(text) > MOST_EXPRESSION:
        return False
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, ARITHMETIC) and _is_harmless(node) for node in nodes)


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return "__" not in node.id
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return SYMBOL.fullmatch(node.value) is not None and "__" not in node.value
        return isinstance(node.value, (bool, int, float)) and abs(node.value) < LARGEST_NUMBER
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else None
        return name in FUNCTIONS and (name not in POWERS or _is_small(node.args[-1:]))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _is_small([node.right])
    return True


def _is_small(exponent: list[ast.expr]) -> bool:
    """Whether an exponent is a number from -8 to 8, as it is or in Integer(...)."""
    if exponent and isinstance(exponent[0], ast.Call) and len(exponent[0].args) == 1:
        exponent = exponent[0].args
    try:
        return abs(ast.literal_eval(exponent[0])) <= LARGEST_POWER
    except (ValueError, TypeError, IndexError, SyntaxError, RecursionError):
        return False


def _is_plain_tree(text: str) -> bool:
    """Whether inputs or outputs are nested in tuples, lists and dicts alone."""
    try:
        tree = json.loads(text) if text else None
    except ValueError:
        return False
    if "__enum__" in text or "\\u" in text:  # an enumeration's module is imported
        return False
    return all(kind in TREES for kind in _kinds(tree))


def _kinds(tree: object) -> Iterator[str | None]:
    if isinstance(tree, dict):
        kind = tree.get("type")
        yield kind if isinstance(kind, str) else None
        for inner in tree.values():
            yield from _kinds(inner)
    elif isinstance(tree, list):
        for inner in tree:
            yield from _kinds(inner)


def check(path: Path) -> None:
    """Raises ValueError naming the file, and the member that is code or may hold code."""
    import torch

    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: copy or export it again")
    try:
        reader = torch._C.PyTorchFileReader(str(path))
        names = reader.get_all_records()
        sizes = {name: reader.get_record_size(name) for name in names}
    except (RuntimeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is no whole PyTorch program ({_first(error)}): export it again"
        ) from error
    if NEEDED not in sizes or not any(name.startswith(GRAPHS) for name in names):
        raise ValueError(
            f"{path} holds no program of torch.export (a file of torch.save, of TorchScript or of "
            "an old PyTorch?): export it with torch.export.save of PyTorch 2.8 or later"
        )
    archive.check_unpacked(path, sum(sizes.values()), path.stat().st_size)
    for name in names:
        try:
            _check_record(path, name, reader, sizes)
        except (RuntimeError, UnicodeDecodeError, json.JSONDecodeError, KeyError) as error:
            raise ValueError(
                f"{path}: {name[:100]!r} in it is damaged ({_first(error)}): export it again"
            ) from error


def _check_record(path: Path, name: str, reader, sizes: dict[str, int]) -> None:
    where = f"{path}: {name[:100]!r} in it"
    folder = next((folder for folder in TENSORS if name.startswith(folder)), None)
    inside = name.removeprefix(folder) if folder else ""
    if name.startswith(GRAPHS):
        _check_text(where, sizes[name])
        check_graph(where, reader.get_record(name), TRUST)
    elif folder and CONFIG.fullmatch(inside):
        _check_text(where, sizes[name])
        _check_tensors(where, folder, _parsed(where, reader.get_record(name)), sizes)
    elif name.startswith(SAMPLES):
        _check_samples(path, where, reader.get_record(name))
    elif not (folder and re.fullmatch(TENSORS[folder], inside)) and not PASSIVE.fullmatch(name):
        kind = "is compiled code" if "aotinductor" in name else "may hold pickled objects"
        raise ValueError(f"{where} {kind}, which is not loaded: {TRUST}")


def _check_text(where: str, size: int) -> None:
    if size > MOST_TEXT:
        raise ValueError(f"{where} has {size:,} bytes, more than the {MOST_TEXT:,} that are read")


def _parsed(where: str, content: bytes):
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError(f"{where} is nested too deeply: export the model again") from error


def _check_tensors(where: str, folder: str, config: object, sizes: dict[str, int]) -> None:
    """Every tensor is raw bytes that are there, and not larger than they are."""
    entries = config.get("config") if isinstance(config, dict) else None
    if not isinstance(entries, dict):
        raise ValueError(f"{where} lists no tensors: export the model again")
    for tensor, entry in entries.items():
        record = entry.get("path_name") if isinstance(entry, dict) else None
        if not isinstance(record, str) or not re.fullmatch(TENSORS[folder], record):
            raise ValueError(f"{where} lists the object {tensor[:80]!r}: {TRUST}")
        if entry.get("use_pickle"):
            raise ValueError(f"{where} says that tensor {tensor[:80]!r} is pickled: {TRUST}")
        stored = sizes.get(f"{folder}{record}")
        shape = _sides(entry.get("tensor_meta"))
        if stored is None or shape is None:
            raise ValueError(f"{where} describes no whole tensor {tensor[:80]!r}: export it again")
        if memory.size_of(shape, 1) > stored:  # zeros are made of what has a shape and no bytes
            memory.check_tensor(where, tensor[:80], shape, ITEMSIZE)


def _sides(meta: object) -> tuple[int, ...] | None:
    """The static shape in a `TensorMeta`, None where it has none."""
    sides = meta.get("sizes") if isinstance(meta, dict) else None
    if not isinstance(sides, list) or not all(isinstance(side, dict) for side in sides):
        return None
    found = tuple(side.get("as_int") for side in sides)
    return found if all(type(side) is int and side >= 0 for side in found) else None


def _check_samples(path: Path, where: str, content: bytes) -> None:
    """PyTorch reads them with its restricted unpickler, and with the open one where that fails."""
    import torch

    if not content:
        return
    try:
        inner = torch._C.PyTorchFileReader(io.BytesIO(content))
        unpacked = sum(inner.get_record_size(name) for name in inner.get_all_records())
        archive.check_unpacked(path, unpacked, len(content))
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    # It raises UnpicklingError, RuntimeError and what the pickled bytes provoke.
    except Exception as error:
        raise ValueError(
            f"{where} holds pickled objects beside tensors, or is damaged: {TRUST}"
        ) from error


def _first(error: Exception) -> str:
    return " ".join(str(error).split()).split(". ")[0][:120]
