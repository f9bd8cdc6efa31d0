"""Which Muroan this is: written into every run, and checked when one is gone on with."""

__version__ = "0.1.0"
