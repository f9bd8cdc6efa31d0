"""The map of what can be asked: pillars, their places, and the questions that this audit asked there.

Source: the taxonomy of safe multimodal learning systems, Zhao et al., KDD 2024. Places that no probe of this
audit covers stay on the map as "not asked", because silence is not safety.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from muroan.auditing.result import ProbeResult, Result

PLACES: dict[str, dict[str, str]] = {
    "robustness": {
        "distribution_shift": "Does it hold when inputs are noisy, shifted or missing?",
        "adversarial": "Does it hold when somebody changes the inputs on purpose?",
    },
    "alignment": {
        "misalignment": "Can it be led to do what it must not?",
        "aligning": "Does teaching it what it must not do work, and at what cost?",
    },
    "monitoring": {
        "anomaly": "Does it notice inputs that it was not made for?",
        "reliability": "Does it know when it is wrong?",
    },
    "controllability": {
        "explainability": "Can it be told why it decides, and is that true?",
        "privacy": "Does it give away what it was trained on?",
        "fairness": "Does it serve everybody equally well?",
    },
}


def title(name: str) -> str:
    """A name of the taxonomy as a heading."""
    return name.replace("_", " ").capitalize()


@dataclass
class Place:
    """One place on the map. probes: indices into `Result.probes`."""

    name: str
    question: str
    probes: list[int] = field(default_factory=list)


@dataclass
class Pillar:
    name: str
    places: list[Place]


def chart(result: Result) -> list[Pillar]:
    """The map with this audit's probes on it; a plugin's place that the taxonomy lacks is added."""
    pillars = {p: {n: Place(n, q) for n, q in places.items()} for p, places in PLACES.items()}
    for i, probe in enumerate(result.probes):
        pillar, _, place = probe.place.partition("/")
        places = pillars.setdefault(pillar, {})
        places.setdefault(place, Place(place or pillar, "")).probes.append(i)
    return [Pillar(name, list(places.values())) for name, places in pillars.items()]


def not_asked(result: Result) -> list[str]:
    """Places that no completed probe of this audit covers, as "pillar: place"."""
    covered = {p.place for p in result.probes if _answered(p)}
    return [
        f"{title(pillar)}: {place.replace('_', ' ')}"
        for pillar, places in PLACES.items()
        for place in places
        if f"{pillar}/{place}" not in covered
    ]


def _answered(probe: ProbeResult) -> bool:
    return probe.status == "completed" and any(f.estimate is not None for f in probe.findings)
