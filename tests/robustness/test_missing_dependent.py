"""Inputs that go missing in one class or group alone, and what that is taken for: closed forms, and no false alarms."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from muroan.auditing.observe import observe_all
from muroan.checks import false_alarms, power
from muroan.checks.alarms import findings
from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.finding import Conclusion, Finding, LineChart, Verdict
from muroan.modality import Tabular
from muroan.model import BlackBox, Model, TorchModel
from muroan.organisms.clinic import CLINIC
from muroan.organisms.digits import DIGITS
from muroan.registry import organism
from muroan.robustness.distribution_shift.missing_modality.grid import MOST_CLASSES, RATES
from muroan.robustness.distribution_shift.missing_modality.probe import MissingModality

CLASSES = ("a", "b", "c", "d")
PROBE = MissingModality()


def data(n: int = 400, classes: tuple[str, ...] = CLASSES, one: bool = False, mute: int = 0) -> InMemory:
    """Two views, each the one-hot label, but right says nothing of the first `mute`; half are of each side."""
    k = len(classes)
    targets = np.zeros(n, dtype=int) if one else np.arange(n) % k
    view = np.eye(k, dtype=np.float32)[targets]
    return InMemory(
        {"left": view, "right": view * (np.arange(n) >= mute)[:, None]},
        targets=targets,
        modalities={m: Tabular(columns=classes) for m in ("left", "right")},
        classes=classes,
        groups={"side": ["in" if i < n // 2 else "out" for i in range(n)]},
        name="views",
    )


def model(decide: Callable[[Tensor, Tensor], Tensor], classes: tuple[str, ...] = CLASSES) -> TorchModel:
    """Logits as a function of both views."""
    return TorchModel(
        encoders={m: (lambda x: x) for m in ("left", "right")},
        fusion=lambda codes: decide(codes["left"], codes["right"]),
        head=lambda logits: logits,
        classes=classes,
        gradients=False,
    )


def concluded(m: Model, samples: InMemory) -> tuple[Conclusion, dict[str, Finding]]:
    evidence, _ = observe_all([PROBE], m, Splits(samples))
    found = PROBE.conclude(evidence[PROBE.name])
    return found, {f.key.split("/")[1]: f for f in found.findings}


def value(found: dict[str, Finding], key: str) -> float:
    estimate = found[key].estimate
    assert estimate is not None
    return estimate.value


def tells(left: Tensor, right: Tensor) -> Tensor:
    """Without left it is sure of class c; else it believes left."""
    gone = (left.sum(dim=1) == 0)[:, None]
    return 50 * torch.where(gone, torch.eye(4)[2], left)


def test_what_a_missing_input_is_taken_for() -> None:
    _, by = concluded(model(tells), data())
    tilt = by["missing_tilt"]
    assert value(by, "missing_tilt") == pytest.approx(0.75, abs=1e-6)  # from a quarter to all
    assert "'c'" in tilt.title
    assert "left" in tilt.title
    assert value(by, "missing_tilt[modality=left]") == pytest.approx(0.75, abs=1e-6)
    assert value(by, "missing_tilt[modality=right]") == pytest.approx(0.0, abs=1e-6)
    assert "25.0%" in tilt.note
    judged = {f.key: f for f in findings(PROBE, model(tells), Splits(data()))}
    assert judged[tilt.key].verdict is Verdict.FAIL


def test_accuracy_in_a_class_that_loses_its_input_alone_is_a_closed_form() -> None:
    _, by = concluded(model(tells), data())
    # Of a, b and d nothing is right without left, of c everything.
    assert value(by, "worst_class_accuracy") == 0.0
    assert value(by, "worst_class_area") == 0.5
    assert value(by, "worst_group_accuracy") == 0.25
    assert value(by, "worst_group_area") == 0.625
    worst = by["worst_class_accuracy"]
    assert worst.estimate is not None
    assert 0.0 < worst.estimate.high < 0.2  # nothing was right, which is no certainty
    assert worst.controls["there, nothing missing"].value == 1.0
    assert worst.verdict is Verdict.MEASURED


def test_the_chart_shows_the_class_by_the_rate_at_which_it_lacks_the_input() -> None:
    found, _ = concluded(model(tells), data())
    chart = next(c for c in found.charts if c.title.startswith("Accuracy by class"))
    assert isinstance(chart, LineChart)
    assert "left" in chart.title
    lines = {line.label: line for line in chart.lines}
    assert lines["a"].y == pytest.approx([1 - eta for eta in RATES])
    assert lines["c"].y == [1.0] * len(RATES)
    assert lines["a"].n == [100] * len(RATES)


def test_a_group_that_needs_an_input_is_found() -> None:
    _, by = concluded(model(lambda left, right: left + right + 1e-3 * torch.eye(4)[0]), data(mute=200))
    assert value(by, "worst_group_accuracy") == 0.25
    assert "'side: in'" in by["worst_group_accuracy"].title


def test_a_calibrated_model_does_not_tilt() -> None:
    """Whatever is missing: in the clinic the model is Bayes' rule, and inputs are worth different amounts."""
    for seed in range(3):
        found = {f.metric: f for f in findings(PROBE, *CLINIC.world(seed)) if f.judged and not f.condition}
        assert found["missing_tilt"].verdict is Verdict.PASS


def test_with_one_class_or_very_many_or_labels_alone_it_is_not_asked() -> None:
    one = TorchModel(
        encoders={m: (lambda x: x) for m in ("left", "right")},
        fusion=lambda c: c["left"],
        head=lambda z: z,
        classes=CLASSES,
    )
    _, by = concluded(one, data(one=True))
    assert "missing_tilt" not in by
    assert "worst_class_accuracy" not in by
    assert by["below_guessing"].verdict is Verdict.NOT_APPLICABLE
    assert "same right answer" in by["below_guessing"].reason
    many = tuple(f"class {k}" for k in range(MOST_CLASSES + 1))
    found, by = concluded(model(lambda left, right: left + right, many), data(510, many))
    assert "missing_tilt" not in by
    assert "worst_class_accuracy" not in by
    assert any("more than" in note for note in found.notes)
    labels = BlackBox(
        lambda inputs: inputs["left"].argmax(dim=1),
        modalities=("left", "right"),
        classes=CLASSES,
        output="labels",
    )
    _, by = concluded(labels, data())
    assert "missing_tilt" not in by
    assert "worst_class_accuracy" in by


def test_the_planted_fault_is_found_and_its_twin_is_quiet() -> None:
    fault = organism("robustness.missing-tells-digits")
    assert power(PROBE, fault, range(4), doses=(fault.matters,))[fault.matters].value == 1.0
    assert false_alarms(PROBE, DIGITS.world, range(4)).value == 0.0
