"""Whose stdin and stdout are: the protocol's alone, from before anything else is imported."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def claimed_stdio() -> Iterator[tuple[int, int]]:
    """Take the wire away from descriptors 0 and 1, so that a stray print or a child process cannot write on it.

    Meanwhile 0 is the null device and 1 is stderr; both are given back in the end.
    """
    wire_in, wire_out = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (0, 1))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # started without a stderr
        os.dup2(null, 1)
    os.close(null)
    try:
        yield wire_in, wire_out
    finally:
        os.dup2(wire_in, 0)
        os.dup2(wire_out, 1)
        os.close(wire_in)
        os.close(wire_out)
