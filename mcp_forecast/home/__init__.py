"""A home: its folder, its database, who uses it, and its sealed log."""
