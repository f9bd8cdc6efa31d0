"""The calibration probe."""
