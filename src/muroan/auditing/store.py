"""A run directory: the only state of an audit, plain files that other tools read.

    audit.json                          what was asked and of whom
    evidence/samples/<shard>.parquet    the clean pass, one row a sample
    evidence/<probe>/<shard>.parquet    what a probe observed
    evidence/<probe>/<shard>.json       what that cost, what was quarantined, what is worth showing
    evidence/<probe>/<shard>.npz        the model's answers, while other probes are still to see the shard
    exhibits/<probe>/...                pictures
    findings.json, report.html, junit.xml, findings.sarif

Every file appears whole or not at all (written aside, synced, renamed). A shard of a probe counts as done when
its Parquet file is there; it is written last, so a kill at any point loses at most the shard in work.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from muroan.auditing.observe import Observed
from muroan.dataset import Quarantined
from muroan.errors import AskedWrongly, CannotComplete
from muroan.finding import Exhibit
from muroan.memo import Kept, Memo
from muroan.probe import Shown

PLAN = "audit.json"
PREPARED = "prepared"
"""Stands in the place of a shard for what a probe did before it observed any."""
FREE = frozenset({"gate", "created", "command", "environment"})
"""Entries of a plan that do not change what is observed."""


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Errors of the disk as errors of ours: what could not be written, and that nothing is lost."""
    try:
        yield
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        raise CannotComplete(
            f"{path} could not be written: {why}. What was finished is kept; "
            "give the run directory again to go on from there."
        ) from error


