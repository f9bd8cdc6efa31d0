"""Faults of controllability: explanations that mislead, groups served worse, patients remembered."""
