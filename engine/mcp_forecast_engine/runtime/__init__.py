"""Runs that survive: ledger, lease, supervisor, worker."""
