"""The forecasting desk an agent can be trusted with: the server that composes engine, policy, audit and contracts."""

__version__ = "0.4.0"
