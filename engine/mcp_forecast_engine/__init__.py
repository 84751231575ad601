"""The engine: makes forecasts and serves them; reads downwards, imports nothing of the server."""

ENGINE_RELEASE = "0.4.0"  # part of every run's identity: another release is another run
