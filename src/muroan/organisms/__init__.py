"""Models and data with planted faults, and their clean twins: what the auditor is audited on.

A fault is a file in its pillar's folder; being there is enough. It is planted in a bed: the `clinic`, where every
relation is known and nothing else is wrong, or real data with a real model.
"""
