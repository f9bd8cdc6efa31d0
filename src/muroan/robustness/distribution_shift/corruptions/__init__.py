"""The corruptions probe."""
