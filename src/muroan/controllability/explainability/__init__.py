"""Explainability: why the model decides as it does."""
