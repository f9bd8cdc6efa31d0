"""Faults planted in real data and trained models: easy-VQA and handwritten digits."""
