"""Reliability: calibration, uncertainty, conformal prediction."""
