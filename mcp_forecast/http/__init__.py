"""The HTTP door: bearer token, streamable HTTP and health."""
