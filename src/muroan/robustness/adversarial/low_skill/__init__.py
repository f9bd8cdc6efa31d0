"""The low skill probe."""
