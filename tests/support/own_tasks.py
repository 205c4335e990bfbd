"""Models of every task that really find what they look for, and pictures with labels for them.

A scene is a grey photograph of 64x64 with squares of 16x16: red ones are people, blue ones are
boxes, each square's top left at 2 + 4 k pixels. Redness averaged over 16x16 at a stride of 4 peaks
there, so that fixed convolutions detect, find keypoints (at fixed places around a person) and
segment. Small pictures and their enlargement by repeated pixels make pairs that a fixed network
restores better than bicubic enlargement does. A line of text is a row of cells of 8x16, of which
every other one is grey, the others red, blue or green.
"""

from __future__ import annotations

from pathlib import Path

import coco_folders
import numpy as np
import onnx_files
from data_folders import write

from int8gate.calibration_data.synthetic import picture_sources as sources

SIDE, CELL, SQUARE = 64, 4, 16  # pixels
RED, BLUE = 0, 1
COLOURS = ((230, 20, 20), (20, 20, 230))
# Of a person's keypoints, in cells (y, x) from its square's centre: torso far from the head.
PLACES = np.array([(-3, 0), (-3, 1), (-3, -1), (-2, 2), (-2, -2), (-1, 2), (-1, -2), (0, 3)])
PLACES = np.vstack([PLACES, [(0, -3), (1, 3), (1, -3), (2, 1), (2, -1), (3, 1), (3, -1)]])
PLACES = np.vstack([PLACES, [(3, 2), (3, -2)]])  # 17

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
WINDOW = "kernel_shape = [16, 16], strides = [4, 4], pads = [6, 6, 6, 6]"
DETECTOR = f"""{HEAD}
detector (float[1, 3, {SIDE}, {SIDE}] image)
    => (float[1, 2, 16, 16] heat, float[1, 2, 16, 16] size, float[1, 2, 16, 16] offset) {{
    found = Conv <{WINDOW}> (image, colour)
    heat = Conv <kernel_shape = [1, 1]> (found, steep, below)
    size = Conv <kernel_shape = [1, 1]> (found, tenth, four)
    offset = Conv <kernel_shape = [1, 1]> (found, tenth, half)
}}
"""
KEYPOINTS = f"""{HEAD}
keypoints (float[1, 3, {SIDE}, {SIDE}] image) => (float[1, 17, 16, 16] maps) {{
    found = Conv <{WINDOW}> (image, red)
    maps = Conv <kernel_shape = [9, 9], pads = [4, 4, 4, 4]> (found, places)
}}
"""
PEOPLE = f"""{HEAD}
people (float[1, 3, {SIDE}, {SIDE}] image) => (float[1, 1, 16, 16] heat) {{
    heat = Conv <{WINDOW}> (image, red)
}}
"""
SEGMENTER = f"""{HEAD}
segmenter (float[1, 3, {SIDE}, {SIDE}] image) => (float[1, 3, {SIDE}, {SIDE}] scores) {{
    scores = Conv <kernel_shape = [1, 1]> (image, channels, levels)
}}
"""
LETTERS, LINE = "rbg", (16, 64)  # of a line, and its height and width
READER = f"""{HEAD}
reader (float[1, 3, {LINE[0]}, {LINE[1]}] image) => (float[1, 8, 4] scores) {{
    cells = Conv <kernel_shape = [16, 8], strides = [16, 8]> (image, letters, levels)
    symbols = Reshape (cells, flat)
    scores = Transpose <perm = [0, 2, 1]> (symbols)
}}
"""
ENLARGER = f"""{HEAD}
enlarger (float[1, 3, 32, 32] image) => (float[1, 3, {SIDE}, {SIDE}] large) {{
    seen = Clip (image, zero, one)
    repeated = Conv <kernel_shape = [1, 1]> (seen, copies)
    large = DepthToSpace <blocksize = 2, mode = "CRD"> (repeated)
}}
"""
HOOK = """
import numpy as np
PLACES = np.array({places})

def people(outputs, declared):
    heat = outputs[0][:, 0]
    rows, columns = heat.shape[1:]
    padded = np.pad(heat, ((0, 0), (1, 1), (1, 1)))
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2)).max((-2, -1))
    found = np.full((len(heat), 10, 52), -1, np.float32)
    for row, of_picture, peaks in zip(found, heat, heat >= around, strict=True):
        y, x = np.nonzero(peaks & (of_picture > 0.7))
        for person, place in enumerate(list(zip(y, x))[:10]):
            points = (np.array(place) + PLACES + 0.5) * declared.size / (rows, columns) - 0.5
            score = of_picture[place]
            row[person] = [score, *np.column_stack([points, np.full(17, score)]).ravel()]
    return found
"""


