"""The command line. Commands import what they need when they run, so that `--help` answers at once."""

from __future__ import annotations


def main() -> None:
    """Entry point of `muroan`."""
    from muroan.cli.app import app

    app()
