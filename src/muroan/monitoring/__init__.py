"""Monitoring: knowing when a model fails."""
