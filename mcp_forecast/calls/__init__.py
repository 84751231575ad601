"""The one path of a call, and what stands on it: limits, keys, quotas, refusals."""
