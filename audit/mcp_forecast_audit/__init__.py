"""What was: one append-only entry for every call, in an RFC 6962 tree that is sealed by signed checkpoints."""
