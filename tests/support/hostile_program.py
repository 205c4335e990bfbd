"""Hostile programs of `torch.export`: most of them would run a command when they are loaded."""

from __future__ import annotations

import io
import json
import operator
import os
import pickle
import zipfile
from pathlib import Path

from hostile_archive import repacked, witness

KIND, SUFFIX = "pytorch", ".pt2"
_KEPT: list[bytes] = []


def sound(path: Path) -> None:
    if not _KEPT:
        import torch

        torch.manual_seed(0)
        layers = torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten()
        network = torch.nn.Sequential(*layers, torch.nn.Linear(4 * 7 * 7, 5)).eval()
        file = io.BytesIO()
        torch.export.save(torch.export.export(network, (torch.zeros(1, 3, 16, 16),)), file)
        _KEPT.append(file.getvalue())
    path.write_bytes(_KEPT[0])


def load(file: Path, found) -> None:
    import torch

    from int8gate.model_zoo.torch_networks import read_program

    read_program(file, (torch.zeros(*(side or 1 for side in found.inputs[0].shape)),))


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, witness: Path):
        self.witness = witness

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.witness}",)


def _repacked(change, method: int = zipfile.ZIP_STORED):
    return repacked(sound, change, method, root="archive/")


def _pickled(path: Path) -> bytes:
    """A file of torch.save in which a command stands."""
    import torch

    file = io.BytesIO()
    torch.save(({}, {"x": Command(witness(path))}), file)
    return file.getvalue()


class _Computed:
    """Inputs that unpickling computes, by a harmless function that PyTorch does not know."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self) -> tuple:
        return operator.add, self.parts


def _computed(path: Path) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save((_Computed((torch.zeros(1, 3, 16, 16),), ()), {}), file)
    return file.getvalue()


def _member(name: str, content=_pickled):
    def change(members: dict, path: Path) -> None:
        members[name] = content(path) if callable(content) else content

    return _repacked(change)


def _json(member: str, change):
    """Changes a JSON member."""

    def changed(members: dict, path: Path) -> None:
        told = json.loads(members[member])
        change(told, members, path)
        members[member] = json.dumps(told).encode()

    return _repacked(changed)


GRAPH = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


def _first_weight(told: dict) -> dict:
    return next(iter(told["config"].values()))


def _pickled_weight(told: dict, members: dict, path: Path) -> None:
    entry = _first_weight(told)
    entry["use_pickle"] = True
    members[f"data/weights/{entry['path_name']}"] = _pickled(path)


def _object(kind: str, content=None):
    def change(told: dict, members: dict, path: Path) -> None:
        told["config"]["evil"] = {
            **{"path_name": f"{kind}_0", "is_param": False, "use_pickle": kind != "opaque_obj"},
            "tensor_meta": None,
        }
        plain = pickle.dumps(Command(witness(path)))
        members[f"data/constants/{kind}_0"] = plain if kind == "opaque_obj" else _pickled(path)

    return _json(CONSTANTS, change)


def _weight_of(*sides: int, empty: bool = False):
    def change(told: dict, members: dict, path: Path) -> None:
        entry = _first_weight(told)
        entry["tensor_meta"]["sizes"] = [{"as_int": side} for side in sides]
        entry["tensor_meta"]["strides"] = [{"as_int": 0 if not empty else 1} for _ in sides]
        if empty:
            members[f"data/weights/{entry['path_name']}"] = b""

    return _json(WEIGHTS, change)


def _weight_path(name: str):
    return _json(WEIGHTS, lambda told, *_: _first_weight(told).update(path_name=name))


def _node(told: dict, number: int = 0) -> dict:
    return told["graph_module"]["graph"]["nodes"][number]


def _calls(target: str, *arguments: str):
    """The first node calls something with texts."""

    def change(told: dict, members: dict, path: Path) -> None:
        node = _node(told)
        node["target"] = target
        texts = [text.format(witness=witness(path)) for text in arguments]
        node["inputs"] = [{"name": "self", "arg": {"as_string": text}, "kind": 1} for text in texts]

    return _json(GRAPH, change)


def _size(expression: str):
    """A side of the input is an expression, which SymPy evaluates."""

    def change(told: dict, members: dict, path: Path) -> None:
        text = expression.format(witness=witness(path))
        values = told["graph_module"]["graph"]["tensor_values"]
        first = values[next(iter(values))]
        first["sizes"][0] = {"as_expr": {"expr_str": text, "hint": {"as_int": 1}}}

    return _json(GRAPH, change)


def _guards(told: dict, members: dict, path: Path) -> None:
    told["guards_code"] = [f"__import__('os').system('touch {witness(path)}') == 0"]


def _renamed(name: str):
    """A node's name goes into code that PyTorch writes and compiles."""

    def change(told: dict, members: dict, path: Path) -> None:
        old = _node(told)["outputs"][0]["as_tensor"]["name"]
        new = name.format(witness=witness(path))
        text = json.dumps(told).replace(json.dumps(old), json.dumps(new))
        told.clear()
        told.update(json.loads(text))

    return _json(GRAPH, change)


