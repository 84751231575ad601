"""Exported models answer: sessions and forecasts."""
