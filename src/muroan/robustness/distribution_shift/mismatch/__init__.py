"""The mismatch probe."""
