"""Anomaly: failing slices, inputs from elsewhere."""
