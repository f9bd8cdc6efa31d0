"""The auditor audited: which planted faults does each probe find, from which dose, and how often does it cry wolf?"""
