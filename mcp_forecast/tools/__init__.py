"""One file per toolset: each turns a request into one engine call."""
