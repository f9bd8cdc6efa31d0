"""Data sets: the built-in easy-VQA, and tables of the user's own."""
