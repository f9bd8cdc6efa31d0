"""The attribution probe."""
