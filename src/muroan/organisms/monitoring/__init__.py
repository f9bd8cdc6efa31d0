"""Faults of monitoring: confidence that does not mean what it says, failures that gather out of sight."""
