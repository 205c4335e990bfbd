"""How a model's file comes to the network that is quantized, by its format, and what that needs.

A new source format is an entry here: what exports it, the form in which the toolchains get it, and
the packages that a run needs, so that it can say before it starts what is not installed;
`engine.extras` says which extra brings them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.user_models.declaration import format_of
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.stage import Stage
from int8gate.runtimes.artifact import ONNX, PROGRAM, SAVED_MODEL, TFLITE
from int8gate.tasks.registry import task

_EXPORT = "int8gate.quantizers.network_export"
_FROM_TORCH = "int8gate.quantizers.toolchains.onnx.from_torch"
WRITES_ONNX = ("onnxscript",)  # what PyTorch's exporter translates with; only PyTorch imports it

PACKAGES_OF_FORMAT = {  # what reads such a file
    "keras": ("keras", "tensorflow"),
    "saved_model": ("tensorflow",),
    "frozen_graph": ("tensorflow",),
    "pytorch": ("torch",),
    "diffusers": ("torch", "diffusers"),
    "darknet": ("torch",),
    "onnx": ("onnx", "onnxruntime"),
    "torch_qat": ("torch", "onnxscript", "onnx", "onnxruntime"),
    "tflite": ("ai_edge_litert",),
}
PACKAGES_OF_TOOLCHAIN = {
    "onnx": ("onnx", "onnxruntime"),
    "tflite": ("ai_edge_litert", "tensorflow"),
}
PACKAGES_BETWEEN = {  # what brings a model of the format there, beside what both need
    ("pytorch", "onnx"): ("onnxscript",),
    ("diffusers", "onnx"): ("onnxscript",),
    ("darknet", "onnx"): ("onnxscript",),
    ("pytorch", "tflite"): ("litert_torch",),
    ("diffusers", "tflite"): ("litert_torch",),
    ("darknet", "tflite"): ("litert_torch",),
    ("onnx", "tflite"): ("onnx2tf",),
    ("torch_qat", "tflite"): ("onnx2tf",),
}
PACKAGES_OF_ROUNDING = {"hqq": ("torch",)}  # what ONNX Runtime's quantizer solves it with
PACKAGES_OF_ZOO = ("safetensors", "skimage", "sklearn")  # the zoo's weights and pictures


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is done with the models of a source format.

    Attributes
    ----------
    name : the format, as declarations have it.
    form : the file or directory that `export` writes (`runtimes.artifact`), which a toolchain
        starts from.
    export : ``module:function``, called in the worker with (spec, profile, weights, seed, [samples
        where it `sees_samples`], directory); `kind` is that of its cache entry, `needs` packages
        that no import names.
    words : how it is done, for the record.
    is_reported : `export` returns what was repaired and left out.
    is_cut : the host runs what stands around the network (`runtimes.host`), so that calibration
        samples go through it first, and predictions afterwards.
    sees_samples : `export` gets samples of calibration, by which it learns shapes.
    keeps_names : the converted file has the names of inputs and outputs that a user's file has.
    """

    name: str
    form: str
    export: str
    kind: str
    words: str
    needs: tuple[str, ...] = ()
    is_reported: bool = True
    is_cut: bool = False
    sees_samples: bool = False
    keeps_names: bool = False

    def stage(self, spec: ModelSpec, profile: str) -> Stage:
        """The export of such a model."""
        builders = (spec.network(profile).builder, spec.wrapper, spec.graph, spec.source)
        return Stage(self.kind, self.export, (*filter(None, builders), *self.needs))


def _keras(name: str, words: str, **settings) -> Source:
    kept = {"form": SAVED_MODEL, "export": f"{_EXPORT}:export_keras", "kind": "saved_model"}
    return Source(name=name, words=words, **{**kept, **settings})


def _torch(name: str, words: str, **settings) -> Source:
    kept = {"form": PROGRAM, "export": f"{_FROM_TORCH}:export_torch", "needs": WRITES_ONNX}
    return Source(name=name, kind="program", words=words, **{**kept, **settings})


_OF_ZOO = {
    source.name: source
    for source in (
        _keras("keras", "Keras network, traced at its declared size"),
        _keras(
            "frozen_graph",
            "TF1 frozen graph, repaired, its network cut out",
            export=f"{_EXPORT}:export_frozen_graph",
            kind="imported",
            is_cut=True,
            sees_samples=True,
            keeps_names=True,  # those of the network that was cut out of it
        ),
        _keras(
            "tflite",
            "float twin of the quantized file, traced at its declared size",
            is_reported=False,
        ),
        _torch("pytorch", "PyTorch network, exported at its declared size"),
        _torch(
            "diffusers",
            "denoiser of a Diffusers pipeline, exported at its declared size",
            export="int8gate.quantizers.pipeline_export:export_pipeline",
            is_cut=True,
        ),
        _torch(
            "darknet",
            "Darknet .cfg and .weights, read into PyTorch, exported",
            keeps_names=True,  # it has none
        ),
        Source(
            name="onnx",
            form=ONNX,
            export=f"{_FROM_TORCH}:export_onnx",
            kind="program",
            words="ONNX file, checked and repaired",
        ),
    )
}
_OF_USERS = _OF_ZOO | {
    "saved_model": _keras(
        "saved_model",
        "SavedModel, traced at its declared size",
        export=f"{_EXPORT}:export_saved_model",
        is_reported=False,
    ),
    "tflite": Source(
        name="tflite",
        form=TFLITE,
        export=f"{_EXPORT}:take_tflite",
        kind="program",
        words="float TFLite file, taken as it is",
        is_reported=False,
        keeps_names=True,
    ),
    "torch_qat": Source(
        name="torch_qat",
        form=ONNX,
        export=f"{_FROM_TORCH}:export_trained",
        kind="program",
        words="PyTorch network trained quantization-aware, exported with its scales",
        needs=WRITES_ONNX,
    ),
    "pytorch": replace(_OF_ZOO["pytorch"], words="PyTorch program, exported again"),
}


def source_of(spec: ModelSpec) -> Source:
    """Of a model of the zoo, whose file its declaration writes, or of a user's own file."""
    return (_OF_USERS if spec.own else _OF_ZOO)[spec.source_format]


def packages_of(spec: ModelSpec, recipe: Recipe) -> tuple[str, ...]:
    """The packages that a case needs, by the names that are imported."""
    needed = PACKAGES_OF_FORMAT[spec.source_format] + task(spec.task).packages
    if spec.own and recipe.is_prequantized:
        twin = spec.own.float_file
        return needed + (
            PACKAGES_OF_FORMAT[format_of(twin)] + PACKAGES_OF_TOOLCHAIN["tflite"] if twin else ()
        )
    needed += PACKAGES_OF_TOOLCHAIN.get(recipe.toolchain, ())
    needed += PACKAGES_BETWEEN.get((spec.source_format, recipe.toolchain), ())
    needed += PACKAGES_OF_ROUNDING.get(recipe.rounding, ())
    if spec.own:
        return needed
    return needed + PACKAGES_OF_ZOO + (("torch", "transformers") if spec.is_torch else ("keras",))
