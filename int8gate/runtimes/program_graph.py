"""Whether the graph of a `.pt2` archive is data: known operators, plain names, plain arithmetic.

PyTorch finds operators by attribute (``torch.os.system`` is one), evaluates shapes with SymPy,
which evaluates Python, and writes names of nodes into Python code that it compiles.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

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
            return SYMBOL.fullmatch(node.value) and "__" not in node.value
        return isinstance(node.value, (bool, int, float)) and abs(node.value) < LARGEST_NUMBER
    if isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS
        return named and (node.func.id not in POWERS or _is_small(node.args[-1:]))
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
