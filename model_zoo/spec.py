"""What a model of the zoo is: `ModelSpec`, a declaration that is read in ten seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from calibration_data.preprocessing import Preprocessing

PROFILES = ("compact", "full")
TFLITE_RECIPES = (
    "tflite_fp32",
    "tflite_fp16",
    "tflite_dynamic_int8",
    "tflite_int8",
    "tflite_uint8",
    "tflite_int16x8",
)


@dataclass(frozen=True)
class Network:
    """One profile of a model: who builds it, for what input, with which official weights.

    `builder` is ``module:function``; it is called with ``input_shape`` (h, w, channels; None where
    dynamic), ``classes`` and `arguments`. `size` (h, w) is the input that conversion fixes.
    `width` below 1 narrows every convolution of a network that has no such setting of its own.
    `official` is what the builder's ``weights=`` takes to fetch the official weights.
    """

    builder: str
    input_shape: tuple[int | None, int | None, int]
    size: tuple[int, int]
    classes: int
    width: float = 1.0
    arguments: dict = field(default_factory=dict)
    official: str | None = None


@dataclass(frozen=True)
class ModelSpec:
    """A model: task, source format, preprocessing, its two networks, the recipes it goes through.

    `wrapper` (``module:function``) puts layers around the built network, such as preprocessing that
    one scale and one zero point cannot express. `arm_speedup` is the least INT8 speedup over float
    that its users expect on an ARM CPU.
    """

    name: str
    task: str
    source_format: str
    preprocessing: Preprocessing
    compact: Network
    full: Network
    paper: str
    wrapper: str | None = None
    arm_speedup: float = 1.5
    recipes: tuple[str, ...] = TFLITE_RECIPES

    def network(self, profile: str) -> Network:
        return {"compact": self.compact, "full": self.full}[profile]
