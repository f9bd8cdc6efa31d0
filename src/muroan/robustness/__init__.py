"""Robustness: distribution shift and adversarial inputs."""
