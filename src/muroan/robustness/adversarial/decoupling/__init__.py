"""The decoupling probe."""
