"""What attack probes share: right answers alone are attacked, and their rows stand among all others."""

import torch

from muroan import Budget
from muroan.attack import Attacked
from muroan.checks import PlantedModel, planted
from muroan.checks.bed import MODALITIES
from muroan.clean import Clean
from muroan.meter import Metered
from muroan.robustness.adversarial.attack_probe import RightAnswers, without_bound
from muroan.robustness.adversarial.gradient.probe import Gradient


def right(n: int = 60) -> RightAnswers:
    batch = planted().audited.load(range(n)).batch
    return RightAnswers.of(Clean.observe(Metered(PlantedModel(noise=4.0), MODALITIES), batch))


def test_only_right_answers_are_attacked_and_every_sample_has_a_row():
    answers = right()
    assert 0 < len(answers) < 60
    assert answers.clean.correct[answers.at].all()
    trace = {"loss": torch.arange(len(answers)), "unkept": torch.zeros(len(answers))}
    done = Attacked(answers.batch, torch.ones(len(answers), dtype=torch.bool), torch.zeros(len(answers), 2), trace)
    rows = answers.rows("all", done, ("loss", "unseen"), whose=answers.clean.predicted)
    assert rows["sample"].to_list() == answers.clean.batch.ids
    assert rows["attacked"].to_list() == rows["success"].to_list() == answers.clean.correct.tolist()
    assert rows.filter(~rows["attacked"])["loss"].unique().to_list() == [-1.0]
    assert rows.filter(rows["attacked"])["loss"].to_list() == list(range(len(answers)))
    assert set(rows.columns) == {"sample", "condition", "attacked", "success", "loss", "whose"}


def test_nothing_changes_untouched_and_nobody_is_an_empty_batch():
    answers = right()
    assert not answers.untouched().success.any()
    nobody = RightAnswers(answers.clean, torch.zeros(0, dtype=torch.long))
    assert len(nobody.untouched().success) == len(nobody.shown(nobody.untouched())) == 0
    assert not nobody.rows("null", nobody.untouched())["attacked"].any()


def test_a_part_is_nested_and_belongs_to_the_samples():
    answers = right()
    few, more = (set(answers.part(share, "health").batch.ids) for share in (0.2, 0.6))
    assert few < more < set(answers.batch.ids)
    half = RightAnswers.of(answers.clean.take(range(30)))
    assert set(half.part(0.6, "health").batch.ids) == more & set(half.batch.ids)


def test_without_bound_is_the_whole_range_of_what_has_ends():
    budgets = {"image": Budget(radius=0.1), "table": Budget(radius=0.1), "text": Budget(words=1)}
    assert without_bound(budgets, MODALITIES) == {"image": Budget(radius=1.0)}


def test_exhibits_show_what_changed():
    answers = right()
    clean = answers.clean
    shown = Gradient(radii=(("image", 0.1),)).observe(clean).shown
    kinds = [panel.kind for panel, _ in shown[0].panels]
    assert kinds.count("image") == 3
    assert kinds.count("text") == 1
