"""What data of pairs have in common: each sample is one pair, and the question is whether its sides find each other."""

FOUND = ("missed", "found")
"""Classes of retrieval, and of data of pairs: a pair's target is "found"."""
