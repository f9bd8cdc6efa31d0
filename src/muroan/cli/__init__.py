"""The command line. Commands import what they need when they run, so that `--help` answers at once."""

from __future__ import annotations

import os


def main() -> None:
    """Entry point of `muroan`."""
    # Threads that spin for long while they wait slow a process down on a busy machine, and those that never spin slow
    # it down on a quiet one. A short spin does neither (corruptions of the demo, quiet and beside one busy core of two,
    # in seconds: as OpenMP comes 3.6 and 12.0, never 5.2 and 5.7, this 3.9 and 7.2). GNU OpenMP reads this when torch
    # is first imported, so it is set before; a user's own choice is left alone.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from muroan.cli.app import app
    from muroan.cli.ending import INTERRUPTED, STOP, last_resort

    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            STOP.tell()
        raise
    except Exception as error:
        last_resort(error)
        raise SystemExit(4) from None
