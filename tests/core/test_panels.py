"""What an exhibit says of inputs that are numbers."""

import torch

from muroan.checks import PlantedModel, planted
from muroan.clean import Clean
from muroan.meter import Metered
from muroan.panels import panel, turned


def test_a_row_shows_its_first_numbers_so_that_a_change_can_be_seen() -> None:
    before, _ = panel("table", "tabular", torch.arange(10.0))
    after, _ = panel("table", "tabular", torch.arange(10.0) + 0.5, "dropout 1")
    assert before.text == "10 columns: 0, 1, 2, 3, 4, 5, 6, 7, …"
    assert after.label == "table, dropout 1"
    assert after.text != before.text


def test_a_series_shows_its_first_channels_over_its_whole_length() -> None:
    found, _ = panel("watch", "series", torch.arange(160.0).repeat_interleave(5).reshape(160, 5))
    lines = (found.text or "").split("\n")
    assert lines[0] == "160 steps, every 20th:"
    assert lines[1] == "channel 1: 0, 20, 40, 60, 80, 100, 120, 140"
    assert lines[-1] == "and 2 more channels"
    assert len(lines) == 5


def test_a_short_series_is_shown_whole_and_another_kind_by_name() -> None:
    found, _ = panel("watch", "series", torch.tensor([[1.0], [2.0]]))
    assert found.text == "2 steps, every one:\nchannel 1: 1, 2"
    found, _ = panel("sound", "audio", torch.zeros(2, 3))
    assert found.text == "audio, not drawn"


def test_the_first_by_name_that_is_wrong_now_is_shown() -> None:
    batch = planted(20).audited.load(range(20)).batch
    assert batch is not None
    clean = Clean.observe(Metered(PlantedModel(), batch.modalities), batch)
    assert turned(clean, clean.predicted) is None
    wrong = (clean.batch.targets + 1) % len(clean.model.classes)
    lost = turned(clean, wrong.numpy())
    assert lost is not None
    assert lost[0] == min(clean.correct.nonzero().flatten().tolist(), key=lambda i: batch.ids[i])
    assert repr(clean.model.classes[int(batch.targets[lost[0]])]) in lost[1]
