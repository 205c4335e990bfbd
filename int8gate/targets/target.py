"""`Target`: where an artifact is timed or simulated, and what the record says of it.

A new target is a subclass in a module of this folder, or in a module that `plugins` of a TOML names
(`engine.plugins`), which calls `registry.register` with an instance.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from int8gate.quantizers.recipe_type import EIGHT_BITS, SCALES, Recipe

# What a latency is: of this very hardware; of a compiler's or a roofline's arithmetic; of software
# that computes what the hardware would, whose own time says nothing.
MEASURED, MODELLED, SIMULATED = "measured", "modelled", "simulated"
KINDS = (MEASURED, MODELLED, SIMULATED)


class Target(ABC):
    """An NPU or a device, by `name`.

    Attributes
    ----------
    name : as the command line and the record have it.
    format : of the artifacts that it takes: `tflite` or `onnx`.
    kind : of its figures, one of `KINDS`. Of a simulated target no latency is gated, but its score
        beside the host's. What is measured is measured in every run; the rest is kept in the cache.
    packages : distributions whose versions enter the record and that its figures depend on.
    programs : top-level packages that it runs as programs, which no import names.
    provider : ONNX Runtime's execution provider that computes as the target does; None without.
    larger : the target to try where this one is too slow; None where there is none.
    per_channel : whether weights may have a scale for each channel.
    scales : what scales may be, of `recipe.SCALES`.
    widths : what single operators of an 8-bit file may have on it besides (`recipe.WIDTHS`), those
        that cost least first; none where it takes files of one width alone. Without float32 or
        float16 it runs integers alone.
    """

    name: str
    format: str
    kind: str
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    provider: str | None = None
    larger: str | None = None
    per_channel: bool = True
    scales: tuple[str, ...] = SCALES
    widths: tuple[str, ...] = ("float32",)

    def takes(self, recipe: Recipe) -> bool:
        """Whether its silicon has the scales that files of such a recipe have."""
        is_of_8_bits = recipe.activations in EIGHT_BITS
        return (self.per_channel or not recipe.per_channel) and (
            recipe.scales in self.scales or not is_of_8_bits
        )

    @property
    def runs_float(self) -> bool:
        """Whether it computes float operators, too."""
        return any(width.startswith("float") for width in self.widths)

    def unavailable(self) -> str | None:
        """Why it cannot be used here, a sentence that says what to install; None when it can."""
        return None

    @property
    def roots(self) -> tuple[str, ...]:
        """What reaches all the code that its figures depend on; see `engine.code_identity`."""
        return (type(self).__module__, *self.programs)

    @property
    def parameters(self) -> str:
        """What tells this target from others of its class, for cache keys."""
        return repr(self)

    @abstractmethod
    def entry(self, model: Path, core: str, directory: Path, timeout_s: float) -> dict:
        """Compiles the artifact and times it: the record's entry, as far as it can be known.

        Runs in a worker process, which may crash; writes what it compiles into `directory`. `core`
        is the ARM core that the command line compares with. The entry has

        - `npu_ops`, `cpu_ops`: how many operators run on the target and how many are left to the
          CPU; `cpu_fallback`: {op, name, reason} of each of the latter
        - `latency_ms`, `speedup`: of one inference, and over the `cpu_baseline` {core, kind,
          best_ms, typical_ms}; None where they are not known
        - `refused`: what a compiler says that compiles nothing; absent where it does
        - `compiled`: the name of the file that an integrator flashes, in `directory`
        - and what the figures assume: `compiler`, `system_config`, `memory_mode`, `clock_mhz`,
          `fallback_ms`.
        """


FIELDS = ("latency_ms", "npu_ops", "cpu_ops", "cpu_fallback", "cpu_baseline", "speedup")


def blank_entry(target: Target) -> dict:
    """The record's entry of a target of which nothing is known yet."""
    return {"target": target.name, "kind": target.kind, **dict.fromkeys(FIELDS), "cpu_fallback": []}
