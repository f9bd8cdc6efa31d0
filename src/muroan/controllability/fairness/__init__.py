"""Fairness: for whom the model works less well."""
