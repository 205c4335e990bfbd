"""The layers of a Darknet network as PyTorch modules, exact to Darknet's arithmetic.

`make` builds the module of a `Section` of the cfg: which layers it reads and which shape comes out
follow from the section and the shapes before it. A module's forward takes the outputs of its
`sources`, numbers of layers, -1 being the image.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from int8gate.engine import memory
from int8gate.model_zoo.importers.darknet.cfg import Section, yolo_head

EPSILON = 1e-5  # fuse_conv_batchnorm: sqrt(rolling_variance + .00001)
LEAK = 0.1
FLOAT_BYTES = 4
ACTIVATIONS = {
    "linear": nn.Identity,
    "leaky": lambda: nn.LeakyReLU(LEAK),
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "logistic": nn.Sigmoid,
    "mish": nn.Mish,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
}


_OFF = {  # of convolutions: what makes them compute, or load, otherwise
    **dict.fromkeys(("xnor", "binary", "bin_output", "flipped", "antialiasing", "sway"), "0"),
    **dict.fromkeys(("rotate", "stretch", "stretch_sway", "coordconv", "dontload"), "0"),
    **dict.fromkeys(("dontloadscales", "assisted_excitation"), "0"),
    "share_index": "none",
}

Shape = tuple[int, int, int]  # channels, height, width


class Convolution(nn.Module):
    def __init__(self, section: Section, inputs: int):
        super().__init__()
        section.check_options(
            {"filters", "size", "stride", "stride_x", "stride_y", "pad", "padding", "groups"}
            | {"dilation", "batch_normalize", "cbn", "activation", "angle", "reverse"},
            only=_OFF,
        )
        size, stride = section.integer("size", 1, least=1), section.integer("stride", 1, least=1)
        filters = section.integer("filters", 1, least=1)
        groups = section.integer("groups", 1, least=1)
        padding = section.integer("padding", 0, least=0)
        if inputs % groups or filters % groups:
            raise ValueError(
                f"{section}: groups={groups} divides not both {inputs} channels and {filters} "
                "filters"
            )
        shape = (filters, inputs // groups, size, size)
        memory.check_tensor(str(section), "(its weights)", shape, FLOAT_BYTES)
        normalized = bool(section.integer("batch_normalize", 0) or section.integer("cbn", 0))
        self.convolution = nn.Conv2d(
            inputs,
            filters,
            size,
            [section.integer(name, stride, least=1) for name in ("stride_y", "stride_x")],
            size // 2 if section.integer("pad", 0) else padding,
            section.integer("dilation", 1, least=1) if size > 1 else 1,
            groups,
            bias=not normalized,
        )
        self.normalization = nn.BatchNorm2d(filters, eps=EPSILON) if normalized else nn.Identity()
        self.activation = _activation(section, "logistic")

    def forward(self, x):
        return self.activation(self.normalization(self.convolution(x)))

    def in_file_order(self) -> list[tuple[str, torch.Tensor]]:
        """Name and tensor, as they follow one another in a `.weights` file."""
        weights = ("weights", self.convolution.weight)
        if self.convolution.bias is not None:
            return [("biases", self.convolution.bias), weights]
        return [*_normalization_in_file_order(self.normalization), weights]


class Connected(nn.Module):
    def __init__(self, section: Section, inputs: int):
        super().__init__()
        section.check_options(
            {"output", "batch_normalize", "activation"},
            only=dict.fromkeys(("dontload", "dontloadscales"), "0"),
        )
        outputs, normalized = (
            section.integer("output", 1, least=1),
            section.integer("batch_normalize", 0),
        )
        memory.check_tensor(str(section), "(its weights)", (outputs, inputs), FLOAT_BYTES)
        self.linear = nn.Linear(inputs, outputs, bias=not normalized)
        self.normalization = nn.BatchNorm1d(outputs, eps=EPSILON) if normalized else nn.Identity()
        self.activation = _activation(section, "logistic")

    def forward(self, x):
        x = self.activation(self.normalization(self.linear(x.flatten(1))))
        return x[:, :, None, None]

    def in_file_order(self) -> list[tuple[str, torch.Tensor]]:
        weights = ("weights", self.linear.weight)
        if self.linear.bias is not None:
            return [("biases", self.linear.bias), weights]
        biases, *others = _normalization_in_file_order(self.normalization)
        return [biases, weights, *others]


class MaxPool(nn.Module):
    """Darknet pads `padding` in all, half of it (rounded down) above and left, with minus infinity.

    The odd one, below and right, repeats the edge: the maximum is the same, and a quantizer meets
    no infinity.
    """

    def __init__(self, section: Section):
        super().__init__()
        section.check_options(
            {"size", "stride", "stride_x", "stride_y", "padding", "out_channels"}
            | {"maxpool_zero_nonmax"},
            only={"maxpool_depth": "0", "antialiasing": "0"},
        )
        stride = section.integer("stride", 1, least=1)
        self.size = section.integer("size", stride, least=1)
        self.stride = [section.integer(name, stride, least=1) for name in ("stride_y", "stride_x")]
        self.padding = section.integer("padding", self.size - 1, least=0)
        if self.padding // 2 > self.size // 2:
            raise ValueError(
                f"{section}: padding={self.padding} of size={self.size}: a window would lie "
                f"outside the map; expected {2 * (self.size // 2)} or less"
            )

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what comes out."""
        down, across = self.stride
        beyond = self.padding - self.size
        return (height + beyond) // down + 1, (width + beyond) // across + 1

    def forward(self, x):
        for axis, stride in zip((2, 3), self.stride, strict=True):
            reaches = (x.shape[axis] + self.padding - self.size) % stride == 0
            if self.padding % 2 and reaches:
                x = torch.cat([x, x.narrow(axis, x.shape[axis] - 1, 1)], dim=axis)
        return nn.functional.max_pool2d(x, self.size, self.stride, self.padding // 2)


class Route(nn.Module):
    """Concatenates, of each source, the `part`-th of `parts` equal groups of channels."""

    def __init__(self, parts: int, part: int):
        super().__init__()
        self.parts, self.part = parts, part

    def forward(self, *sources):
        if self.parts > 1:
            sources = [source.chunk(self.parts, dim=1)[self.part] for source in sources]
        return sources[0] if len(sources) == 1 else torch.cat(tuple(sources), dim=1)


class Shortcut(nn.Module):
    def __init__(self, section: Section):
        super().__init__()
        section.check_options(
            {"from", "activation", "weights_normalization"}, only={"weights_type": "none"}
        )
        self.activation = _activation(section, "linear")

    def forward(self, *sources):
        total = sources[0]
        for source in sources[1:]:
            total = total + source
        return self.activation(total)


class Upsample(nn.Module):
    """Repeats rows and columns `stride` times, then multiplies by `scale`."""

    def __init__(self, section: Section):
        super().__init__()
        section.check_options({"stride", "scale"}, only={})
        self.stride = section.integer("stride", 2, least=1)
        self.scale = section.number_of("scale", 1.0)

    def forward(self, x):
        x = nn.functional.interpolate(x, scale_factor=float(self.stride), mode="nearest")
        return x if self.scale == 1 else x * self.scale


class AveragePool(nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3), keepdim=True)


def _activation(section: Section, default: str) -> nn.Module:
    name = section.text("activation", default)
    if name not in ACTIVATIONS:
        raise ValueError(
            f"{section}: activation={name} is not supported, only {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]()


def _normalization_in_file_order(layer) -> list[tuple[str, torch.Tensor]]:
    return [
        ("biases", layer.bias),
        ("scales", layer.weight),
        ("rolling mean", layer.running_mean),
        ("rolling variance", layer.running_var),
    ]


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
    padding = cast(tuple[int, int], made.padding)  # given in numbers, not as "same"
    sides = zip((height, width), made.kernel_size, made.stride, padding, made.dilation, strict=True)
    rows, columns = ((side + 2 * p - d * (k - 1) - 1) // s + 1 for side, k, s, p, d in sides)
    return module, (made.out_channels, rows, columns)


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
