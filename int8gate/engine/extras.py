"""Which extra of int8gate brings which package, and the sentence for what is not installed.

    pip install "int8gate[onnx]"       gates ONNX files, without TensorFlow or PyTorch

pyproject.toml lists the same, with versions; a test compares the two. Packages that every
installation has stand in neither.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

# The name that is imported: that of its distribution, and the extras that bring it.
PACKAGES = {
    "ai_edge_litert": ("ai-edge-litert", ("tflite",)),
    "ai_edge_quantizer": ("ai-edge-quantizer", ("tflite",)),
    "diffusers": ("diffusers", ("zoo",)),
    "ethosu": ("ethos-u-vela", ("npu",)),
    "h5py": ("h5py", ("keras",)),
    "keras": ("keras", ("keras",)),
    "litert_torch": ("litert-torch", ("torch",)),
    "onnx": ("onnx", ("onnx", "torch")),
    "onnx2tf": ("onnx2tf", ("tflite",)),
    "onnxruntime": ("onnxruntime", ("onnx", "torch")),
    "onnxruntime_qnn": ("onnxruntime-qnn", ("qnn",)),
    "onnxscript": ("onnxscript", ("torch",)),
    "rapidfuzz": ("rapidfuzz", ("text",)),
    "safetensors": ("safetensors", ("zoo", "torch")),
    "skimage": ("scikit-image", ("zoo",)),
    "sklearn": ("scikit-learn", ("zoo",)),
    "tensorflow": ("tensorflow", ("tflite", "keras")),
    "tf_keras": ("tf-keras", ("keras", "tflite")),
    "torch": ("torch", ("torch",)),
    "torchao": ("torchao", ("torch",)),
    "transformers": ("transformers", ("zoo",)),
}
MOST = 4  # names in a sentence


class MissingPackages(ValueError):
    """Something needs packages that are not installed; the message says which extras bring them."""


def missing(packages: Iterable[str]) -> list[str]:
    """Those of the packages, by the names that are imported, that are not installed here."""
    return [name for name in dict.fromkeys(packages) if not _is_installed(name)]


def require(what: str, packages: Iterable[str]) -> None:
    """Raises MissingPackages where `what` needs packages that are not installed."""
    if lacking := missing(packages):
        raise MissingPackages(sentence(what, lacking))


def sentence(what: str, packages: Iterable[str]) -> str:
    """What is missing for `what`, and how to install it.

    Packages that are not in `PACKAGES`, such as a user's target needs, go by their own names.
    """
    packages = list(packages)
    names = [PACKAGES[name][0] if name in PACKAGES else name for name in packages]
    others = [f" {name}" for name in packages if name not in PACKAGES]
    if len(names) > MOST:
        names[MOST - 1 :] = [f"{len(names) - MOST + 1} other packages"]
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    verb = "which is" if len(names) == 1 else "which are"
    extras = ",".join(extras_of(name for name in packages if name in PACKAGES))
    ours = f' "int8gate[{extras}]"' if extras else ""
    return f"{what} needs {listed}, {verb} not installed: pip install{ours}{''.join(others)}"


def explained(error: BaseException, what: str) -> str | None:
    """The sentence in place of an import that failed for want of an extra; None for others."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition(".")[0]
    lacks = package in PACKAGES and missing([package])
    return sentence(what, [package]) if lacks else None


def extras_of(packages: Iterable[str]) -> list[str]:
    """The extras that bring all of the packages, as few as the order of the table gives."""
    chosen: list[str] = []
    for name in sorted(packages, key=lambda name: len(PACKAGES[name][1])):
        extras = PACKAGES[name][1]
        if not set(extras) & set(chosen):
            chosen.append(extras[0])
    return sorted(chosen)


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # refused by a finder; a module without a spec
        return False
