"""Faults of robustness: small, missing, corrupted or planted parts of an input that decide too much."""
