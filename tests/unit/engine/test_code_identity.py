"""What a function's code reaches: ours, a user's beside the TOML, and installed packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from int8gate.engine.code_identity import Code, distributions_of, versions_of

TREE = {  # each module, and what it reaches besides itself and the packages around it
    "int8gate/__init__.py": "",
    "int8gate/top.py": "import int8gate.plain\nfrom int8gate import taken, NAME\n",
    "int8gate/plain.py": "",
    "int8gate/taken.py": "from .sub.deep import inner\n",
    "int8gate/sub/__init__.py": "from int8gate.behind import value\n",
    "int8gate/sub/deep.py": "def inner():\n    from ..lazy import late\n    return late\n",
    "int8gate/behind.py": "",
    "int8gate/lazy.py": """
from typing import TYPE_CHECKING
import typing
if TYPE_CHECKING:
    import int8gate.type_alone
else:
    import int8gate.run_alone
if typing.TYPE_CHECKING:
    import int8gate.type_alone
try:
    import int8gate.tried
except ImportError:
    import int8gate.handled
finally:
    with open('x') as file:
        import int8gate.within
match 3:
    case 3:
        import int8gate.matched
class Holder:
    async def method(self):
        for _ in ():
            import int8gate.called
        else:
            import importlib
            importlib.import_module('int8gate.by_text')
""",
    **{
        f"int8gate/{name}.py": ""
        for name in ("type_alone", "run_alone", "tried", "handled", "within", "matched")
    },
    "int8gate/called.py": "import int8gate.top  # in a circle\n",
    "int8gate/by_text.py": "",
    "int8gate/elsewhere.py": "import numpy.linalg\nimport os.path\nimport int8gate.plain\n",
    "hooks.py": "import helper\nimport outside, yaml_of_nobody\n"
    "from team import heads\nfrom crew.parts import wheel\nimport crew.parts.deep.axle\n",
    "helper.py": "import int8gate.plain\n",
    "team/heads.py": "from . import common\n",  # a package without __init__.py
    "team/common.py": "",
    "crew/__init__.py": "",
    "crew/parts/wheel.py": "",  # the same, in a package that has one
    "crew/parts/deep/axle.py": "",
    "broken.py": "def (:\n",
    "site-packages/outside.py": "import int8gate.behind\n",
}
REACHED = {
    "int8gate.plain": {"int8gate", "int8gate.plain"},
    "int8gate.sub": {"int8gate", "int8gate.sub", "int8gate.behind"},
    "int8gate.elsewhere": {"int8gate", "int8gate.elsewhere", "int8gate.plain"},
    "int8gate.top": {"int8gate", "int8gate.sub", "int8gate.sub.deep"}
    | {f"int8gate.{name}" for name in ("top", "plain", "taken", "behind", "lazy", "run_alone")}
    | {f"int8gate.{name}" for name in ("tried", "handled", "within", "matched")}
    | {f"int8gate.{name}" for name in ("called", "by_text")},
    "hooks": {
        *("hooks", "helper", "team.heads", "team.common", "int8gate", "int8gate.plain"),
        *("crew", "crew.parts.wheel", "crew.parts.deep.axle"),
    },
    "broken": {"broken"},
}


@pytest.fixture
def tree(tmp_path) -> Path:
    for name, source in TREE.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    return tmp_path


@pytest.fixture
def code(tree) -> Code:
    return Code([str(tree), str(tree / "site-packages")])


@pytest.mark.parametrize("root", REACHED)
def test_what_is_imported_at_any_depth_is_reached(code, root):
    assert set(code.closure(root).modules) == REACHED[root]
    assert code.closure(f"{root}:function") == code.closure(root)


def test_installed_packages_count_by_name(code):
    assert code.closure("int8gate.elsewhere").packages == {"numpy"}
    assert code.closure("hooks").packages == {"outside", "yaml_of_nobody"}
    found = code.identity("hooks", "int8gate.elsewhere")["versions"]
    import numpy

    assert found["numpy"] == numpy.__version__
    assert found["yaml_of_nobody"] is None


@pytest.mark.parametrize("root", REACHED)
@pytest.mark.parametrize("edited", [name for name in TREE if name.endswith(".py")])
def test_an_edit_changes_the_identity_of_what_reaches_it(code, tree, root, edited):
    before = code.identity(root)
    file = tree / edited
    file.write_text(file.read_text() + "# edited\n")
    name = edited.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert (code.identity(root) != before) == (name in REACHED[root])


def test_an_import_that_is_added_is_followed(code, tree):
    (tree / "helper.py").write_text("import int8gate.lazy\n")
    assert "int8gate.tried" in code.closure("hooks").modules


def test_a_root_that_is_nowhere_is_refused(code):
    with pytest.raises(ModuleNotFoundError, match=r"there is no module int8gate\.absent"):
        code.identity("int8gate.absent:function")


def test_nothing_is_run(tree, code):
    (tree / "helper.py").write_text("raise SystemExit('was run')\n")
    assert "helper" in code.closure("hooks").modules


@pytest.mark.parametrize(
    ("package", "distribution"),
    [("PIL", "pillow"), ("skimage", "scikit-image"), ("ai_edge_litert", "ai-edge-litert")],
)
def test_a_package_is_known_by_its_distribution(package, distribution):
    assert distributions_of(package) == (distribution,)
    assert versions_of([package]).keys() == {distribution}
