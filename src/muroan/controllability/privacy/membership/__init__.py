"""The membership probe."""
