"""The MCP doors: wire to pipeline and back."""
