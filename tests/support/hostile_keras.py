"""Hostile `.keras` archives: code in the configuration, weights elsewhere, bombs."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from hostile_archive import repacked, witness

KIND, SUFFIX = "keras", ".keras"
HUGE = 2**40
_KEPT: dict[str, bytes] = {}


def sound(path: Path) -> None:
    """16x16 pictures to 5 classes, in the format of the suffix."""
    if path.suffix not in _KEPT:
        import keras

        layers = [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(4, 3, activation="relu", name="first"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, name="last"),
        ]
        keras.Sequential(layers, name="tiny").save(path)
        _KEPT[path.suffix] = path.read_bytes()
    path.write_bytes(_KEPT[path.suffix])


def _repacked(change, method: int = zipfile.ZIP_STORED):
    return repacked(sound, change, method)


def _configured(change):
    """Changes the configuration in place."""

    def changed(members: dict, path: Path) -> None:
        config = json.loads(members["config.json"])
        change(config, path)
        members["config.json"] = json.dumps(config).encode()

    return _repacked(changed)


def _layer(number: int, **values):
    """Sets entries of a layer, ``{witness}`` in texts being the file that must not appear."""

    def change(config: dict, path: Path) -> None:
        text = json.dumps(values).replace("{witness}", str(witness(path)))
        config["config"]["layers"][number].update(json.loads(text))

    return _configured(change)


def _options(number: int, **options):
    return _configured(
        lambda config, path: config["config"]["layers"][number]["config"].update(options)
    )


def _lambda(config: dict, path: Path) -> None:
    import base64
    import marshal

    code = compile(f"lambda x: __import__('os').system('touch {witness(path)}')", "x", "eval")
    packed = base64.b64encode(marshal.dumps(code.co_consts[0])).decode()
    function = {"class_name": "__lambda__", "config": {"code": packed, "defaults": None}}
    config["config"]["layers"][1] = {
        **{"module": "keras.layers", "class_name": "Lambda", "registered_name": None},
        "config": {"name": "evil", "function": function, "output_shape": [14, 14, 4]},
    }


def _bomb(name: str):
    return _repacked(
        lambda members, path: members.update({name: bytes(400_000_000)}), zipfile.ZIP_DEFLATED
    )


def _extra(name: str):
    return _repacked(lambda members, path: members.update({name: b"x"}))


def _weights(change):
    """Changes the HDF5 file of weights in the archive."""

    def changed(members: dict, path: Path) -> None:
        import h5py

        file = io.BytesIO(members["model.weights.h5"])
        with h5py.File(file, "r+") as opened:
            change(opened, path)
        members["model.weights.h5"] = file.getvalue()

    return _repacked(changed)


def kernel_of(opened) -> str:
    """The path of the first convolution's weights."""
    found: list[str] = []
    opened.visititems(
        lambda name, item: found.append(name) if getattr(item, "ndim", 0) == 4 else None
    )
    return found[0]


def elsewhere(opened, path: Path) -> None:
    """The weights stand in another file of the system."""
    name, secret = kernel_of(opened), path.parent.parent / "outside" / "secret"
    del opened[name]
    opened.create_dataset(name, (3, 3, 3, 4), np.float32, external=[(str(secret), 0, 432)])


def linked(opened, path: Path) -> None:
    import h5py

    name = kernel_of(opened)
    del opened[name]
    opened[name] = h5py.ExternalLink(str(path.parent.parent / "outside" / "secret"), "/x")


def virtual(opened, path: Path) -> None:
    import h5py

    name = kernel_of(opened)
    del opened[name]
    layout = h5py.VirtualLayout((3, 3, 3, 4), np.float32)
    secret = str(path.parent.parent / "outside" / "secret")
    layout[:] = h5py.VirtualSource(secret, "x", (3, 3, 3, 4))
    opened.create_virtual_dataset(name, layout)


