"""Which host this is: whose process ids mean something to us."""

from __future__ import annotations

import os
import platform
from contextlib import suppress


def host_name() -> str:
    """The host whose process ids mean something here; a container with pids of its own is another host."""
    namespace = ""
    with suppress(OSError):  # Linux only
        namespace = "+" + os.readlink("/proc/self/ns/pid").strip("pid:[]")
    return platform.node() + namespace
