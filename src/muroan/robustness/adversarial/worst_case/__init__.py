"""The worst case probe."""
