"""Weights files: safetensors and others, which of them a network gets, and the zoo's manifest.

The tensors of a file are checked against the network's before they are set (`check_fit`). The
manifest names the weights that come with the project.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from int8gate.engine import atomic_file
from int8gate.engine.file_digest import sha256_of
from int8gate.model_zoo.spec import ModelSpec
from int8gate.runtimes import onnx_file

MANIFEST = "manifest.json"
# The file that tells the folder of a Hugging Face repository, by its library.
CONFIG, PIPELINE = "config.json", "model_index.json"
DISTRIBUTION = "int8gate-zoo-weights"
SUFFIXES = (".safetensors", ".weights.h5", ".h5")
TORCH_SUFFIXES = (".safetensors",)
SOURCE_SUFFIXES = {"frozen_graph": ".pb", "onnx": ".onnx", "darknet": ".cfg"}  # users' own files
FETCHED = ("keras", "pytorch", "diffusers")  # whose official weights a loader has
NOT_WEIGHTS = ("optimizer", "seed_generator", "metrics")  # what else a `.weights.h5` may hold


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.safetensors` file by name; raises ValueError for a damaged one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    # A dtype that NumPy does not have raises what looking it up does.
    except (SafetensorError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"weights file {path} is truncated or not safetensors ({error}): copy or train it again"
        ) from error


def check_fit(tensors: dict, wanted: dict[str, np.ndarray], path: Path, network: str) -> None:
    """Compares a file's arrays with a network's: names, shapes, kinds of dtype, finite values.

    Raises ValueError naming the file and the first tensor that does not fit.
    """
    for name in sorted(wanted.keys() ^ tensors.keys()):
        where = "the file lacks it" if name in wanted else "the network has no such tensor"
        raise ValueError(
            f"weights file {path} is not for {network}: tensor {name}: {where}; is it of another "
            "network?"
        )
    for name, own in wanted.items():
        found = tensors[name]
        if found.shape != own.shape:
            raise ValueError(
                f"weights file {path}: tensor {name} has shape {found.shape}, {network} needs "
                f"{own.shape}"
            )
        if found.dtype.kind != own.dtype.kind:
            raise ValueError(
                f"weights file {path}: tensor {name} is {found.dtype}, expected {own.dtype}: "
                "bring the weights from before quantization"
            )
        check_finite(found, name, path)


def check_finite(tensor: np.ndarray, name: str, path: Path) -> None:
    """Raises ValueError where a tensor holds NaN or infinity."""
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        raise ValueError(
            f"weights file {path}: tensor {name} holds NaN or infinity: the training diverged or "
            "the file is damaged, train or copy it again"
        )


def _shipped() -> Path:
    """The folder of the trained weights: in a checkout beside this file, else of `DISTRIBUTION`.

    Where they are not installed the folder does not exist.
    """
    beside = Path(__file__).parent / "weights"
    spec = importlib.util.find_spec(DISTRIBUTION.replace("-", "_"))
    if spec is None or (beside / MANIFEST).is_file():
        return beside
    return Path(next(iter(spec.submodule_search_locations)))


SHIPPED = _shipped()


def not_installed() -> str | None:
    """Why the zoo has no trained weights here, and what to install; None where it has them."""
    if (SHIPPED / MANIFEST).is_file():
        return None
    return (
        f"the zoo's trained weights are not installed: pip install {DISTRIBUTION} (in a checkout "
        "of int8gate: pip install ./model_zoo/weights), or pass --weights-dir DIR or --weights "
        "random"
    )


@dataclass(frozen=True)
class Weights:
    """Where a network's weights come from: `shipped`, `directory`, `own`, `official`, `random`.

    `trusted`: code in the file may run. It is no part of the identity: results are the same.
    """

    kind: str
    path: Path | None = None
    trusted: bool = False

    @property
    def identity(self) -> str:
        """What cache keys carry: the sha256 of its files, or the kind when there is none."""
        if self.path is None:
            return self.kind
        if self.path.suffix == ".onnx":
            return _identity_of_onnx(self.path)
        if self.path.is_dir():
            return _identity_of_folder(self.path)
        if self.path.suffix == ".cfg":
            return "-".join(sha256_of(file) for file in _darknet_pair(self.path))
        return sha256_of(self.path)


def _identity_of_onnx(path: Path) -> str:
    """With its external data; of a damaged file its own content, and the importer refuses it."""
    try:
        return onnx_file.digest(path)
    except Exception:  # of protobuf, and of whatever the file names
        return sha256_of(path)


def _identity_of_folder(folder: Path) -> str:
    """Of a SavedModel: its files by name and content."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    listed = "".join(f"{file.relative_to(folder)} {sha256_of(file)}\n" for file in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def _darknet_pair(cfg: Path) -> tuple[Path, Path]:
    trained = cfg.with_suffix(".weights")
    if not trained.is_file():
        raise FileNotFoundError(
            f"{cfg} has no {trained.name} beside it: Darknet keeps a network in two files, add the "
            "other"
        )
    return cfg, trained