def write_whole(path: Path, content: bytes) -> None:
    """A file that is there whole or not at all, also after a kill or a power cut."""
    with _disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(aside, 0o644)
            os.replace(aside, path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def picture_bytes(value: Any) -> bytes:
    """A picture tensor [C, H, W] in [0, 1] as PNG."""
    from PIL import Image

    pixels = (np.asarray(value).transpose(1, 2, 0) * 255.0).round().clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


class Run:
    """The files of one audit."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    # What was asked

    @property
    def exists(self) -> bool:
        return (self.path / PLAN).is_file()

    def plan(self) -> dict[str, Any]:
        """What was asked, as `audit.json` has it."""
        return self._json(self.path / PLAN)

    def start(self, plan: dict[str, Any]) -> None:
        """Claim the directory for this plan. Raises `AskedWrongly` if it holds another one.

        What only concerns conclusions (`FREE`) may change from one start to the next.
        """
        if self.exists:
            old = self.plan()
            self._same(old, plan)
            self.sweep()
            if old != plan:
                self.write_json(PLAN, {**plan, "created": old.get("created", plan.get("created"))})
            return
        if self.path.exists() and not self.path.is_dir():
            raise AskedWrongly(f"{self.path} is a file; a run needs a directory of its own")
        if self.path.is_dir() and any(self.path.iterdir()):
            raise AskedWrongly(f"{self.path} is not empty and holds no audit; name another directory")
        self.write_json(PLAN, plan)

    def _same(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        different = [k for k in sorted({*old, *new} - FREE) if old.get(k) != new.get(k)]
        if "muroan" in different:
            raise AskedWrongly(
                f"{self.path} was begun by Muroan {old.get('muroan')}, this is {new.get('muroan')}; figures of "
                "two versions are not mixed. Use the other version, or another directory."
            )
        if different:
            detail = "; ".join(f"{k}: {_short(old.get(k))} there, {_short(new.get(k))} here" for k in different)
            raise AskedWrongly(
                f"{self.path} holds another audit ({detail}). Name another directory, or ask for the same."
            )

    # Evidence

    def _evidence(self, probe: str, shard: str, ending: str) -> Path:
        return self.path / "evidence" / probe / f"{shard}.{ending}"

    def done(self, probe: str, shard: str) -> bool:
        """Whether this shard of a probe was observed to its end."""
        return self._evidence(probe, shard, "parquet").is_file()

    def save(self, probe: str, shard: str, observed: Observed, answers: Kept | None = None) -> None:
        """One observed shard: pictures first, rows last. answers: of the model, for the probes that come after."""
        exhibits = []
        for k, shown in enumerate(observed.shown):
            exhibits.append(self._exhibit(probe, f"{shard}-{k}", shown))
        record = {
            "counts": observed.meter.counts,
            "model_seconds": observed.meter.seconds,
            "seconds": observed.seconds,
            "quarantined": [[q.sample, q.stage, q.reason] for q in observed.quarantined],
            "exhibits": [e.model_dump(mode="json") for e in exhibits],
            "stopped": observed.stopped,
        }
        write_whole(self._evidence(probe, shard, "json"), json.dumps(record).encode())
        if answers is not None:
            buffer = io.BytesIO()
            np.savez(buffer, first=answers.first, keys=answers.keys, logits=answers.columns[0].numpy())
            write_whole(self._evidence(probe, shard, "npz"), buffer.getvalue())
        rows = observed.rows if observed.rows is not None else pl.DataFrame()
        write_whole(self._evidence(probe, shard, "parquet"), _parquet(rows))

    def put_back(self, probe: str, shard: str, memo: Memo) -> None:
        """What the model answered to a probe that is done with this shard."""
        path = self._evidence(probe, shard, "npz")
        if path.is_file():
            with np.load(path) as found:
                memo.restore(Kept(int(found["first"]), found["keys"], [torch.from_numpy(found["logits"])]))

    def let_go(self, shard: str) -> None:
        """Remove what the model answered, once all probes are done with this shard."""
        for path in (self.path / "evidence").glob(f"*/{shard}.npz"):
            path.unlink()

    def _exhibit(self, probe: str, name: str, shown: Shown) -> Exhibit:
        panels = []
        for k, (panel, value) in enumerate(shown.panels):
            if panel.kind == "image" and value is not None:
                file = f"{probe}/{name}-{k}.png"
                write_whole(self.path / "exhibits" / file, picture_bytes(value))
                panel = panel.model_copy(update={"file": file, "size": tuple(value.shape[-2:])})
            panels.append(panel)
        return Exhibit(
            probe=probe,
            sample=shown.sample,
            title=shown.title,
            caption=shown.caption,
            panels=panels,
            rank=shown.rank,
        )

    def frames(self, probe: str, shards: list[str]) -> list[pl.DataFrame]:
        """The rows of a probe's shards, those without rows left out; what names rows as numbers (Categorical)."""
        found = []
        for shard in shards:
            if self.done(probe, shard):
                rows = pl.read_parquet(self._evidence(probe, shard, "parquet"))
                if rows.width:
                    found.append(rows.with_columns(pl.col("sample", "condition", "split").cast(pl.Categorical)))
        return found

    def records(self, probe: str, shards: list[str]) -> list[dict[str, Any]]:
        """Cost, quarantine and exhibits of a probe's shards."""
        return [self._json(self._evidence(probe, s, "json")) for s in shards if self.done(probe, s)]

    @staticmethod
    def quarantined(records: list[dict[str, Any]]) -> list[Quarantined]:
        return [Quarantined(*row) for record in records for row in record["quarantined"]]

    def evidence(self, probe: str) -> pl.DataFrame:
        """All rows of one probe, as a Polars frame; raises `AskedWrongly` if the run has none."""
        folder = self.path / "evidence" / probe
        files = sorted(folder.glob("*.parquet"))
        if not files:
            known = sorted(p.name for p in (self.path / "evidence").glob("*") if p.is_dir())
            raise AskedWrongly(f"{self.path} has no evidence of {probe!r}. It has: {', '.join(known) or 'none'}.")
        frames = [f for f in map(pl.read_parquet, files) if f.width]
        return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()

    # Anything else

    def write_json(self, name: str, content: Any) -> None:
        write_whole(self.path / name, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())

    def write_text(self, name: str, content: str) -> None:
        write_whole(self.path / name, content.encode())

    def _json(self, path: Path) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise AskedWrongly(f"{self.path} is not a run directory: {path.name} is missing") from error
        except (ValueError, UnicodeDecodeError) as error:
            raise AskedWrongly(f"{path} is not readable as JSON: {error}") from error
        return found

    def sweep(self) -> None:
        """Remove what a killed writer left aside."""
        for left in self.path.rglob(".*"):
            if re.fullmatch(r"\..+\.(parquet|json|npz|png|html|xml|sarif)\.[a-z0-9_]{8}", left.name):
                left.unlink(missing_ok=True)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
