"""From the sections of a Darknet cfg to modules: who reads what, and which shape comes out.

`make` builds the module of a section. Its forward takes the outputs of its `sources`, numbers of
layers, -1 being the image.
"""

from __future__ import annotations

from torch import nn

from int8gate.model_zoo.importers.darknet.cfg import Section, yolo_head
from int8gate.model_zoo.importers.darknet.layers import (
    AveragePool,
    Connected,
    Convolution,
    MaxPool,
    Route,
    Shortcut,
    Upsample,
)

Shape = tuple[int, int, int]  # channels, height, width


def make(section: Section, shapes: list[Shape], image: Shape) -> tuple[nn.Module, Shape]:
    """The module of a section behind layers of `shapes`, and the shape of its output.

    Raises ValueError naming the section: unknown, or not fitting what it stands behind.
    """
    maker = _MAKERS.get(section.kind)
    if maker is None:
        raise ValueError(
            f"{section}: such layers are not supported, only {', '.join(sorted(_MAKERS))}"
        )
    sources = _sources(section)
    given = [image if number < 0 else shapes[number] for number in sources]
    module, shape = maker(section, given)
    if min(shape) < 1:
        raise ValueError(f"{section}: nothing of {given[0]} is left: its output would be {shape}")
    module.sources = sources
    return module, shape


def _sources(section: Section) -> tuple[int, ...]:
    """Numbers of the layers that a section reads."""
    before = section.number - 1
    if section.kind not in ("route", "shortcut"):
        return (before,)
    written = section.integers("layers" if section.kind == "route" else "from")
    numbers = tuple(n if n >= 0 else section.number + n for n in written)
    if not all(0 <= number < section.number for number in numbers):
        raise ValueError(
            f"{section}: it reads layers {numbers}: expected numbers of layers before it, "
            f"0 to {before}"
        )
    return numbers if section.kind == "route" else (before, *numbers)


def _convolution(section: Section, given: list[Shape]) -> tuple[nn.Module, Shape]:
    channels, height, width = given[0]
    module = Convolution(section, channels)
    made = module.convolution
    sides = zip(
        (height, width), made.kernel_size, made.stride, made.padding, made.dilation, strict=True
    )
    shape = [(side + 2 * p - d * (k - 1) - 1) // s + 1 for side, k, s, p, d in sides]
    return module, (made.out_channels, *shape)


def _connected(section: Section, given: list[Shape]) -> tuple[nn.Module, Shape]:
    channels, height, width = given[0]
    module = Connected(section, channels * height * width)
    return module, (module.linear.out_features, 1, 1)


def _maxpool(section: Section, given: list[Shape]) -> tuple[nn.Module, Shape]:
    channels, height, width = given[0]
    module = MaxPool(section)
    return module, (channels, *module.shape(height, width))


def _average_pool(section: Section, given: list[Shape]) -> tuple[nn.Module, Shape]:
    return AveragePool(), (given[0][0], 1, 1)


def _upsample(section: Section, given: list[Shape]) -> tuple[nn.Module, Shape]:
    channels, height, width = given[0]
    module = Upsample(section)
    return module, (channels, height * module.stride, width * module.stride)


def _route(section: Section, given: list[Shape]) -> tuple[nn.Module, Shape]:
    section.check_options({"layers", "groups", "group_id"}, only={})
    parts, part = section.integer("groups", 1, least=1), section.integer("group_id", 0)
    if len({shape[1:] for shape in given}) > 1:
        raise ValueError(f"{section}: heights and widths differ: {given}")
    if not 0 <= part < parts or any(shape[0] % parts for shape in given):
        raise ValueError(
            f"{section}: groups={parts}, group_id={part} do not fit channels "
            f"{tuple(shape[0] for shape in given)}"
        )
    channels = sum(shape[0] for shape in given) // parts
    return Route(parts, part), (channels, *given[0][1:])


def _shortcut(section: Section, given: list[Shape]) -> tuple[nn.Module, Shape]:
    if len(set(given)) > 1:
        raise ValueError(f"{section}: it adds outputs of different shapes, {given}: not supported")
    return Shortcut(section), given[0]


def _yolo(section: Section, given: list[Shape]) -> tuple[nn.Module, Shape]:
    head = yolo_head(section)
    wanted = len(head.anchors) * (5 + head.classes)
    if given[0][0] != wanted:
        raise ValueError(
            f"{section}: {len(head.anchors)} anchors of 5 + {head.classes} values need {wanted} "
            f"channels, the layer before has {given[0][0]}: mend filters, mask or classes"
        )
    return nn.Identity(), given[0]


def _nothing(section: Section, given: list[Shape]) -> tuple[nn.Module, Shape]:
    return nn.Identity(), given[0]


_MAKERS = {
    "convolutional": _convolution,
    "connected": _connected,
    "maxpool": _maxpool,
    "avgpool": _average_pool,
    "upsample": _upsample,
    "route": _route,
    "shortcut": _shortcut,
    "yolo": _yolo,
    "dropout": _nothing,
    "softmax": _nothing,
    "cost": _nothing,
}
