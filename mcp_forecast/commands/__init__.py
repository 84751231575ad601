"""What each branch of the `mcp-forecast` command does, and what people see of it."""
