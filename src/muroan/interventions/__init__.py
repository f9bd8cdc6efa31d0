"""What may be done to inputs, by any pillar: removals, swaps, perturbations, attacks."""
