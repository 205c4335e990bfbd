"""Zip archives that somebody else made: what is in them, before anything is unpacked.

Model files are zip archives more often than their names say (.keras, .pt2, .npz).
"""

from __future__ import annotations

import re
import stat
import zipfile
from pathlib import Path, PurePosixPath

MOST_MEMBERS = 20_000
MOST_UNPACKED = 2**26  # bytes that any archive may unpack to
MOST_RATIO = 20  # and, beyond them, how many times its own size; weights hardly compress
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1  # APPNOTE.TXT 4.4.4
_DRIVE = re.compile(r"[A-Za-z]:")


def check(path: Path) -> list[zipfile.ZipInfo]:
    """The members of a zip archive that may be unpacked.

    Raises ValueError naming the file and the member, of one that is damaged, leads out of a folder,
    stands there twice, or unpacks to far more than the archive's size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    # A damaged directory raises what struct, zlib and the codecs raise.
    except (zipfile.BadZipFile, ValueError, LookupError, NotImplementedError, OSError) as error:
        raise ValueError(
            f"{path} is no whole zip archive ({error}): it is truncated, damaged or of another "
            "kind; copy or save it again"
        ) from error
    if len(members) > MOST_MEMBERS:
        raise ValueError(f"{path} holds {len(members)} members, more than {MOST_MEMBERS}")
    seen: set[str] = set()
    for member in members:
        _check_member(path, member, seen)
        seen.add(member.filename)
    check_unpacked(path, sum(member.file_size for member in members), path.stat().st_size)
    return members


def check_unpacked(path: Path, unpacked: int, packed: int) -> None:
    """Raises ValueError for an archive of `packed` bytes that unpacks to absurdly many."""
    if unpacked > MOST_UNPACKED + MOST_RATIO * packed:
        raise ValueError(
            f"{path} has {packed:,} bytes and unpacks to {unpacked:,}: that is no model, it would "
            "fill memory; save the model again without compression"
        )


def _check_member(path: Path, member: zipfile.ZipInfo, seen: set[str]) -> None:
    name = member.orig_filename  # `filename` ends at a NUL
    where = f"{path}: its member {name[:100]!r}"
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0].startswith("/") or _DRIVE.match(name) or "\0" in name:
        raise ValueError(f"{where} leads out of the archive: such a file is not unpacked")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ValueError(f"{where} is a link: such a file is not unpacked")
    if member.filename in seen:
        raise ValueError(f"{where} stands there twice: save the model again")
    if member.flag_bits & ENCRYPTED or member.compress_type not in METHODS:
        raise ValueError(f"{where} is encrypted or packed in an unusual way: save the model again")
