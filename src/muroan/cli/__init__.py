"""The command line. Commands import what they need when they run, so that `--help` answers at once."""

from __future__ import annotations

import os


def main() -> None:
    """Entry point of `muroan`."""
    # Threads that spin while they wait make a process on a busy machine up to ten times slower than threads that sleep
    # (measured: 18.7 s against 2.3 s beside one busy core of two; no difference on a quiet machine). The OpenMP
    # runtime reads this when torch is first imported, so it is set before; a user's own choice is left alone.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from muroan.cli.app import app

    app()
