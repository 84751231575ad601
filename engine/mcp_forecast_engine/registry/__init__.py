"""Which bundles there are, which one is ACTIVE where, and every event that made it so."""