def write_models(folder: Path) -> None:
    """The ONNX files and own_heads.py; the networks take colours of 0..1."""
    redness = np.array([[1.2, -0.6, -0.6], [-0.6, -0.6, 1.2]], np.float32)
    over_window = np.ones((16, 16), np.float32) / SQUARE**2
    colour = redness[:, :, None, None] * over_window
    places = np.zeros((17, 1, 9, 9), np.float32)
    for number, (down, right) in enumerate(PLACES):
        places[number, 0, 4 - down, 4 - right] = 1  # the map has its peak where the person is not
    eye = np.eye(2, dtype=np.float32)[:, :, None, None]
    ones = np.ones((2, 2, 1, 1), np.float32)
    detector = {"colour": colour, "steep": 8 * eye, "below": np.full(2, -6, np.float32)}
    at_peak = 0.1 * (redness @ np.array(COLOURS[RED]) / 255).sum()  # size and offset are fixed,
    detector |= {"tenth": 0.1 * ones, "four": np.full(2, 4 - at_peak, np.float32)}  # but no
    detector |= {"half": np.full(2, 0.5 - at_peak, np.float32)}  # quantizer likes a constant map
    channels = np.concatenate([np.zeros((1, 3), np.float32), redness])[:, :, None, None]
    letters = np.concatenate([1.2 * np.eye(3) - 0.4, np.zeros((1, 3))])[[0, 2, 1, 3]]
    letters = np.tile(letters[:, :, None, None] / (16 * 8), (1, 1, 16, 8)).astype(np.float32)
    reader = {"letters": letters, "levels": np.array([0, 0, 0, 0.3], np.float32)}
    reader["flat"] = np.array([1, 4, 8], np.int64)
    copies = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)[:, :, None, None]
    files = {
        "detector": (DETECTOR, detector),
        "keypoints": (KEYPOINTS, {"red": colour[:1], "places": places}),
        "people": (PEOPLE, {"red": colour[:1]}),
        "segmenter": (
            SEGMENTER,
            {"channels": channels, "levels": np.array([0.4, 0, 0], np.float32)},
        ),
        "reader": (READER, reader),
        "enlarger": (
            ENLARGER,
            {"copies": copies, "zero": np.float32(0), "one": np.float32(1)},
        ),
    }
    for name, (text, arrays) in files.items():
        onnx_files.save(onnx_files.with_weights(text, arrays), folder / f"{name}.onnx")
    (folder / "own_heads.py").write_text(HOOK.format(places=PLACES.tolist()))


def write_scenes(folder: Path, count: int) -> None:
    """images/, masks/, annotations.json and person_keypoints.json: boxes, masks and people."""
    tiles = np.concatenate([sources.tiles(split) for split in sources.SPLITS])
    rng = np.random.default_rng(0)
    images, boxes, people = [], [], []
    for number, tile in enumerate(tiles[rng.choice(len(tiles), count, replace=False)]):
        picture = np.repeat(tile.mean(axis=2, keepdims=True), 3, axis=2)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        corners = [(2, 2), (2, 46), (46, 2), (46, 46)]
        chosen = rng.permutation(4)[: rng.choice([1, 1, 2])]
        images.append(coco_folders.image(number, (SIDE, SIDE)))
        for place, kind in zip(chosen, (RED, rng.integers(2)), strict=False):
            toward = np.where(np.array(corners[place]) < 30, 1, -1)
            top, left = corners[place] + CELL * toward * rng.integers(0, 3, 2)
            noise = rng.normal(0, 8, (SQUARE, SQUARE, 3))
            picture[top : top + SQUARE, left : left + SQUARE] = COLOURS[kind] + noise
            mask[top : top + SQUARE, left : left + SQUARE] = 1 + kind
            bbox = [int(left), int(top), SQUARE, SQUARE]
            boxes.append(coco_folders.box(len(boxes), number, bbox, category=int(kind)))
            if kind == RED:
                points = (np.array([top, left]) + SQUARE / 2 - 0.5 + CELL * PLACES)[:, ::-1]
                seen = ((points >= 0) & (points < SIDE)).all(axis=1)
                x_y_v = np.column_stack([points, 2 * seen]) * seen[:, None]
                people.append(coco_folders.person(len(people), number, x_y_v.tolist(), area=600))
        write(folder / "images" / f"{number}.png", np.uint8(np.clip(picture, 0, 255)))
        write(folder / "masks" / f"{number}.png", mask)
    both = ((RED, "red"), (BLUE, "blue"))
    coco_folders.write_coco(folder, images, boxes, both, folder="images")
    names = {"id": 1, "name": "person", "keypoints": coco_folders.KEYPOINTS}
    file = "person_keypoints.json"
    coco_folders.write_coco(folder, images, people, [names], file, "images")


def write_pairs(folder: Path, count: int) -> None:
    """low/ and high/: a tile at half its size, and that enlarged, with some noise."""
    tiles = np.concatenate([sources.tiles(split) for split in sources.SPLITS])
    rng = np.random.default_rng(1)
    for number, tile in enumerate(tiles[rng.choice(len(tiles), count, replace=False)]):
        low = tile[::2, ::2]
        high = low.repeat(2, axis=0).repeat(2, axis=1) + rng.normal(0, 4, (SIDE, SIDE, 3))
        write(folder / "low" / f"{number}.png", low)
        write(folder / "high" / f"{number}.png", np.uint8(np.clip(high, 0, 255)))


def write_lines(folder: Path, count: int) -> None:
    """Lines of one to four letters, and labels.csv with their texts."""
    rng = np.random.default_rng(2)
    colours = {"r": COLOURS[RED], "b": COLOURS[BLUE], "g": (20, 230, 20)}
    rows = ["file,text"]
    for number in range(count):
        text = "".join(rng.choice(list(LETTERS), rng.integers(1, 5)))
        picture = np.full((*LINE, 3), 128) + rng.normal(0, 12, (*LINE, 3))
        for place, letter in enumerate(text):
            picture[:, 16 * place : 16 * place + 8] += np.array(colours[letter]) - 128
        write(folder / f"{number}.png", np.uint8(np.clip(picture, 0, 255)))
        rows.append(f"{number}.png,{text}")
    (folder / "labels.csv").write_text("\n".join(rows))
