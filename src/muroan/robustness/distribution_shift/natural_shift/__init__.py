"""The natural shift probe."""
