"""What a run took, and on what: CPU seconds, peak memory, and the machine in words without its name."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path


def cpu_seconds() -> float:
    """User and system time of this process, all threads, and of the children that have ended."""
    parts = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)


def peak_rss_mb() -> float:
    """Peak resident memory of this process or of its largest child, MB; data and imports included."""
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(peaks) * (1 if sys.platform == "darwin" else 1024) / 1e6


def machine_text() -> str:
    """Processor, cores, memory, system, Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = f"{os.cpu_count()} cores, {memory:.0f} GiB"
    return f"{_processor()}, {cores}, {platform.system()}, Python {platform.python_version()}"


def versions() -> dict[str, str]:
    """The packages that decide on figures, where they are installed."""
    names = ("mcp-forecast", "numpy", "torch", "lightgbm", "scipy")
    known = {str(found.metadata["Name"]).lower() for found in metadata.distributions()}
    return {name: metadata.version(name) for name in names if name in known}


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
