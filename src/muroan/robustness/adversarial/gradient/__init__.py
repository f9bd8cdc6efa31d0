"""The gradient probe."""
