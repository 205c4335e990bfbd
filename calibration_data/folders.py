"""A user's own folder of pictures, through the same preprocessing as everything else.

Classification: a class per subfolder, ``DIR/<class>/*.jpg``; classes are numbered in sorted order
(ImageNet's synset names sort to Keras's order), or by their names when all are whole numbers.
Segmentation: ``DIR/images/NAME.*`` with ``DIR/masks/NAME.png``, pixels being class numbers, 255
ignored. ``DIR/<task>/`` is taken when it exists, so that one DIR serves several tasks; so are
``calibration/`` and ``evaluation/`` below it. Without those two the pictures are split here:
by content, so that copies of one picture never stand on both sides, and class by class.
"""

from __future__ import annotations

import hashlib
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from calibration_data.pictures import SUFFIXES, check_resolution, open_mask, open_picture
from calibration_data.sample_set import SampleSet

TASKS = ("classification", "segmentation")
SPLITS = ("calibration", "evaluation")
CALIBRATION_SHARE = 0.2
CALIBRATION_MOST = 500


def open_folder(
    directory: Path,
    task: str,
    split: str,
    size: tuple[int, int],
    channels: int,
    classes: int | None = None,
) -> SampleSet:
    """The split's pictures; raises ValueError or FileNotFoundError on a folder of another layout.

    With `classes`, how many the network has, labels that do not fit it are refused too.
    """
    root = _root(directory, task)
    list_samples = {"classification": _classes, "segmentation": _masks}[task]
    given = [name for name in SPLITS if (root / name).is_dir()]
    if len(given) == 1:
        raise ValueError(
            f"--data-dir {root} holds {given[0]}/ alone; expected both of {' and '.join(SPLITS)}, "
            "or neither, and the pictures are split here: add the other one"
        )
    if given:
        by_split = {name: list_samples(root / name, classes) for name in SPLITS}
        _refuse_shared(by_split)
        samples = by_split[split]
    else:
        samples = _own_split(list_samples(root, classes), split)
    if not samples:
        raise ValueError(
            f"--data-dir {root}: no picture is left for the {split} split: add pictures (where "
            f"they are split here, {CALIBRATION_SHARE:.0%} of each class are for calibration)"
        )
    return FolderSamples(root, task, split, samples, size, channels, classes)


class FolderSamples(SampleSet):
    """Pictures of a folder, read when asked for."""

    def __init__(self, root, task, split, samples, size, channels, classes):
        self.name = f"{root}, {split}"
        self.task, self.samples, self.size, self.channels = task, samples, size, channels
        self.classes = classes

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def sources(self) -> np.ndarray:
        """Every picture is its own source, int (n,), and copies of one picture share theirs."""
        contents = [_content(path) for path, _ in self.samples]
        return np.unique(contents, return_inverse=True)[1]

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        path, label = self.samples[index]
        picture = open_picture(path, "L" if self.channels == 1 else "RGB")
        check_resolution(path, picture, self.size)
        image = np.asarray(ImageOps.fit(picture, self.size[::-1], Image.BICUBIC))
        image = image[..., None] if self.channels == 1 else image
        if self.task == "classification":
            return image, np.int64(label)
        mask = open_mask(label, picture.size, self.classes)
        return image, np.asarray(ImageOps.fit(mask, self.size[::-1], Image.NEAREST))


def _root(directory: Path, task: str) -> Path:
    if not directory.is_dir():
        raise FileNotFoundError(f"--data-dir {directory} is not a directory: mend the path")
    if (directory / task).is_dir():
        return directory / task
    for other in TASKS:
        if (directory / other).is_dir():
            raise ValueError(
                f"--data-dir {directory} holds {other}/ but no {task}/: add it, or choose models "
                f"of {other} with -k"
            )
    return directory


