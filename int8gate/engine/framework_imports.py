"""Frameworks without the libraries that they would only use where these happen to be installed.

TensorFlow and Keras load JAX, scikit-learn and Matplotlib while they are imported, for converters,
wrappers and pictures that no task of a worker uses: half of the processor time of their import.
`spare_optional_libraries` has them find none of the three meanwhile, which both of them take for
not installed. Whoever imports one of the three later gets it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

FRAMEWORKS = ("keras", "tensorflow")
OPTIONAL = ("jax", "matplotlib", "sklearn")


def spare_optional_libraries() -> None:
    """From now on, in this process."""
    if _FrameworkFinder not in sys.meta_path:
        sys.meta_path.insert(0, _FrameworkFinder)


class _FrameworkFinder:
    """Finds the frameworks alone, as Python does."""

    @staticmethod
    def find_spec(name: str, path=None, target=None) -> ModuleSpec | None:
        if name not in FRAMEWORKS:
            return None
        found = PathFinder.find_spec(name, path, target)
        if found is not None and type(found.loader) is SourceFileLoader:
            found.loader = _FrameworkLoader(found.loader.name, found.loader.path)
        return found


class _FrameworkLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        with _hidden(OPTIONAL):
            super().exec_module(module)


@contextlib.contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Modules that were not imported before cannot be found; importing one raises ImportError."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # None: "import of jax halted"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
