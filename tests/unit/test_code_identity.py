"""What a function's code reaches: ours, a user's beside the TOML, and installed packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtimes.code_identity import Code, distributions_of, versions_of

TREE = {  # each module, and what it reaches besides itself and the packages around it
    "validation/__init__.py": "",
    "validation/top.py": "import validation.plain\nfrom validation import taken, NAME\n",
    "validation/plain.py": "",
    "validation/taken.py": "from .sub.deep import inner\n",
    "validation/sub/__init__.py": "from validation.behind import value\n",
    "validation/sub/deep.py": "def inner():\n    from ..lazy import late\n    return late\n",
    "validation/behind.py": "",
    "validation/lazy.py": """
from typing import TYPE_CHECKING
import typing
if TYPE_CHECKING:
    import validation.type_alone
else:
    import validation.run_alone
if typing.TYPE_CHECKING:
    import validation.type_alone
try:
    import validation.tried
except ImportError:
    import validation.handled
finally:
    with open('x') as file:
        import validation.within
match 3:
    case 3:
        import validation.matched
class Holder:
    async def method(self):
        for _ in ():
            import validation.called
        else:
            import importlib
            importlib.import_module('validation.by_text')
""",
    **{
        f"validation/{name}.py": ""
        for name in ("type_alone", "run_alone", "tried", "handled", "within", "matched")
    },
    "validation/called.py": "import validation.top  # in a circle\n",
    "validation/by_text.py": "",
    "validation/elsewhere.py": "import numpy.linalg\nimport os.path\nimport validation.plain\n",
    "hooks.py": "import helper\nimport outside, yaml_of_nobody\nfrom team import heads\n",
    "helper.py": "import validation.plain\n",
    "team/heads.py": "from . import common\n",  # a package without __init__.py
    "team/common.py": "",
    "broken.py": "def (:\n",
    "site-packages/outside.py": "import validation.behind\n",
}
REACHED = {
    "validation.plain": {"validation", "validation.plain"},
    "validation.sub": {"validation", "validation.sub", "validation.behind"},
    "validation.elsewhere": {"validation", "validation.elsewhere", "validation.plain"},
    "validation.top": {"validation", "validation.sub", "validation.sub.deep"}
    | {f"validation.{name}" for name in ("top", "plain", "taken", "behind", "lazy", "run_alone")}
    | {f"validation.{name}" for name in ("tried", "handled", "within", "matched")}
    | {f"validation.{name}" for name in ("called", "by_text")},
    "hooks": {
        *("hooks", "helper", "team.heads", "team.common", "validation", "validation.plain"),
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
    assert code.closure("validation.elsewhere").packages == {"numpy"}
    assert code.closure("hooks").packages == {"outside", "yaml_of_nobody"}
    found = code.identity("hooks", "validation.elsewhere")["versions"]
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
    (tree / "helper.py").write_text("import validation.lazy\n")
    assert "validation.tried" in code.closure("hooks").modules


def test_a_root_that_is_nowhere_is_refused(code):
    with pytest.raises(ModuleNotFoundError, match=r"there is no module validation\.absent"):
        code.identity("validation.absent:function")


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
