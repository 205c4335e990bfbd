"""On PYTHONPATH: Python without the packages that INT8GATE_WITHOUT names, in every process."""

from __future__ import annotations

import os
import sys

REFUSED = frozenset(os.environ.get("INT8GATE_WITHOUT", "").split())


class Refusing:
    """A finder that stands first and says of these packages that there are none."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Refusing())