def _tree(told: dict, members: dict, path: Path) -> None:
    (path.parent / "evil.py").write_text(f"open({str(witness(path))!r}, 'w')")
    context = json.dumps({"__enum__": True, "fqn": "evil:Evil", "name": "x"})
    spec = [1, {"type": "builtins.dict", "context": context, "children_spec": []}]
    told["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = json.dumps(spec)


def _nested(members: dict, path: Path) -> None:
    members[GRAPH] = b"[" * 100_000 + b"]" * 100_000


def _bomb(name: str):
    return _repacked(
        lambda members, path: members.update({name: bytes(300_000_000)}), zipfile.ZIP_DEFLATED
    )


def _saved(what):
    """A file of torch.save or of pickle under the name of a program."""

    def write(path: Path) -> None:
        path.write_bytes(what(path))

    return write


def _old_format(path: Path) -> None:
    """PyTorch 2.7's: at the top level, which PyTorch falls back to."""
    sound(path)
    with zipfile.ZipFile(path) as archive:
        graph = next(archive.read(name) for name in archive.namelist() if name.endswith(GRAPH))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.20")
        archive.writestr("serialized_exported_program.json", graph)
        for part in ("state_dict", "constants", "example_inputs"):
            archive.writestr(f"serialized_{part}.pt", _pickled(path))


TOUCH = "touch {witness}"
SPECIAL = {
    "samples-pickled": _member("data/sample_inputs/model.pt"),
    "samples-computed": _member("data/sample_inputs/model.pt", _computed),
    "samples-plain-pickle": _member(
        "data/sample_inputs/model.pt", lambda path: pickle.dumps(Command(witness(path)))
    ),
    "weights-legacy": _member("data/weights/model.pt"),
    "constants-legacy": _member("data/constants/model.pt"),
    "weight-pickled": _json(WEIGHTS, _pickled_weight),
    "object-opaque": _object("opaque_obj"),
    "object-custom": _object("custom_obj"),
    "compiled": _member("data/aotinductor/model/evil.so", b"\x7fELF" + bytes(100)),
    "unknown-member": _member("code/evil.py", b"import os"),
    "member-above": _member("../outside/ran", b"x"),
    "weight-huge": _weight_of(2**40),
    "weight-huge-and-empty": _weight_of(2**40, empty=True),
    "weight-wraps": _weight_of(2**32, 2**32, empty=True),
    "weight-negative": _weight_of(-1, 3),
    "weight-path": _weight_path("../../../outside/secret"),
    "weight-path-absolute": _weight_path("/etc/passwd"),
    "calls-system": _calls("torch.os.system", TOUCH),
    "calls-library": _calls("torch.ops.load_library", "/tmp/evil.so"),
    "calls-hub": _calls("torch.hub.load", "evil/repo", "model"),
    "calls-file": _calls("torch.ops.aten.from_file.default", "/etc/passwd"),
    "calls-method": _calls("_operator.methodcaller", "system", TOUCH),
    "calls-nothing": _calls("torch.ops.aten.no_such.default", "x"),
    "size-system": _size("__import__('os').system('touch {witness}')"),
    "size-hidden": _size("Max(1, [x for x in ().__class__.__base__.__subclasses__()][0])"),
    "size-lambda": _size("(lambda: open('{witness}', 'w'))()"),
    "size-endless": _size("9**9**9**9"),
    "size-powers": _size("Pow(Integer(9), Pow(Integer(9), Integer(99)))"),
    "size-long": _size("+".join(["s0"] * 100_000)),
    "guards": _json(GRAPH, _guards),
    "named-code": _renamed("x = __import__('os').system('touch {witness}') #"),
    "named-lines": _renamed("x\n    __import__('os').system('touch {witness}')\n    y"),
    "named-path": _renamed("../../outside/ran"),
    "tree-imports": _json(GRAPH, _tree),
    "graph-nested": _repacked(_nested),
    "graph-bomb": _bomb("extra/zeros"),
    "weight-bomb": _bomb("data/weights/weight_0"),
    "torch-save": _saved(_pickled),
    "pickle": _saved(lambda path: pickle.dumps(Command(witness(path)))),
    "old-format": _old_format,
}
