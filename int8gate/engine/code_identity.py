"""Which code a result depends on: the source of every module that its functions can reach.

    identity("int8gate.quantizers.toolchains.tflite.convert:convert", "team_heads:decode")
        -> {"code": "9f2c...", "versions": {"numpy": "2.4.6", "tensorflow": "2.21.0"}}

Reached is what a module imports at any depth: at its top, inside functions, relatively, a package
around it, a submodule taken `from` it; not what stands under `if TYPE_CHECKING`. Modules that lie
in site-packages, and are not ours, count by the version of their distribution; all others, those
that stand beside a user's TOML among them, by their source. Names that are put together at run
time cannot be seen: whoever looks a function up by a name from data gives that name as a root.

Modules are found and parsed; none is imported.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

OURS = frozenset(("int8gate",))
INSTALLED = frozenset(("site-packages", "dist-packages"))
# Of a line of a distribution's RECORD: the folder, or the module, at the top.
_AT_THE_TOP = re.compile(r"^(?:([^/,\n]+)/|([^/,\n]+)\.py,)", re.MULTILINE)


@dataclass(frozen=True)
class Closure:
    """What some functions reach: the SHA-256 of each module's source, and the top-level names of
    installed packages.
    """

    modules: dict[str, str]
    packages: frozenset[str]


@dataclass(frozen=True)
class _Module:
    """A module of ours or of a user: where it lies, its digest and what it imports.

    `imports` are absolute names; of ``from a import b`` both ``a`` and ``a.b``, which may be none.
    """

    digest: str
    imports: tuple[str, ...]


class Code:
    """The modules that are found on `search` (None: as this process finds them).

    A file is parsed again only when its size or time changes.
    """

    def __init__(self, search: Sequence[str] | None = None) -> None:
        self._search = search
        self._parsed: dict[str, tuple[tuple, _Module]] = {}
        self._specs: dict[str, ModuleSpec | None] = {}
        self._installed: dict[str, bool] = {}

    def identity(self, *roots: str) -> dict:
        """What a cache key holds of `roots`, modules or functions at ``module:name``: one digest of
        all reached source, and the versions of the distributions that it imports.

        A package that is not installed has the version None.
        """
        reached = self.closure(*roots)
        listed = "".join(f"{name} {digest}\n" for name, digest in sorted(reached.modules.items()))
        return {
            "code": hashlib.sha256(listed.encode()).hexdigest(),
            "versions": versions_of(reached.packages),
        }

    def closure(self, *roots: str) -> Closure:
        """Raises ModuleNotFoundError for a root that is nowhere."""
        wanted = {root.partition(":")[0] for root in roots}
        for name in wanted:
            if self._spec(name) is None:
                raise ModuleNotFoundError(f"there is no module {name}", name=name)
        modules, packages, seen = {}, set(), set()
        while wanted:
            name = wanted.pop()
            if name in seen:
                continue
            seen.add(name)
            top = name.partition(".")[0]
            if self._is_installed(top):
                packages.add(top)
                continue
            if package := name.rpartition(".")[0]:
                wanted.add(package)
            if (module := self._module(name)) is not None:
                modules[name] = module.digest
                wanted.update(module.imports)
        return Closure(modules, frozenset(packages - sys.stdlib_module_names))

    def _is_installed(self, top: str) -> bool:
        """Whether a package comes with Python or with a distribution, or is not there at all."""
        if top not in self._installed:
            self._installed[top] = top not in OURS and self._lies_installed(top)
        return self._installed[top]

    def _lies_installed(self, top: str) -> bool:
        if top in sys.stdlib_module_names:
            return True
        spec = self._spec(top)
        if spec is None:
            return True
        places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
        return any(not INSTALLED.isdisjoint(Path(place).parts) for place in places)

    def _module(self, name: str) -> _Module | None:
        """None for what is no module (a name that is imported from one) or has no source."""
        spec = self._spec(name)
        if spec is None or not spec.has_location:
            return None
        try:
            state = os.stat(spec.origin)
        except OSError:
            return None
        times = (state.st_size, state.st_mtime_ns)
        known = self._parsed.get(name)
        if known is None or known[0] != times:
            content = Path(spec.origin).read_bytes()
            is_package = spec.submodule_search_locations is not None
            imports = tuple(sorted(set(_imports(content, name, is_package))))
            digest = hashlib.sha256(content).hexdigest()
            self._parsed[name] = known = times, _Module(digest, imports)
        return known[1]

    def _spec(self, name: str) -> ModuleSpec | None:
        """Where a module lies; its packages are not imported."""
        if name not in self._specs:
            package, _, _ = name.rpartition(".")
            locations = self._search
            if package:
                around = self._spec(package)
                locations = around and around.submodule_search_locations
            nowhere = bool(package) and locations is None
            self._specs[name] = None if nowhere else self._found(name, locations, package)
        return self._specs[name]

    def _found(self, name: str, locations, package: str) -> ModuleSpec | None:
        """By files; ours by all of Python's finders too: an installation in place maps our folders
        by one of its own.
        """
        if name in OURS or package in OURS:
            finders = (PathFinder, *sys.meta_path)
        else:
            finders = sys.meta_path if self._search is None and not package else (PathFinder,)
        for finder in finders:
            try:
                spec = finder.find_spec(name, locations)
            except ModuleNotFoundError:  # a finder may refuse a module, as if there were none
                return None
            except KeyError:
                return _plain_folder(name, locations)
            if spec is not None:
                return spec
        return None


def _plain_folder(name: str, locations) -> ModuleSpec:
    """A folder without ``__init__.py`` in a package that is not imported."""
    spec = ModuleSpec(name, None, is_package=True)
    folders = [Path(location, name.rpartition(".")[2]) for location in locations]
    spec.submodule_search_locations = [str(folder) for folder in folders if folder.is_dir()]
    return spec


@functools.cache
def identity(*roots: str) -> dict:
    """`Code.identity` of this process, in which code does not change once it was imported."""
    return _code().identity(*roots)


def closure(*roots: str) -> Closure:
    """`Code.closure` of this process."""
    return _code().closure(*roots)


@functools.cache
def _code() -> Code:
    return Code()


def versions_of(packages: Iterable[str]) -> dict[str, str | None]:
    """The versions of the distributions that top-level names of packages come from, in order."""
    named = {each for package in packages for each in distributions_of(package) or (package,)}
    return {name: version_of(name) for name in sorted(named)}


@functools.cache
def version_of(distribution: str) -> str | None:
    """Of an installed distribution; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def distributions_of(package: str) -> tuple[str, ...]:
    """The names of the distributions that install a top-level package; empty if none does.

    `metadata.packages_distributions` answers the same of all packages, in ten times the time.
    """
    return tuple(sorted({name for name, installed in _installed() if package in installed}))


