"""The failures probe."""
