"""Privacy: what the model gives away about its training data."""
