"""The consistency probe."""