def _classes(root: Path, classes: int | None) -> list[tuple[Path, int]]:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and _is_visible(path))
    names = [folder.name for folder in folders]
    if not folders or names == ["images", "masks"]:
        raise ValueError(
            f"--data-dir {root}: classification needs a subfolder per class with pictures in it, "
            f"found {'images/ and masks/, as for segmentation' if folders else 'none'}: sort the "
            "pictures into subfolders"
        )
    samples = [
        (path, number)
        for folder, number in zip(folders, _numbers(root, names, classes), strict=True)
        for path in _pictures(folder)
    ]
    if not samples:
        raise ValueError(
            f"--data-dir {root}: expected pictures ({' '.join(sorted(SUFFIXES))}) in the class "
            f"subfolders, found none in {', '.join(names[:5])}{', ...' * (len(names) > 5)}: put "
            "them directly into these"
        )
    return samples


def _numbers(root: Path, names: list[str], classes: int | None) -> list[int]:
    """The class number of each folder."""
    if not all(map(str.isdecimal, names)):
        if classes is not None and len(names) != classes:
            raise ValueError(
                f"--data-dir {root} has {len(names)} class subfolders, the network {classes} "
                "classes: add the missing ones (they may be empty), or name each folder by its "
                "class number"
            )
        return list(range(len(names)))
    numbers = [int(name) for name in names]
    if classes is not None and max(numbers) >= classes:
        raise ValueError(
            f"--data-dir {root} has a class subfolder {max(numbers)}, the network classes "
            f"0..{classes - 1}: renumber or remove it"
        )
    return numbers


def _masks(root: Path, classes: int | None) -> list[tuple[Path, Path]]:
    for name in ("images", "masks"):
        if not (root / name).is_dir():
            raise ValueError(
                f"--data-dir {root}: segmentation needs images/ and masks/ with equal file names, "
                f"found no {name}/: add it"
            )
    pairs = []
    for path in _pictures(root / "images"):
        mask = root / "masks" / f"{path.stem}.png"
        if not mask.is_file():
            raise ValueError(
                f"--data-dir {root}: picture {path.name} has no mask, expected {mask}: add the "
                "mask or remove the picture"
            )
        pairs.append((path, mask))
    return pairs


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.is_file() and _is_visible(path)
    )


def _is_visible(path: Path) -> bool:
    """False for what systems leave behind: .ipynb_checkpoints, macOS's ._NAME.jpg, __MACOSX."""
    return not path.name.startswith((".", "__"))


def _refuse_shared(by_split: dict[str, list]) -> None:
    calibration, evaluation = ({_content(path): path for path, _ in by_split[n]} for n in SPLITS)
    for content in sorted(calibration.keys() & evaluation.keys()):
        raise ValueError(
            f"{calibration[content]} and {evaluation[content]} are one picture: what is scored "
            "may not be seen in calibration, remove one of them"
        )


def _own_split(samples: list, split: str) -> list:
    """Stratified by class and grouped by content, the same on every machine.

    A picture that stands in several classes counts in the first of them and takes its copies along.
    What a class's share leaves of a whole picture is drawn from its content, so that classes of
    few pictures each still give their share in sum, and no class depends on another.
    """
    copies: dict[str, list] = {}
    for path, label in samples:
        copies.setdefault(_content(path), []).append((path, label))
    strata: dict[int | None, list[str]] = {}
    for content in sorted(copies):  # the order of sha256: random, but always the same
        label = copies[content][0][1]
        strata.setdefault(label if isinstance(label, int) else None, []).append(content)
    share = min(CALIBRATION_SHARE, CALIBRATION_MOST / max(1, len(copies)))
    chosen = []
    for contents in strata.values():
        draw = int(hashlib.sha256(contents[0].encode()).hexdigest()[:8], 16) / 16**8
        for_calibration = int(share * len(contents) + draw)
        part = {"calibration": contents[:for_calibration], "evaluation": contents[for_calibration:]}
        chosen += [sample for content in part[split] for sample in copies[content]]
    return chosen


@cache
def _content(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
