"""The conformal probe."""
