"""The environments of the peers of `benchmarks.peers`, made with venv and pip where absent.

What a peer shares with this project (ONNX, TensorFlow, NumPy) it reads from our site-packages, by a
`.pth` file, where it runs with our versions: that saves gigabytes. It sees none of the others.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

DONE = "complete"  # a file in an environment that was made to its end


class Absent(Exception):
    """A peer that cannot be had here, or does not take a model; the text says why."""


@dataclass(frozen=True)
class Environment:
    """`requirements` are pip's; `beside_ours`: they come without their dependencies, which are
    those of this project.
    """

    requirements: tuple[str, ...]
    beside_ours: bool = True


ENVIRONMENTS = {
    "nncf": Environment(("nncf==3.4.0", "pydot==3.0.4", "ninja==1.13.0")),
    "onnxruntime": Environment(("onnxruntime==1.31.1", "onnx==1.23.2"), beside_ours=False),
    "ai_edge_quantizer": Environment(("ai-edge-quantizer==0.10.0",)),
    "converter": Environment(()),  # TensorFlow's, which is installed with us
    "tf2onnx": Environment(("tf2onnx==1.17.0",)),
}


def python_of(name: str, root: Path) -> Path:
    """The interpreter of a peer's environment; raises Absent as `made` does."""
    return made(ENVIRONMENTS[name], root.expanduser().absolute() / name)


def made(wanted: Environment, folder: Path) -> Path:
    """The interpreter of an environment, which is made where it is not there yet; raises Absent
    where pip does not bring what it needs.
    """
    python = folder / "bin" / "python"
    if (folder / DONE).is_file():
        return python
    venv.create(folder, clear=True, with_pip=True)
    if wanted.beside_ours:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = folder / "lib" / version / "site-packages"
        (packages / "ours.pth").write_text(f"{_our_packages()}\n")
    if wanted.requirements:
        alone = ["--no-deps"] if wanted.beside_ours else []
        command = [python, "-m", "pip", "install", "--quiet", *alone, *wanted.requirements]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["pip failed"]
            raise Absent(f"pip: {lines[-1][:120]}")
    (folder / DONE).touch()
    return python


def _our_packages() -> Path:
    """Where the packages lie that this process imports."""
    found = importlib.util.find_spec("onnx")
    if found is None or found.origin is None:
        raise Absent("onnx is not installed here, which the peers share with us")
    return Path(found.origin).parent.parent
