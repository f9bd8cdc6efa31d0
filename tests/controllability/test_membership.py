"""Membership inference: goldens, a memorising model that is found, an honest one that is not, sets that differ."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from muroan import Capability, Splits, Tabular, TorchModel, Verdict
from muroan.auditing.gate import Gate
from muroan.auditing.observe import observe_all
from muroan.controllability.privacy.membership.blind import blind_scores
from muroan.controllability.privacy.membership.likelihood_ratio import lira, logit_confidence
from muroan.controllability.privacy.membership.probe import Membership
from muroan.data.memory import InMemory
from muroan.estimate import auc
from muroan.evidence import About, Evidence
from muroan.finding import judge
from muroan.model import Shadow

D = 12


def test_logit_confidence_is_the_log_odds_of_the_true_class():
    logits = torch.tensor([[0.9, 0.1]]).log()
    assert logit_confidence(logits, torch.tensor([0])).item() == pytest.approx(2.1972246, abs=1e-6)
    assert logit_confidence(torch.tensor([[900.0, 0.0]]), torch.tensor([0])).item() == pytest.approx(900.0)


def test_likelihood_ratio_orders_members_that_a_global_threshold_cannot():
    """Easy samples have high φ in or out; only the comparison with shadows shows which ones were trained on."""
    rng = np.random.default_rng(0)
    n, shadows = 2000, 8
    easy = rng.normal(0, 5, n)
    inside = np.tile([True, False], (n, shadows // 2))
    shadow_phi = easy[:, None] + 2.0 * inside + rng.normal(0, 0.5, (n, shadows))
    member = rng.random(n) < 0.5
    phi = easy + 2.0 * member + rng.normal(0, 0.5, n)
    from sklearn.metrics import roc_auc_score

    assert roc_auc_score(member, phi) < 0.7
    found = lira(phi, shadow_phi, inside)
    assert found.two_sided.all()
    assert roc_auc_score(member, found.score) > 0.97


def test_a_sample_without_shadows_on_one_side_gets_the_offline_score():
    found = lira([3.0, 3.0], [[1.0, 1.2, 2.9], [1.0, 1.2, 0.8]], [[False, False, True], [False, False, False]])
    assert found.two_sided.tolist() == [True, False]
    assert np.isfinite(found.score).all()


class Net(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(D, 128), nn.ReLU(), nn.Linear(128, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def fitted(x: Tensor, y: Tensor, seed: int, steps: int) -> Net:
    net = Net(seed)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return net.eval()


def model_of(net: Net) -> TorchModel:
    return TorchModel(
        encoders={"table": lambda v: v}, fusion=lambda c: c["table"], head=net, classes=["no", "yes"], name="net"
    )


class WithShadows(TorchModel):
    def __init__(self, net: Net, shadows: list[Shadow]) -> None:
        super().__init__(
            encoders={"table": lambda v: v}, fusion=lambda c: c["table"], head=net, classes=["no", "yes"], name="net"
        )
        self.capabilities = self.capabilities | {Capability.SHADOWS}
        self._shadows = shadows

    def shadows(self) -> list[Shadow]:
        return self._shadows


def pool(seed: int, n: int = 600, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    """Records whose label is mostly noise: what can be learnt beyond chance must be memorised."""
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(0, 1, (n, D)), dtype=torch.float32)
    x[n // 2 :, 0] += shift
    y = torch.tensor((rng.random(n) < torch.sigmoid(x[:, 1]).numpy()).astype(int))
    return x, y


def data(x: Tensor, y: Tensor, index: np.ndarray, name: str) -> InMemory:
    modality = Tabular(columns=tuple(f"c{i}" for i in range(D)))
    ids = [f"r{i}" for i in index]
    return InMemory(
        {"table": x[index]}, targets=y[index], modalities={"table": modality}, classes=["no", "yes"], ids=ids, name=name
    )


def audit(seed: int, *, steps: int, shift: float = 0.0, shadows: int = 0):
    x, y = pool(seed, shift=shift)
    n = len(x)
    inside, outside = np.arange(n // 2), np.arange(n // 2, n)
    net = fitted(x[inside], y[inside], seed, steps)
    model = model_of(net)
    if shadows:
        rng = np.random.default_rng(seed + 1)
        made = []
        for k in range(shadows // 2):
            order = rng.permutation(n)
            for half in (order[: n // 2], order[n // 2 :]):
                names = {f"r{i}" for i in half}
                made.append(
                    Shadow(
                        model_of(fitted(x[half], y[half], 100 + k, steps)),
                        lambda ids, names=names: np.array([i in names for i in ids]),
                    )
                )
        model = WithShadows(net, made)
    splits = Splits(data(x, y, outside, "fresh"), members=data(x, y, inside, "members"))
    probe = Membership()
    evidence, quarantined = observe_all([probe], model, splits)
    assert not quarantined
    found = probe.conclude(evidence[probe.name]).findings
    return judge(Gate().apply(found, {f"{probe.name}/{m.name}": m for m in probe.metrics}))


def value(findings, metric: str) -> float:
    return next(f.estimate.value for f in findings if f.metric == metric and f.condition is None)


def test_a_model_that_memorised_its_records_is_found():
    findings = audit(0, steps=600)
    assert findings[0].metric == "gain_over_blind"
    assert findings[0].verdict is Verdict.FAIL
    assert value(findings, "auc") > 0.75


def test_a_model_that_learnt_nothing_raises_no_alarm():
    verdicts = [audit(seed, steps=0)[0].verdict for seed in range(12)]
    assert verdicts.count(Verdict.FAIL) == 0


def test_sets_that_differ_are_no_evidence_of_membership():
    """Members and others come from different places; the model learnt nothing, the blind baseline sees it all."""
    findings = audit(3, steps=0, shift=3.0)
    assert value(findings, "blind_auc") > 0.9
    assert findings[0].verdict is not Verdict.FAIL


def test_the_blind_baseline_sees_sets_of_another_spread():
    """No mean differs, and no single column says much."""
    rng = np.random.default_rng(0)
    seen, member = np.concatenate([rng.normal(0, 1, (300, 40)), rng.normal(0, 1.3, (300, 40))]), np.arange(600) < 300
    name, scores = blind_scores(seen, member, [f"{i}" for i in range(600)])
    assert name == "logistic regression with squares"
    assert auc(scores[member], scores[~member]).low > 0.85


def test_shadows_sharpen_the_attack():
    findings = audit(1, steps=60, shadows=8)
    areas = {f.title: f.estimate.value for f in findings if f.metric == "auc"}
    assert "likelihood-ratio" in findings[0].title
    assert areas["AUC of the likelihood-ratio attack"] > areas["AUC of the loss attack"] - 0.02
    assert areas["AUC of the likelihood-ratio attack"] > 0.6


def test_few_records_known_by_heart_are_found_though_the_average_hardly_shows_it():
    """One member in ten is given a confidence that nobody else has."""
    rng = np.random.default_rng(0)
    n, known = 1000, 100
    phi = {"members": rng.normal(0, 1, n) + np.where(np.arange(n) < known, 9.0, 0.0), "audited": rng.normal(0, 1, n)}
    frames = [
        pl.DataFrame({
            "sample": [f"{split}-{i:04}" for i in range(n)], "split": split, "condition": condition, "cluster": None,
            "phi": values if condition == "clean" else rng.normal(0, 1, n), "shadow_phi": [[]] * n,
            "shadow_in": [[]] * n, "blind": rng.normal(0, 1, (n, 4)).tolist(),
        }, schema_overrides={
            "cluster": pl.String, "shadow_phi": pl.List(pl.Float32), "shadow_in": pl.List(pl.Boolean),
        })
        for split, values in phi.items() for condition in ("clean", "without note")
    ]  # fmt: skip
    about = About(("no", "yes"), {"note": "text", "table": "table"}, {}, None)
    probe = Membership()
    found = probe.conclude(Evidence(pl.concat(frames), about)).findings
    judged = judge(Gate().apply(found, {f"{probe.name}/{m.name}": m for m in probe.metrics}))
    few = next(f for f in judged if f.metric == "given_away")
    assert judged[0].verdict is not Verdict.FAIL
    assert few.verdict is Verdict.FAIL
    assert few.estimate.value == pytest.approx(known / n, abs=0.03)
    without = next(f for f in found if f.metric == "tpr_at_low_fpr" and f.condition == "without note")
    assert without.estimate.value < 0.04
    assert f"{without.estimate.value:.1%} (without note)" in few.note


def test_threshold_is_fitted_on_other_samples_than_it_is_scored_on():
    findings = audit(2, steps=300)
    fpr = next(f for f in findings if f.metric == "fpr")
    assert 0 < fpr.estimate.n < 300
    assert fpr.estimate.low <= 0.01 <= fpr.estimate.high
