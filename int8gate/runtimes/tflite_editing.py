"""A `.tflite` file as Python objects that can be changed, and back."""

from __future__ import annotations

from typing import Any

from int8gate.runtimes.tflite_graph import FILE_IDENTIFIER


def opened(model: bytes | bytearray) -> Any:
    """The file's `ModelT` of LiteRT's schema: attributes and lists, to be changed in place."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(model), 0))


def written(whole: Any) -> bytes:
    """The file of a `ModelT`."""
    import flatbuffers

    builder = flatbuffers.Builder(2**20)  # grows
    builder.Finish(whole.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())
