"""`Toolchain`: from an export to a float artifact, to statistics, to a quantized artifact.

A new one is a folder beside this file with a module `toolchain.py`, which calls `register` of
`registry.py`; or a module that `plugins` of a TOML names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from int8gate.quantizers.layer import Layer
from int8gate.quantizers.recipe import REFERENCES
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.stage import Stage

FLOAT, EXPORTED = "float artifact", "exported network"  # what a quantization starts from
STATISTICS, SAMPLES = "statistics", "samples"  # what it takes besides


@dataclass(frozen=True)
class Quantization:
    """What makes the quantized artifact of a recipe.

    `stage` is called with (what it `reads`, recipe, what it `takes` or None), and, where it reads
    the float artifact, with what pixels 0 and 255 become at the network's input.
    """

    stage: Stage
    reads: str
    takes: str | None = None


class Toolchain(ABC):
    """A way to quantized files.

    Attributes
    ----------
    name : as recipes have it; also the format of the artifact.
    file : what the artifact is called in the directory of its stage.
    packages : distributions that its figures depend on.
    floats : what makes the float artifact, by the form that an export has
        (`sources.py`); called with (the directory that the export wrote).
    calibration : called with (float artifact, samples, where shards are kept, jobs).
    naming : gives an artifact the names of inputs and outputs that a user's file has; called with
        (file, names of inputs, of outputs). None where conversion keeps them.
    remedies : by the names of `recipe.REMEDIES`, what changes the float artifact before it is
        quantized; called with (float artifact, its statistics, samples, recipe). It writes another
        float artifact with the same inputs and outputs and returns `{"notes": [sentence, ...]}`.
    training : trains a float artifact for a recipe (`training/trainer.py`); called with (float
        artifact, its statistics, model, recipe, profile, schedule, imported graph, checkpoint).
        None where the toolchain has none.
    sharing : gives an artifact the rounded weights of another network's with the same float ones;
        called with (float artifact, recipe, the other's float artifact, its quantized one). None
        where no rounding of the toolchain looks at samples.
    taking : copies a file that comes quantized; called with (file). None where none can.
    integer_operators : the record's `integer_ops` of an artifact, called in the worker.
    segmented : ``module:function`` that opens a float artifact, to quantize single layers of it in
        memory; called with (float artifact, ranges, recipe, pixel range), gives a `Segmented`.
        Empty where none does.
    widths : those of `recipe.WIDTHS` that its quantization gives single operators by the rules
        (`Recipe.by_width`); `integer_operators` tells those that compute on floats as
        `float_by_recipe`, and names `int16_ops` and `int4_ops`.
    """

    name: str
    file: str
    packages: tuple[str, ...] = ()
    floats: Mapping[str, Stage]
    calibration: Stage
    naming: Stage | None = None
    remedies: Mapping[str, Stage] = MappingProxyType({})
    training: Stage | None = None
    sharing: Stage | None = None
    taking: Stage | None = None
    integer_operators: Callable
    segmented: str = ""
    widths: tuple[str, ...] = ()

    @property
    def reference(self) -> Recipe:
        """The float recipe: what a quantized artifact is compared with."""
        return REFERENCES[self.name]

    def layers(self, float_model: Path) -> list[Layer]:
        """What can be quantized of a float artifact, in the order of its graph; none where the
        toolchain does not tell. Loads the format's library: for a worker process.
        """
        return []

    @abstractmethod
    def refusal(self, form: str, recipe: Recipe) -> str | None:
        """Why an export of that form cannot go through the recipe, and what to choose; None where
        it can. It continues "MODEL comes as FORMAT, and RECIPE".
        """

    @abstractmethod
    def quantization(self, recipe: Recipe) -> Quantization:
        """How a recipe that is no reference is made."""

    @abstractmethod
    def words(self, form: str, recipe: Recipe) -> list[str]:
        """The steps from the export to the artifact, for the record."""
