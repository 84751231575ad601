"""Forecasting measured on public data: one command per row, ours beside published figures and peers."""
