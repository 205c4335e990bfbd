"""Which packages the way from a model to its artifact needs, so that a run can say before it
starts what is not installed.

By source format, toolchain and task; `engine.extras` says which extra brings them.
"""

from __future__ import annotations

from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.user_models.declaration import format_of
from int8gate.quantizers.recipe import Recipe
from int8gate.tasks.registry import task

OF_FORMAT = {  # what reads such a file
    "keras": ("keras", "tensorflow"),
    "saved_model": ("tensorflow",),
    "frozen_graph": ("tensorflow",),
    "pytorch": ("torch",),
    "darknet": ("torch",),
    "onnx": ("onnx", "onnxruntime"),
    "tflite": ("ai_edge_litert",),
}
OF_TOOLCHAIN = {"onnx": ("onnx", "onnxruntime"), "tflite": ("ai_edge_litert", "tensorflow")}
TO_TOOLCHAIN = {  # what brings a model of the format there, beside what both need
    ("pytorch", "onnx"): ("onnxscript",),
    ("darknet", "onnx"): ("onnxscript",),
    ("pytorch", "tflite"): ("litert_torch",),
    ("darknet", "tflite"): ("litert_torch",),
    ("onnx", "tflite"): ("onnx2tf",),
}
OF_ZOO = ("safetensors", "skimage", "sklearn")  # the zoo's weights and pictures


def packages_of(spec: ModelSpec, recipe: Recipe) -> tuple[str, ...]:
    """The packages that a case needs, by the names that are imported."""
    needed = OF_FORMAT[spec.source_format] + task(spec.task).packages
    if spec.own and recipe.is_prequantized:
        twin = spec.own.float_file
        return needed + (OF_FORMAT[format_of(twin)] + OF_TOOLCHAIN["tflite"] if twin else ())
    needed += OF_TOOLCHAIN.get(recipe.toolchain, ())
    needed += TO_TOOLCHAIN.get((spec.source_format, recipe.toolchain), ())
    if spec.own:
        return needed
    return needed + OF_ZOO + (("torch", "transformers") if spec.is_torch else ("keras",))