@functools.cache
def _installed() -> list[tuple[str, set[str]]]:
    """Each distribution with the top-level packages and modules that it installs."""
    found = []
    for distribution in metadata.distributions():
        listed = distribution.read_text("top_level.txt")
        if listed is not None:
            installed = set(listed.split())
        else:
            record = distribution.read_text("RECORD") or ""
            installed = {folder or module for folder, module in _AT_THE_TOP.findall(record)}
        found.append((distribution.name, installed))
    return found


def _imports(content: bytes, module: str, is_package: bool) -> Iterator[str]:
    """The absolute names that a module's source imports; none of what cannot be parsed."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, module, is_package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
    if b"import_module" in content:
        yield from _named_in_calls(tree)


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Every statement below a node, of functions and classes too; not what only types need."""
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        inner = node.orelse
    else:
        blocks = ("body", "orelse", "finalbody", "handlers", "cases")
        inner = [each for block in blocks for each in getattr(node, block, ())]
    for statement in inner:
        yield statement
        yield from _statements(statement)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.id if isinstance(test, ast.Name) else getattr(test, "attr", None)
    return name == "TYPE_CHECKING"


def _base(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """The module that names are imported from; a relative one counts from the package."""
    if not node.level:
        assert node.module is not None  # as the grammar has it
        return node.module
    parts = module.split(".")
    around = parts[: len(parts) - node.level + is_package]
    return ".".join([*around, *([node.module] if node.module else [])])


def _named_in_calls(tree: ast.AST) -> Iterator[str]:
    """What `import_module("name")` names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", None))
            if called == "import_module" and isinstance(node.args[0].value, str):
                yield node.args[0].value
