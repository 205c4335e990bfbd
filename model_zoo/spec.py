"""What a model of the zoo is: `ModelSpec`, a declaration that is read in ten seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.calibration_data.preprocessing import Preprocessing
from int8gate.model_zoo.user_models.declaration import OwnModel

PROFILES = ("compact", "full")
PREQUANTIZED = ("prequantized",)
TFLITE_RECIPES = (
    "tflite_int8",
    "tflite_fp32",
    "tflite_fp16",
    "tflite_dynamic_int8",
    "tflite_uint8",
    "tflite_int16x8",
)
TORCH_RECIPES = (
    "onnx_int8",
    "onnx_fp32",
    "onnx_int8_entropy",
    "onnx_int8_percentile",
    "onnx_int8_mse",
    "tflite_int8",
    "tflite_int8_entropy",
    "tflite_int8_percentile",
    "tflite_fp32",
)
# Matrix products carry a transformer; dynamic INT8 leaves convolutions in float.
TRANSFORMER_RECIPES = (*TORCH_RECIPES, "onnx_dynamic_int8", "onnx_weight_int8")
# Built, trained and exported with PyTorch.
TORCH_FORMATS = ("pytorch", "diffusers", "darknet", "onnx")
NO_PICTURE: dict = {"input_shape": (None, None, 0), "size": (0, 0)}  # where there are arrays


def beginning_with(default: str, recipes: tuple[str, ...]) -> tuple[str, ...]:
    """The recipes with another one as the model's default."""
    return (default, *(recipe for recipe in recipes if recipe != default))


@dataclass(frozen=True)
class Network:
    """One profile of a model: who builds it, for what input, with which official weights.

    `builder` is ``module:function``; it is called with ``input_shape`` (h, w, channels; None where
    dynamic), ``classes`` (unless that is None) and `arguments`. `size` (h, w) is the input that
    conversion fixes. `width` below 1 narrows every convolution of a network that has no such
    setting of its own. `official` is what the builder's ``weights=`` takes to fetch the official
    weights, or the name of the official file of a model that comes as one. `picture` (h, w) is the
    size of the user's pictures where the host resizes them. Of a frozen graph, `ends` names input
    and output tensors ("node:0") where they cannot be told, and `cut` the inputs and outputs of the
    network where the automatic cut is not wanted. `inputs` are those of a network that takes
    arrays, in the order of its file; of one that takes a picture there are none. A builder gets
    them as ``inputs``, in place of ``input_shape``. `drawn` is what a sample holds where the host
    makes the inputs of it, and calls the network step by step: noise first, then the tokens of a
    prompt. `tokenizer` (``module:function``, see `calibration_data.texts.tokenizers`) makes the
    input of a network that reads text. `steps` (``module:function``, called with the `ModelSpec`
    and the tokens of a prompt) declares the networks of generation with a cache, prefill and
    decode; `calls` of such a step (``module:function``, called with the built network and samples
    (n, ...)) gives the inputs of its calls, which it is calibrated on.
    """

    builder: str
    input_shape: tuple[int | None, int | None, int]
    size: tuple[int, int]
    classes: int | None
    width: float = 1.0
    arguments: dict = field(default_factory=dict)
    official: str | None = None
    picture: tuple[int, int] | None = None
    ends: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    cut: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    inputs: tuple[Input, ...] = ()
    drawn: tuple[Input, ...] = ()
    tokenizer: str | None = None
    steps: str | None = None
    calls: str | None = None

    @property
    def sample_shape(self) -> tuple[int | None, ...]:
        """Of the first array of a sample, or of the picture."""
        arrays = self.drawn or self.inputs
        return arrays[0].shape if arrays else self.picture_shape

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a sample, before any preprocessing."""
        return (*(self.picture or self.size), self.input_shape[-1])


@dataclass(frozen=True)
class ModelSpec:
    """A model: task, source format, preprocessing, its two networks, the recipes it goes through.

    `source_format` is what its users have: keras, frozen_graph, tflite, pytorch, diffusers, darknet
    or onnx; of a team's own also saved_model or torch_qat.
    The functions are named ``module:function``. `wrapper` puts layers around the built network,
    such as preprocessing that one scale and one zero point cannot express. `graph` makes, of the
    built network with its weights and the `Network`, the TF1 frozen graph that users of a
    `frozen_graph` model have: with control flow around it. `source` does so for formats of files:
    called with (network, `Network`, directory) it writes the file or files there and returns the
    path of the one that an importer takes. `decode` turns the model's outputs, a
    list of arrays (n, ...), and the `Network` into the one array that the task's metric takes.
    `scenes` names what draws the compact profile's samples where it is not the task's own
    generator, and `training` (``module:NAME``) the `TrainingTask` where it is not the task's.
    `arm_speedup` is the least INT8 speedup over float that its users expect on an ARM CPU. The
    first of `recipes` is the default: what is gated when one case must stand for the model. `own`
    declares a team's own model, whose file takes the place of builder and weights.

    A model may have the full profile alone: its `compact` is None then, and runs of the compact
    profile name it as left out.
    """

    name: str
    task: str
    source_format: str
    preprocessing: Preprocessing
    compact: Network | None
    full: Network
    paper: str
    wrapper: str | None = None
    graph: str | None = None
    source: str | None = None
    decode: str | None = None
    scenes: str | None = None
    training: str | None = None
    arm_speedup: float = 1.5
    recipes: tuple[str, ...] = TFLITE_RECIPES
    own: OwnModel | None = None

    @property
    def default_recipe(self) -> str:
        return self.recipes[0]

    @property
    def own_model(self) -> OwnModel:
        """`own`, of a model that a team declares; raises ValueError for one of the zoo."""
        if self.own is None:
            raise ValueError(f"{self.name} is a model of the zoo, expected one of your own")
        return self.own

    @property
    def is_calibrated(self) -> bool:
        """Whether part of a user's samples is held out for calibration: a quantized file needs
        none.
        """
        return self.recipes != PREQUANTIZED

    @property
    def is_torch(self) -> bool:
        """Built and trained with PyTorch, not with Keras."""
        return self.source_format in TORCH_FORMATS

    @property
    def data(self) -> str:
        """What `calibration_data.load` takes to find the samples."""
        return self.scenes or self.task

    def has(self, profile: str) -> bool:
        """Whether the model has a network of that profile."""
        return {"compact": self.compact, "full": self.full}[profile] is not None

    def network(self, profile: str) -> Network:
        """Raises ValueError where the model has none of that profile."""
        found = {"compact": self.compact, "full": self.full}[profile]
        if found is None:
            raise ValueError(f"{self.name} has the full profile alone: pass --profile full")
        return found