def find_weights(
    spec: ModelSpec, profile: str, weights_dir: Path | None = None, random: bool = False
) -> Weights:
    """The weights of a profile; raises FileNotFoundError saying what was looked for and where."""
    if random:
        return Weights("random")
    if weights_dir is not None:
        folder = Path(weights_dir) / spec.name
        index = PIPELINE if spec.source_format == "diffusers" else CONFIG
        if profile == "full" and spec.full.tokenizer and (folder / index).is_file():
            return Weights("directory", folder)
        names = [f"{spec.name}{suffix}" for suffix in _suffixes(spec)]
        if profile == "full" and spec.full.tokenizer:
            names.insert(0, f"{spec.name}/{index}")
        return Weights("directory", _in_directory(spec.name, names, Path(weights_dir)))
    if profile == "compact":
        path = SHIPPED / f"{spec.name}.safetensors"
        if not path.is_file():
            raise FileNotFoundError(
                f"{spec.name}: "
                + (not_installed() or f"no {path}: run `int8gate train {spec.name}`")
            )
        return Weights("shipped", path)
    if spec.full.official is None or spec.source_format not in FETCHED:
        names = " or ".join(f"{spec.name}{s}" for s in _suffixes(spec) if "h5" not in s)
        raise FileNotFoundError(
            f"{spec.name}: no loader fetches weights for the full profile: pass --weights-dir DIR "
            f"with {names}, or --weights random for a structure-only run"
        )
    return Weights("official")


def _suffixes(spec: ModelSpec) -> tuple[str, ...]:
    """Of the files that a model's weights may come in, what its users have first."""
    source = SOURCE_SUFFIXES.get(spec.source_format)
    return (*([source] if source else []), *(TORCH_SUFFIXES if spec.is_torch else SUFFIXES))


def find_quantized_file(spec: ModelSpec, profile: str, weights_dir: Path | None = None) -> Path:
    """The file of a model that comes quantized; raises FileNotFoundError as `find_weights` does."""
    name = f"{spec.name}.tflite"
    if weights_dir is not None:
        names = [name, *filter(None, [spec.network(profile).official])]
        return _in_directory(spec.name, names, Path(weights_dir))
    if profile == "full":
        raise FileNotFoundError(
            f"{spec.name}: the full profile takes the official file: pass --weights-dir DIR with "
            f"{spec.full.official} or {name}"
        )
    if not (SHIPPED / name).is_file():
        raise FileNotFoundError(
            f"{spec.name}: "
            + (not_installed() or f"no {SHIPPED / name}: run `int8gate train {spec.name}`")
        )
    return SHIPPED / name


def _in_directory(model: str, names: list[str], directory: Path) -> Path:
    if not directory.is_dir():
        raise FileNotFoundError(
            f"--weights-dir {directory} is not a directory: create it or mend the path"
        )
    for name in names:
        if (directory / name).is_file():
            return directory / name
    found = ", ".join(sorted(path.name for path in directory.iterdir())[:5]) or "nothing"
    raise FileNotFoundError(
        f"--weights-dir {directory} holds no weights for {model}: expected {' or '.join(names)}, "
        f"found {found}: add the file"
    )


