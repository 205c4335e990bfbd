"""What this host's CPU is, and whether integers of 8 bits are what it is fast with."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# Instructions that multiply and add 8-bit integers, by the names that Linux gives them: of x86
# (AVX512-VNNI, AVX-VNNI, AMX) and of ARM (the dot product of ARMv8.2).
DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "dotprod"}


@cache
def cpu_name() -> str | None:
    if found := re.search(r"^model name\s*: (.+)$", _cpuinfo(), re.MULTILINE):
        return found[1].strip()
    return _asked().get("brand_raw")


@cache
def has_dot_product() -> bool | None:
    """Whether kernels of 8-bit integers have instructions of their own, without which float ones
    are often as fast; None where the host does not tell.
    """
    known = flags()
    return None if not known else not DOT_PRODUCTS.isdisjoint(known)


@cache
def flags() -> frozenset[str]:
    """The instructions that the CPU has, by Linux's names; none where the host does not tell."""
    if found := re.search(r"^(?:flags|Features)\s*: (.+)$", _cpuinfo(), re.MULTILINE):
        return frozenset(found[1].split())
    return frozenset(_asked().get("flags") or ())


@cache
def _cpuinfo() -> str:
    with suppress(OSError):  # where py-cpuinfo looks first, before it spends a second elsewhere
        return CPUINFO.read_text()
    return ""


@cache
def _asked() -> dict:
    import cpuinfo

    return cpuinfo.get_cpu_info()
