"""Pairs for super-resolution by two in colour: `super_resolution.py` for networks that take RGB.

The picture is an RGB one reduced by the same filter; the label is the luminance of the large one,
on which networks of both kinds are scored. Regions, rounds and training crops are as there.
"""

from __future__ import annotations

from int8gate.calibration_data.synthetic.super_resolution import SAMPLES, SuperResolutionPairs


def draw(task: str, split: str, size: tuple[int, int], channels: int) -> ColourPairs:
    """The pairs that calibration and evaluation use; `size` is the small picture's."""
    if channels != 3:
        raise ValueError(
            f"colour super-resolution pairs have 3 channels, found a network of {channels}: "
            'declare an input of 3, or leave `scenes="colour_super_resolution"` out'
        )
    return ColourPairs(split, size, SAMPLES.get(split))


class ColourPairs(SuperResolutionPairs):
    """Images uint8 (h, w, 3) and labels uint8 (2h, 2w, 1), the luminance, of one split."""

    title, pictures_have = "colour super-resolution pairs", 3

    def __init__(self, split: str, size: tuple[int, int], count: int | None = None):
        super().__init__(split, size, self.pictures_have, count)
