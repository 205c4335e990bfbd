"""Ranges of pictures in a calibrated TFLite model: declared ones, where calibration guessed.

Luminance spans 16..235 only, and calibration sees less still, so that a step of 8 bits would be
0.86 grey levels, another for each of a network's pictures, and every sum of two of them would round
to a third grid. With the range of pixels they all step by one grey level: the input loses nothing,
the output what any picture of bytes loses.
"""

from __future__ import annotations

from int8gate.runtimes.tflite_editing import opened, written

MARGIN = 0.1  # of the span, that a picture's calibrated range may end short of the pixels'
# Features of a network's inside overshoot more, and clipping them costs: with 0.1 here too, a
# super-resolution network lost 0.41 dB and not 0.09.
OVERSHOOT = 0.02
# What is a picture for certain, the network's input and an output that enlarges it: its range may
# be further off, since pixels end where theirs ends.
MARGIN_OF_ENDS = 0.4
SAME = 1e-6  # of the span: what float32 makes of one number


def snapped_to_pixels(calibrated: bytes, low: float, high: float) -> tuple[bytes, list[str]]:
    """The model with the range `low`..`high` (of pixels 0 and 255) for every tensor that has
    nearly that, and the names of those whose range that changed.

    Nearly is within `MARGIN` of the span inside it, or `OVERSHOOT` outside, at either end; for the
    network's input, and for an output of rank 4 that is larger than it and has its channels, within
    `MARGIN_OF_ENDS` on either side. `calibrated` is a float model with each tensor's range
    (`tflite_ranges.with_ranges`).
    """

    model = opened(calibrated)
    span, snapped = high - low, []
    graph = model.subgraphs[0]
    pictures = _pictures(graph)
    for index, tensor in enumerate(graph.tensors):
        found = tensor.quantization
        if found is None or found.min is None or len(found.min) != 1:
            continue
        inset = (found.min[0] - low) / span, (high - found.max[0]) / span
        beyond, within = (
            (MARGIN_OF_ENDS, MARGIN_OF_ENDS) if index in pictures else (OVERSHOOT, MARGIN)
        )
        if all(-beyond <= end <= within for end in inset):
            found.min, found.max = [low], [high]
            if max(map(abs, inset)) > SAME:
                snapped.append(bytes(tensor.name or b"").decode(errors="replace"))
    return written(model), snapped


def _pictures(graph) -> set[int]:
    """Indices of the one input, if it is a map (n, h, w, c), and of outputs that enlarge it."""
    inputs, outputs = ([] if ends is None else list(ends) for ends in (graph.inputs, graph.outputs))
    if len(inputs) != 1:
        return set()
    shapes = {index: list(graph.tensors[index].shape) for index in {*inputs, *outputs}}
    taken = shapes[inputs[0]]
    if len(taken) != 4:
        return set()
    enlarged = {
        index
        for index in outputs
        if len(shapes[index]) == 4
        and shapes[index][3] == taken[3]
        and all(new > old for new, old in zip(shapes[index][1:3], taken[1:3], strict=True))
    }
    return {inputs[0], *enlarged}
