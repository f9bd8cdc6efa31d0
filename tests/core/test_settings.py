"""Settings that a user names: refused before anything runs, with what they have to be."""

import pytest

from muroan.errors import AskedWrongly
from muroan.hardening import choose
from muroan.registry import probe
from muroan.settings import settings


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("wise_ft:epochs=two", "epochs is a whole number"),
        ("wise_ft:epochs=1.5", "epochs is a whole number"),
        ("wise_ft:rate=fast", "rate is a number"),
        ("wise_ft:epochs=true", "epochs is a whole number"),
        ("wise_ft:epochs=0", "epochs, batch and patience are 1 or more"),
        ("corruption_training:corruptions=fog", "corruptions is a list"),
    ],
)
def test_what_cannot_be_is_refused_at_once(asked: str, said: str) -> None:
    with pytest.raises(AskedWrongly, match=said):
        choose([asked])


def test_what_can_be_is_taken() -> None:
    (chosen,) = choose(["wise_ft:epochs=2,rate=1"])
    assert settings(chosen)["epochs"] == 2
    assert settings(chosen)["rate"] == 1


def test_a_list_is_no_word() -> None:
    with pytest.raises(AskedWrongly, match="given is a list"):
        probe("robustness.corruptions").configured({"given": "frost"})
