"""The engine: makes forecasts and serves them; reads downwards, imports nothing of the server."""
