"""Ranges of pictures in a calibrated TFLite model: declared ones, where calibration guessed.

Luminance spans 16..235 only, and calibration sees less still, so that a step of 8 bits would be
0.86 grey levels, another for each of a network's pictures, and every sum of two of them would round
to a third grid. With the range of pixels they all step by one grey level: the input loses nothing,
the output what any picture of bytes loses.
"""

from __future__ import annotations

MARGIN = 0.1  # of the span, that a picture's calibrated range may end short of the pixels'
# Features of a network's inside overshoot more, and clipping them costs: with 0.1 here too, a
# super-resolution network lost 0.41 dB and not 0.09.
OVERSHOOT = 0.02


def snapped_to_pixels(calibrated: bytes, low: float, high: float) -> bytes:
    """The model with the range `low`..`high` (of pixels 0 and 255) for every tensor that has
    nearly that: within `MARGIN` of the span inside it, or `OVERSHOOT` outside, at either end.

    `calibrated` is a float model with each tensor's range (`tflite_ranges.with_ranges`).
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(calibrated), 0))
    span = high - low
    for tensor in model.subgraphs[0].tensors:
        found = tensor.quantization
        if found is None or found.min is None or len(found.min) != 1:
            continue
        inset = (found.min[0] - low) / span, (high - found.max[0]) / span
        if all(-OVERSHOOT <= end <= MARGIN for end in inset):
            found.min, found.max = [low], [high]
    builder = flatbuffers.Builder(len(calibrated))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
