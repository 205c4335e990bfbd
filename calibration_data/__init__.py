"""Data sets of each task, their splits, preprocessing, and the audit of a calibration set.

    sample_set.py     `SampleSet`: images by index, labels, sources; the check of a calibration set
    synthetic/        scenes drawn from real pictures and digits (the compact profile's data)
    folders/          a user's own folder of pictures: its layout, its labels, its splits
    texts/            documents that come with Python (the language models' data)
    arrays/           a user's arrays of any shape: files, labels, splits
    pictures.py       reading a user's pictures and masks
    fit.py            from a picture to the network's frame: size, crop, colour order
    preprocessing.py  from pixels to what a network takes
    audit/            what is wrong with a calibration set, before it is used

`load` is the door to a task's data, `load_text` to that of a network that reads text,
`folders.open_data` and `arrays.opening.open_arrays` to that of a model that a user declares. Of
ours this room imports `engine` and the tasks alone.
"""

from __future__ import annotations

from pathlib import Path

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.calibration_data.texts.tokenizers import Tokenizer
from int8gate.engine.plugins import resolve
from int8gate.tasks.registry import scenes, tasks


def load(
    data: str,
    split: str,
    size: tuple[int, int],
    channels: int,
    data_dir: Path | None = None,
    classes: int | None = None,
):
    """The samples of a split, "calibration" or "evaluation", at height and width `size`.

    `data` is a task, or another name of `scenes`.

    With `data_dir`, the user's own pictures (`folders/`), whose labels must fit `classes` when it
    is given; else scenes drawn at that size.
    Raises ValueError or FileNotFoundError with one sentence on what is wrong with a folder.
    """
    if data_dir is not None:
        from int8gate.calibration_data.fit import Fit
        from int8gate.calibration_data.folders import open_data

        judged = tasks().get(data)
        if not (judged and judged.from_data_dir):
            read = " and ".join(each.name for each in tasks().values() if each.from_data_dir)
            raise ValueError(
                f"--data-dir {data_dir}: folders are read for {read}, not for "
                f"{data}: leave the option out, or choose other models with -k"
            )
        colours = "gray" if channels == 1 else "rgb"
        fit = Fit(size, "crop", interpolation="bicubic", colours=colours)
        return open_data(data_dir, data, split, fit, judged.folders[0], classes)
    return resolve(scenes()[data].draw)(data, split, size, channels)


def load_text(data: str, split: str, given: tuple[Input, ...], tokenizer: Tokenizer):
    """The samples of a split, "calibration" or "evaluation", of a network that reads text: the
    arrays `given`, token numbers among them; `data` is a name of `scenes`.
    """
    return resolve(scenes()[data].draw)(split, given, tokenizer)