def claiming(opened, path: Path) -> None:
    """A dataset of 4 TB that stores nothing."""
    name = kernel_of(opened)
    del opened[name]
    opened.create_dataset(name, (HUGE,), np.float32, chunks=(2**16,), compression="gzip")


def turning(opened, path: Path) -> None:
    """Groups that hold one another."""
    group = opened.create_group("round")
    group["about"] = group
    opened["soft"] = group


def _link_member(path: Path) -> None:
    sound(path)
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")


def _twice(path: Path) -> None:
    import warnings

    sound(path)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("config.json", "{}")


def _overlapping(path: Path) -> None:
    """Many entries of the directory are one member: a bomb that no member's ratio shows."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(2_000_000))
        first = archive.infolist()[0]
        for number in range(2000):
            copy = zipfile.ZipInfo(f"assets/{number}")
            for field in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
                setattr(copy, field, getattr(first, field))
            archive.filelist.append(copy)
            archive.NameToInfo[copy.filename] = copy


def _nested(members: dict, path: Path) -> None:
    members["config.json"] = b"[" * 100_000 + b"]" * 100_000


def _without(name: str):
    return _repacked(lambda members, path: members.pop(name))


ARGUMENTS = {"name": "evil", "command": "touch {witness}"}
SPECIAL = {
    "lambda": _configured(_lambda),
    "class-of-os": _layer(1, module="os", class_name="system", config=ARGUMENTS),
    "class-of-subprocess": _layer(1, module="subprocess", class_name="Popen", config=ARGUMENTS),
    "class-of-builtins": _layer(1, module="builtins", class_name="eval", config=ARGUMENTS),
    "class-of-keras": _layer(1, module="keras.utils", class_name="get_file", config=ARGUMENTS),
    "registered-name": _layer(1, module=None, registered_name="os>system", class_name="x"),
    "function-of-os": _options(
        1, activation={"module": "os", "class_name": "function", "config": "system"}
    ),
    "function-of-numpy": _options(
        1, activation={"module": "numpy", "class_name": "function", "config": "fromfile"}
    ),
    "initializer-of-os": _options(
        1, kernel_initializer={"module": "os", "class_name": "system", "config": {}}
    ),
    "saved-model-layer": _layer(
        1, class_name="TFSMLayer", config={"filepath": "/etc", "name": "evil"}
    ),
    "torch-layer": _layer(
        1, class_name="TorchModuleWrapper", config={"module": "gASVAAA=", "name": "evil"}
    ),
    "vocabulary-elsewhere": _layer(
        1, class_name="StringLookup", config={"vocabulary": "/etc/passwd", "name": "evil"}
    ),
    "build-config": _layer(1, build_config={"input_shape": [None, HUGE, HUGE, 3]}),
    "units": _options(3, units=HUGE),
    "units-eight-gigabytes": _options(3, units=2**29),
    "filters": _options(1, filters=2**33),
    "filters-negative": _options(1, filters=-4),
    "kernel": _options(1, kernel_size=[2**20, 2**20]),
    "input-shape": _options(0, batch_shape=[None, 2**20, 2**20, 3]),
    "name-path": _options(1, name="../../outside/ran"),
    "name-lines": _options(1, name='a"\n[models.evil]\x1b[31m'),
    "config-nested": _repacked(_nested),
    "config-missing": _without("config.json"),
    "weights-missing": _without("model.weights.h5"),
    "weights-elsewhere": _weights(elsewhere),
    "weights-linked": _weights(linked),
    "weights-virtual": _weights(virtual),
    "weights-claim": _weights(claiming),
    "weights-turn": _weights(turning),
    "bomb-config": _bomb("config.json"),
    "bomb-weights": _bomb("model.weights.h5"),
    "bomb-assets": _bomb("assets/zeros"),
    "bomb-overlapping": _overlapping,
    "member-above": _extra("../../outside/ran"),
    "member-absolute": _extra("/tmp/outside-ran"),
    "member-backslash": _extra("..\\..\\outside\\ran"),
    "member-link": _link_member,
    "member-twice": _twice,
}
