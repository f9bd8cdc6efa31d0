"""Muroan audits multimodal models: where is this model unsafe, how sure are we, what makes it safer?

    import muroan
    run = muroan.audit("easy-vqa", "easy-vqa", probes=["monitoring.calibration"])
    for finding in run.findings:
        print(finding.verdict, finding.title, finding.estimate)
    run.report("report.html")

Names are imported when they are first used, so that `import muroan` and the command line start at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from muroan.version import __version__ as __version__

if TYPE_CHECKING:
    from muroan.api import AuditRun, audit
    from muroan.attack import Attack, Attacked
    from muroan.auditing.gate import Gate
    from muroan.batch import Batch, Schema
    from muroan.budget import Budget
    from muroan.clean import Clean
    from muroan.data.memory import InMemory
    from muroan.data.spec import TableSpec
    from muroan.data.table import Table, open_table
    from muroan.dataset import Dataset, Sample, Splits
    from muroan.errors import MuroanError
    from muroan.estimate import Estimate
    from muroan.evidence import Evidence
    from muroan.explainer import Attribution, Explainer
    from muroan.figure import Figure
    from muroan.finding import Finding, Metric, Verdict
    from muroan.hardening import harden
    from muroan.intervention import Arrived, Intervention, Outcome, outcome
    from muroan.meter import Metered
    from muroan.mitigation import Mitigated, Mitigation
    from muroan.modality import Audio, Image, Modality, Series, Tabular, Text
    from muroan.model import BlackBox, Capability, Model, TorchModel
    from muroan.organism import Organism
    from muroan.organisms import plant
    from muroan.probe import Observation, Probe
    from muroan.references import open_data, open_model
    from muroan.registry import register
    from muroan.rows import Rows
    from muroan.say import Say

_WHERE = {
    "attack": ("Attack", "Attacked"),
    "auditing.gate": ("Gate",),
    "api": ("AuditRun", "audit"),
    "batch": ("Batch", "Schema"),
    "budget": ("Budget",),
    "clean": ("Clean",),
    "data.memory": ("InMemory",),
    "data.spec": ("TableSpec",),
    "data.table": ("Table", "open_table"),
    "dataset": ("Dataset", "Sample", "Splits"),
    "errors": ("MuroanError",),
    "estimate": ("Estimate",),
    "evidence": ("Evidence",),
    "explainer": ("Attribution", "Explainer"),
    "figure": ("Figure",),
    "finding": ("Finding", "Metric", "Verdict"),
    "hardening": ("harden",),
    "intervention": ("Arrived", "Intervention", "Outcome", "outcome"),
    "meter": ("Metered",),
    "mitigation": ("Mitigated", "Mitigation"),
    "modality": ("Audio", "Image", "Modality", "Series", "Tabular", "Text"),
    "model": ("BlackBox", "Capability", "Model", "TorchModel"),
    "organism": ("Organism",),
    "organisms": ("plant",),
    "probe": ("Observation", "Probe"),
    "references": ("open_data", "open_model"),
    "registry": ("register",),
    "rows": ("Rows",),
    "say": ("Say",),
}
_HOME = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "Arrived",
    "Attack",
    "Attacked",
    "Attribution",
    "Audio",
    "AuditRun",
    "Batch",
    "BlackBox",
    "Budget",
    "Capability",
    "Clean",
    "Dataset",
    "Estimate",
    "Evidence",
    "Explainer",
    "Figure",
    "Finding",
    "Gate",
    "Image",
    "InMemory",
    "Intervention",
    "Metered",
    "Metric",
    "Mitigated",
    "Mitigation",
    "Modality",
    "Model",
    "MuroanError",
    "Observation",
    "Organism",
    "Outcome",
    "Probe",
    "Rows",
    "Sample",
    "Say",
    "Schema",
    "Series",
    "Splits",
    "Table",
    "TableSpec",
    "Tabular",
    "Text",
    "TorchModel",
    "Verdict",
    "audit",
    "harden",
    "open_data",
    "open_model",
    "open_table",
    "outcome",
    "plant",
    "register",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'muroan' has no attribute {name!r}")
    return getattr(import_module(f"muroan.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
