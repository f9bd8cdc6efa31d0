"""Static and adaptive accuracy of a defence: known cases in which the two differ, and by how much."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from muroan import Budget, Tabular, TorchModel
from muroan.batch import Batch
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.pgd import PGD
from muroan.model import Capability
from muroan.models.defended import Defended
from muroan.robustness.adversarial.adaptive import TOGETHER, Evaluated, defended, weakest

MODALITIES = {"a": Tabular(columns=("a",)), "b": Tabular(columns=("b",))}


def signs(weight_a: float = 1.0, weight_b: float = 1.0) -> TorchModel:
    """Decides by the sign of the weighted sum of a and b."""

    def head(z: Tensor) -> Tensor:
        score = z @ torch.tensor([weight_a, weight_b])
        return torch.stack([-score, score], dim=1)

    return TorchModel(
        encoders={"a": lambda x: x, "b": lambda x: x},
        fusion=lambda c: torch.cat([c["a"], c["b"]], dim=1),
        head=head,
        classes=("minus", "plus"),
    )


def data() -> Batch:
    """100 samples at ±1 in a, of them 50 with the same sign and size in b, 50 with b = 0; all targets by a's sign."""
    a = torch.where(torch.arange(100) % 2 == 0, 1.0, -1.0)[:, None]
    b = torch.where(torch.arange(100)[:, None] < 50, a, 0.0)
    ids = [f"s{i}" for i in range(100)]
    return Batch(modalities=MODALITIES, inputs={"a": a, "b": b}, targets=(a[:, 0] > 0).long(), ids=ids)


BUDGETS = {"a": Budget(radius=1.5), "b": Budget(radius=1.5)}


class Stepped(Defended):
    """Rounds its inputs: the same decisions here, and no gradient."""

    def predict(self, inputs, present=None):
        return self.ask({m: (v * 4).round() / 4 for m, v in inputs.items()})


def test_a_linear_model_gives_way_where_the_arithmetic_says():
    """Single radius 1.5: samples with a + b = 2 stay (2 − 1.5 > 0), those with 1 turn; together 3.0 turns all."""
    found = defended(signs(), signs(), data(), BUDGETS)
    for m in ("a", "b"):
        assert {w: found.accuracy(m, w).value for w in ("base", "static", "direct", "adaptive")} == dict.fromkeys(
            ("base", "static", "direct", "adaptive"), 0.5
        )
    assert found.accuracy(TOGETHER, "adaptive").value == 0
    assert found.weakest("adaptive").value == 0.5
    assert found.any_single("adaptive").value == 0.5
    assert found.clean_change.value == found.gain("a").value == found.weakest_gain.value == 0


def test_another_model_that_shares_no_weakness_looks_safe_on_old_examples_alone():
    """The base reads b alone and the hardened a alone: an attack on a makes no example that would hurt."""
    found = defended(signs(0.0, 1.0), signs(1.0, 0.0), data(), {"a": Budget(radius=1.5)})
    assert found.accuracy("a", "base").value == found.clean_base.value == 0.75  # where b is 0 it says "minus"
    assert found.accuracy("a", "direct").value == 0.0
    assert found.accuracy("a", "static").value == 1.0
    assert found.overstated("a").low > 0
    assert found.gain("a").high < 0


def test_a_defence_that_hides_its_gradients_is_found_out():
    found = defended(signs(), Stepped(signs(), "rounding"), data(), BUDGETS, PGD(restarts=1))
    assert found.accuracy("a", "direct").value == 1.0  # there is no slope to follow ...
    assert found.accuracy("a", "adaptive").value == 0.5  # ... but old examples break it,
    assert found.masked("a").low > 0.3  # which is told
    assert found.accuracy("a", "random").value < 1.0


def test_samples_that_are_wrong_do_not_count_as_robust():
    wrong = data()
    wrong = Batch(modalities=MODALITIES, inputs=wrong.inputs, targets=1 - wrong.targets, ids=wrong.ids)
    found = defended(signs(), signs(), wrong, BUDGETS)
    assert found.clean.value == 0
    assert all(found.accuracy(c, w).value == 0 for c in found.stays for w in ("base", "static", "adaptive", "random"))


def test_random_changes_do_no_more_than_the_attack():
    found = defended(signs(), signs(), data(), BUDGETS)
    for c in found.stays:
        assert bool((found.stays[c].direct <= found.stays[c].random).all())


def test_seeds_are_pooled_by_sample():
    one, batch = defended(signs(), signs(), data(), BUDGETS), data()
    both = Evaluated.pooled([one, one], [batch.ids, batch.ids])
    single, pooled = one.accuracy("a", "adaptive"), both.accuracy("a", "adaptive")
    assert pooled.n == 200
    assert pooled.clusters == 100
    assert pooled.value == single.value
    assert pooled.width == pytest.approx(single.width, rel=0.1)  # the same sample twice tells nothing new


def test_the_weakest_input_is_a_bootstrap_of_the_least():
    stays = {"a": torch.tensor([1, 1, 0, 1] * 50) > 0, "b": torch.tensor([1, 0, 0, 1] * 50) > 0}
    found = weakest(stays)
    assert found.value == 0.5
    assert 0.42 < found.low < 0.5 < found.high < 0.58


def test_nothing_to_attack_is_said():
    with pytest.raises(AskedWrongly, match="nothing to attack"):
        defended(signs(), signs(), data(), {"a": Budget()})


def test_a_defence_asked_as_a_whole_is_attacked_all_the_same():
    behind = Defended(signs(), "nothing")
    assert Capability.FUSE not in behind.capabilities
    found = defended(signs(), behind, data(), BUDGETS)
    assert found.accuracy("a", "direct").value == 0.5
