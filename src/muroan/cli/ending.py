"""How a command ends: errors as one clear line and the exit code that belongs to them, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer


@dataclass
class Stop:
    """What Ctrl-C leaves behind. It can come where no handler of ours is: between two of them, inside a library's
    clean-up. Then the process ends with 130 and `main` says what is to be said."""

    out: Path | None = None
    told: bool = False

    def tell(self) -> None:
        if not self.told:
            self.told = True
            kept = f" What was finished is kept: give --out {self.out} again to go on." if self.out else ""
            say(f"stopped.{kept}", error=True)


STOP = Stop()
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@contextmanager
def errors(out: Path | None = None) -> Iterator[None]:
    """Errors as one clear line and the exit code that belongs to them."""
    from muroan.errors import FOREIGN, AskedWrongly, CannotComplete, MuroanError

    STOP.out, STOP.told = out, False
    try:
        yield
    except AskedWrongly as error:
        say(str(error), error=True)
        raise typer.Exit(2) from error
    except CannotComplete as error:
        say(str(error), error=True)
        raise typer.Exit(4) from error
    except MuroanError as error:
        say(f"{type(error).__name__}: {error}", error=True)
        raise typer.Exit(4) from error
    except KeyboardInterrupt as error:
        STOP.tell()
        raise typer.Exit(INTERRUPTED) from error
    except (typer.Exit, typer.Abort):
        raise
    except FOREIGN as error:
        last_resort(error, out)
        raise typer.Exit(4) from error


def last_resort(error: BaseException, out: Path | None = None) -> None:
    """What nobody foresaw, in one line, with the details in a file: no other exit code than "not completed" is true."""
    import tempfile
    import traceback

    from muroan.errors import told

    text = "".join(traceback.format_exception(error)).encode("utf-8", "replace")
    kept = "its details could not be written"
    for folder in (*([out / "errors"] if out is not None and out.is_dir() else []), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(exist_ok=True)
            with tempfile.NamedTemporaryFile("wb", prefix="muroan-", suffix=".txt", dir=folder, delete=False) as file:
                file.write(text)
        except OSError:
            continue
        kept = f"details: {file.name}"
        break
    say(f"not completed, by an error that nobody foresaw: {told(error)[:300]} ({kept})", error=True)


def say(text: str, *, error: bool = False) -> None:
    from muroan.report.text import visible

    typer.echo(("muroan: " if error else "") + visible(text), err=error)
