"""The truth store: database, artifacts by digest, identity."""
