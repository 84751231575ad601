"""What was: one append-only entry for every call, with its RFC 6962 leaf hash."""
