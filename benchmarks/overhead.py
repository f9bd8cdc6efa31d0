"""What each probe costs beyond the model: wall time over the bare forward and backward passes that it reports.

Two models: the shipped one, whose passes take microseconds a row, so that what a probe does around them shows most; and
the same model made as slow as a small real one (each picture and each fusion takes the work of a 12-layer
transformer on 64 tokens), where the model's compute is the limit.

    python benchmarks/overhead.py [--limit 300]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from muroan import Splits, audit, registry
from muroan.data.easy_vqa import easy_vqa
from muroan.models.easy_vqa.model import EasyVQAModel, easy_vqa_model


class Weighty(EasyVQAModel):
    """The shipped model with a transformer's compute before each picture's code (its result is multiplied by zero)."""

    def __init__(self, inner: EasyVQAModel) -> None:
        self.__dict__.update(inner.__dict__)
        self.name = "easy-vqa, weighty"
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(128, 4, 256, batch_first=True, dropout=0.0)
        self.load = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False).eval().requires_grad_(False)

    def encode(self, modality: str, values: object) -> Tensor:
        code = super().encode(modality, values)
        if modality != "image":
            return code
        assert isinstance(values, Tensor)
        tokens = nn.functional.adaptive_avg_pool2d(values, 8).flatten(2).transpose(1, 2)  # [N, 64, 3]
        tokens = nn.functional.pad(tokens, (0, 125))
        return code + 0.0 * self.load(tokens).mean(dim=(1, 2))[:, None]


def measured(model: EasyVQAModel, limit: int) -> Mapping[str, object]:
    """Probe -> passes, seconds in the model, seconds in all, and their ratio."""
    source = easy_vqa()
    splits = Splits(source.audited, source.reference, source.members)
    with tempfile.TemporaryDirectory() as folder:
        run = audit(model, splits, out=Path(folder) / "run", limit=limit, show_progress=False)
        out = {}
        for p in run.result.probes:
            if p.status == "completed":
                ratio = p.cost.seconds / p.cost.model_seconds if p.cost.model_seconds > 0 else None
                out[p.name] = {
                    "passes": p.cost.counts,
                    "model_seconds": round(p.cost.model_seconds, 3),
                    "seconds": round(p.cost.seconds, 3),
                    "ratio": None if ratio is None else round(ratio, 3),
                }
    return out


def main() -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=300)
    options = parser.parse_args()
    registry.load()
    model = easy_vqa_model()
    found = {
        "benchmark": "overhead",
        "limit": options.limit,
        "threads": torch.get_num_threads(),
        "shipped": measured(model, options.limit),
        "weighty": measured(Weighty(model), max(40, options.limit // 4)),
    }
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
