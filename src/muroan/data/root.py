"""The one directory below which a table's files are read.

A name in a table is data that somebody else wrote. It is never an address, never an absolute path, and never
leads out of the directory that the user gave, through `..` or through a symbolic link.

Known trade-off: somebody who can change the directory while it is read can swap a file between the check and the
opening; who can do that can change the data anyway.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from muroan.errors import AskedWrongly, BadSample, shown

MAX_BYTES = 512 << 20
"""No single file of a sample may be larger."""

_ADDRESS = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]*://|(?:data|file|https?|ftp):)", re.IGNORECASE)


@dataclass(frozen=True)
class Root:
    """A directory; `path` is absolute and free of symbolic links."""

    path: Path

    @staticmethod
    def at(path: Path) -> Root:
        """`AskedWrongly` if there is no such directory."""
        try:
            found = path.resolve(strict=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise AskedWrongly(f"root {shown(str(path))} is not there; root is the directory of the files") from error
        if not found.is_dir():
            raise AskedWrongly(f"root {shown(str(path))} is not a directory; root is the directory of the files")
        return Root(found)

    def plain(self, name: str) -> Path:
        """`name` below the root, by its spelling alone; raises `BadSample` if it is spelt to lead elsewhere."""
        if not name.strip():
            raise BadSample("file name is empty")
        if "\0" in name:
            raise BadSample(f"file name {shown(name)} has a NUL character")
        if _ADDRESS.match(name):
            raise BadSample(f"{shown(name)} is an address; only files below the table's root are read")
        posix, windows = PurePosixPath(name), PureWindowsPath(name)
        if posix.is_absolute() or windows.drive or windows.root:
            raise BadSample(f"{shown(name)} is an absolute path; only files below the table's root are read")
        if ".." in posix.parts or ".." in windows.parts:
            raise BadSample(f"{shown(name)} has '..' in it; only files below the table's root are read")
        return self.path / name

    def file(self, name: str) -> Path:
        """The regular file that `name` is, links resolved; raises `BadSample` if it is missing or elsewhere."""
        path = self.plain(name)
        try:
            found = path.resolve(strict=True)
            mode = found.stat()
        except FileNotFoundError as error:
            raise BadSample(f"{shown(name)} is missing") from error
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise BadSample(f"{shown(name)} cannot be reached: {reason}") from error
        if not found.is_relative_to(self.path):
            raise BadSample(f"{shown(name)} is a link that leads out of the table's root")
        if not stat.S_ISREG(mode.st_mode):
            raise BadSample(f"{shown(name)} is not a regular file")
        if mode.st_size > MAX_BYTES:
            raise BadSample(f"{shown(name)} has {mode.st_size >> 20} MiB, more than {MAX_BYTES >> 20}")
        return found
