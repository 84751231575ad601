"""Which words: the tools' contracts, the envelope and the closed list of error codes."""
