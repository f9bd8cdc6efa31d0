"""Training and weight space against distribution shift, as mitigations."""
