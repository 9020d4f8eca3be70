"""What figures were measured on: processor, system, versions, and what a process took of memory."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("vdmcompress", "numpy", "numba", "torch", "pillow", "imagecodecs")
_STATUS: Final = Path("/proc/self/status")
_RESET: Final = Path("/proc/self/clear_refs")


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, fast integer instructions, memory, system."""
    cpu, flags = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        cpu, flags = fields.get("model name", cpu), fields.get("flags", "")
    known = [flag for flag in ("avx2", "avx512f", "avx_vnni", "avx512_vnni") if flag in flags.split()]
    return {"cpu": cpu, "cores": processors(), "isa": known, "system": platform.system()}


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def versions() -> dict[str, str]:
    """Versions of vdmc, of what it computes with, and of the libraries within imagecodecs."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    try:
        import imagecodecs

        parts = [part.rpartition("-") for part in imagecodecs.version().split(", ")]
        found |= {name: version for name, _, version in parts if name in ("libjxl", "charls", "libavif")}
    except ImportError:
        pass
    from PIL import features

    webp = features.version("webp")
    return {**found, "libwebp": webp} if webp else found


def reset_peak() -> bool:
    """Begin to count this process's peak of memory anew; False where the system does not do that."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """Peak of this process's memory since `reset_peak`, or since it began where that is not done."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
