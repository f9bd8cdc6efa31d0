"""The matching probe."""
