"""Adversarial robustness: what somebody who wants to can do."""
