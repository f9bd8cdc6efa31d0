"""A fault is declared where it is written, in the form that its bed takes, and is found by its name."""

from __future__ import annotations

import pytest

from muroan import plant, registry
from muroan.organism import Bed, Organism
from muroan.organisms.clinic import CLINIC, Clinician, Patients, planted, replace

WORDS = {
    "place": "robustness/adversarial",
    "fault": "it is",
    "dose": "how much",
    "doses": (1.0, 2.0, 3.0),
    "matters": 2.0,
}


@pytest.fixture(autouse=True)
def own(monkeypatch):
    """A registry of one's own, filled with what ships."""
    registry.methods("organisms")
    monkeypatch.setattr(registry, "_found", {kind: dict(known) for kind, known in registry._found.items()})


def test_what_is_declared_is_given_back_and_found_with_its_words_and_its_place_in_the_code():
    @plant("robustness.mine", bed=CLINIC, **WORDS)
    class Mine(Clinician):
        """Mine."""

    assert issubclass(Mine, Clinician)
    found = registry.organism("robustness.mine")
    assert isinstance(found, Organism)
    assert (found.fault, found.doses, found.bed, found.__doc__) == ("it is", (1.0, 2.0, 3.0), CLINIC, "Mine.")
    assert found.__module__ == __name__
    model, _ = found.world(2.0, 0)
    assert (type(model), model.dose) == (Mine, 2.0)
    assert type(found.world(0.0, 0)[0]) is Clinician


def test_a_bed_that_says_nothing_takes_a_function_of_dose_and_seed():
    bare = Bed("bare", "nothing", lambda seed: ("twin", seed), exact=False)

    @plant("robustness.mine", bed=bare, **WORDS)
    def mine(dose: float, seed: int):
        return dose, seed

    found = registry.organism("robustness.mine")
    assert found.world(3.0, 7) == mine(3.0, 7) == (3.0, 7)
    assert found.world(0.0, 7) == ("twin", 7)


def test_in_the_clinic_a_fault_is_a_clinician_who_meets_patients_or_a_change_of_patients():
    class Meets(Clinician):
        def meets(self, p: Patients) -> Patients:
            return renamed(p, self.dose)

    def renamed(p: Patients, dose: float) -> Patients:
        return replace(p, note=[f"{dose:g} {note}" for note in p.note])

    for fault in (Meets, renamed):
        _, splits = planted(fault, 2.0, 0)
        assert {note.split()[0] for note in splits.audited.load(range(20)).batch.inputs["note"]} == {"2"}


def test_a_name_has_one_owner():
    with pytest.raises(ValueError, match=r"already registered by muroan\.organisms\.confidence"):

        @plant("monitoring.overconfident", bed=CLINIC, **WORDS)
        class Another(Clinician):
            pass
