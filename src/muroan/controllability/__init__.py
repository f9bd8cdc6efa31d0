"""Controllability: explanation, fairness, privacy."""
