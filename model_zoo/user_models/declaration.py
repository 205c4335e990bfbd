"""What a team says of a model of its own: one table of the TOML, checked, no file opened yet."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from int8gate.calibration_data.arrays.kinds import holds_arrays
from int8gate.calibration_data.preprocessing import PIXELS, Preprocessing

FORMAT_OF_SUFFIX = {
    ".tflite": "tflite",
    ".onnx": "onnx",
    ".pb": "frozen_graph",
    ".h5": "keras",
    ".keras": "keras",
    ".pt2": "pytorch",
    ".cfg": "darknet",
}
SAVED_MODEL = "saved_model"  # a folder
TORCH_QAT = "torch_qat"  # a checkpoint, and a function that makes its network


def format_of(file: Path) -> str:
    """How a model file is read: a `source_format` of the zoo, or ``saved_model`` of a folder.

    Raises ValueError for a file of no kind that is read.
    """
    if file.is_file() and file.suffix in FORMAT_OF_SUFFIX:
        return FORMAT_OF_SUFFIX[file.suffix]
    if (file / "saved_model.pb").is_file():
        return SAVED_MODEL
    raise ValueError(
        f"{file.name} is of no kind that is read: expected {', '.join(FORMAT_OF_SUFFIX)}, or the "
        "folder of a SavedModel"
    )


@dataclass(frozen=True)
class Qat:
    """[models.NAME.qat]: `network` (``module:function``) gives a PyTorch network that was prepared
    for quantization-aware training, `checkpoint` is its state dict after it. See `qat_network`.
    """

    network: str
    checkpoint: Path


@dataclass(frozen=True)
class OwnModel:
    """A model file with its task, data and preprocessing.

    Paths are absolute; `where` says in messages which table this is. `size` (h, w), `channels`,
    `classes` and `layout` ("nchw", "nhwc") are None where the file is to tell them. `data` is the
    folder of pictures and `labels` the form of their labels, "auto" to find it. `fit` are the
    arguments of `calibration_data.fit.Fit` but the size. `inputs` and `outputs` name the ends of a
    frozen graph, `signature` what of a SavedModel is meant. `decode` is a name of
    the `Task`'s `heads` or a hook (module:function), `metric` a hook (module:NAME), `head` the keys
    that `decode` takes. `float_file` is what a quantized file was made from, in any format.
    `recipes` is empty for the format's own. `expect` overrides entries of `expectations.toml`.
    `keys` are those that its table has, for advice on what to delete. `features` is the hook that
    makes features of recordings. `training_data` are what a recipe that trains learns from, as
    `data` are. `qat` says what was trained quantization-aware in PyTorch; `file` is its checkpoint
    then. `train_loss` is a hook: the loss of labels, for recipes that train.
    """

    name: str
    file: Path
    where: str
    task: str = "other"
    data: Path | None = None
    labels: str = "auto"
    size: tuple[int, int] | None = None
    channels: int | None = None
    classes: int | None = None
    class_names: tuple[str, ...] | None = None
    layout: str | None = None
    fit: dict = field(default_factory=dict)
    preprocessing: Preprocessing = PIXELS
    decode: str | None = None
    metric: str | None = None
    head: dict = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    signature: str | None = None
    float_file: Path | None = None
    recipes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    expect: dict = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    features: str | None = None
    training_data: Path | None = None
    qat: Qat | None = None
    train_loss: str | None = None

    @property
    def takes_arrays(self) -> bool:
        """Whether the data are arrays or recordings, not pictures; told by their names."""
        return self.data is not None and holds_arrays(self.data)

    @property
    def hooks(self) -> dict[str, str]:
        """The user's own functions by key, each as module:name."""
        preprocess = getattr(self.preprocessing, "hook", None)
        given = {"preprocess": preprocess, "decode": self.decode, "metric": self.metric}
        given |= {"features": self.features, "qat.network": self.qat and self.qat.network}
        given |= {"qat.loss": self.train_loss}
        return {key: place for key, place in given.items() if place and ":" in place}

    def twin(self, size: tuple[int, int], channels: int) -> OwnModel:
        """The declaration of `float_file`: the same model, at the quantized file's input."""
        own = {"file": self.float_file, "float_file": None, "layout": None, "recipes": ()}
        return replace(self, **own, size=size, channels=channels)

    @property
    def format(self) -> str:
        """How the file is read, told by its name alone: see `format_of`."""
        return TORCH_QAT if self.qat else FORMAT_OF_SUFFIX.get(self.file.suffix, SAVED_MODEL)
