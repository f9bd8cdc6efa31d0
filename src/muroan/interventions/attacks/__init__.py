"""Attacks: within a budget per modality, change a batch so that decisions change; and what they share."""
