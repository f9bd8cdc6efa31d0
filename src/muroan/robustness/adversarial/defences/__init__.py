"""Defences: mitigations against attacks, and what is needed to attack them adaptively."""
