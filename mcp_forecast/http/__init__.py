"""The HTTP door: streamable HTTP and SSE for several callers with tokens of their own, floods spaced, and health."""
