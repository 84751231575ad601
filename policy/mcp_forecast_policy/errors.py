"""What policy refuses to load or allow."""

from __future__ import annotations


class PolicyError(Exception):
    """Base of policy's refusals."""


class PolicyInvalid(PolicyError):
    """The policy document cannot be used: says which entry and what is allowed."""