def load(model, path: Path) -> None:
    """Sets a `keras.Model`'s weights from a file; only arrays are read, no code is run.

    Raises ValueError naming the file and the first tensor that does not fit.
    """
    if path.suffix == ".h5":
        _load_h5(model, path)
    else:
        _load_safetensors(model, path)
    for variable in model.weights:
        check_finite(variable.numpy(), variable.path, path)


def _load_safetensors(model, path: Path) -> None:
    tensors = read_safetensors(path)
    check_fit(tensors, tensors_of(model), path, model.name)
    for variable in model.weights:
        variable.assign(tensors[variable.path])


def _load_h5(model, path: Path) -> None:
    """Keras's own formats, of `model` or of the library's network that stands inside it."""
    before, refusal = model.get_weights(), None
    for target in (model, *(layer for layer in model.layers if hasattr(layer, "layers"))):
        try:
            with warnings.catch_warnings():  # one for each layer that does not fit
                warnings.simplefilter("ignore")
                target.load_weights(path)
            _refuse_surplus(target, path)
            return
        except Exception as error:  # of h5py and of Keras, there is no common one
            refusal = refusal or error
            model.set_weights(before)
    raise ValueError(
        f"weights file {path} cannot be loaded into {model.name} ({_in_short(refusal)}): it is "
        "truncated, or of another network, or of another size of this one: replace it"
    ) from refusal


def _refuse_surplus(target, path: Path) -> None:
    """Keras passes over what a `.weights.h5` holds beyond the network's own tensors."""
    if not path.name.endswith(".weights.h5"):
        return
    import h5py

    found = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: found.append(name) if hasattr(item, "shape") else None)
    found = [name for name in found if not any(part in name for part in NOT_WEIGHTS)]
    if len(found) > len(target.weights):
        raise ValueError(f"it holds {len(found)} tensors, the network has {len(target.weights)}")


def _in_short(error: Exception) -> str:
    """Keras writes pages, all values of a tensor among them; the reason follows a heading."""
    lines = [line for line in str(error).splitlines() if line] or [repr(error)]
    reason = lines[1] if lines[0].endswith(":") and len(lines) > 1 else lines[0]
    return reason.split(" Target variable:")[0].rstrip(".:").replace(". ", "; ")


def tensors_of(model) -> dict[str, np.ndarray]:
    """A `keras.Model`'s weights by name, for storing."""
    return {variable.path: np.asarray(variable.numpy()) for variable in model.weights}


def store(
    tensors: dict[str, np.ndarray], name: str, facts: dict, directory: Path = SHIPPED
) -> Path:
    """Writes a trained model's weights and its entry of the manifest, each atomically."""
    from safetensors.numpy import save

    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.safetensors"
    atomic_file.write(path, save(tensors))
    known = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    annotate(name, known | facts, directory)
    return path


def store_quantized(model: Path, name: str, directory: Path = SHIPPED) -> dict:
    """Copies a quantized file to the weights, atomically; returns its facts for the manifest."""
    path = directory / f"{name}.tflite"
    atomic_file.write(path, model.read_bytes())
    return {"quantized_sha256": sha256_of(path), "quantized_bytes": path.stat().st_size}


def annotate(name: str, facts: dict, directory: Path = SHIPPED) -> None:
    """Puts facts into a model's entry of the manifest."""
    manifest = read_manifest(directory)
    manifest[name] = manifest.get(name, {}) | facts
    content = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    atomic_file.write(directory / MANIFEST, content.encode())


def read_manifest(directory: Path = SHIPPED) -> dict:
    """The manifest by model name; empty before the first training."""
    path = directory / MANIFEST
    return json.loads(path.read_text()) if path.is_file() else {}
