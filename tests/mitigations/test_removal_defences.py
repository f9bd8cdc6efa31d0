"""Salient points are the planted ones; training without them makes a telling tag tell less; votes outvote one part."""

import pytest
import torch

from muroan.batch import Batch
from muroan.budget import Budget
from muroan.clean import Clean
from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.hardened import Folder
from muroan.interventions.attacks.decoupling import Decoupling
from muroan.interventions.attacks.pgd import PGD
from muroan.interventions.attacks.removal import Removal
from muroan.interventions.attacks.salient import salient_points
from muroan.meter import Metered
from muroan.mitigations.consistency_vote import ConsistencyVote
from muroan.mitigations.removal_training import RegionWordDropout, SalientPointRemoval
from muroan.modality import Image, Text
from muroan.model import BlackBox, TorchModel
from muroan.organisms import telling_patch
from muroan.training import Trainer

KINDS = {"image": Image(size=(64, 64), channels=1, fill=(0.0,)), "text": Text()}


def planted():
    """Yes iff the 8×8 block at (16, 40) is bright and the word "cue" is there."""

    def block(x):
        return x[:, 0, 16:24, 40:48].mean(dim=(1, 2)) * 4

    def cue(texts):
        return torch.tensor([4.0 if "cue" in t.split() else 0.0 for t in texts])

    return TorchModel(
        encoders={"image": block, "text": cue},
        fusion=lambda c: (c["image"] * c["text"])[:, None],
        head=lambda f: torch.cat([torch.full_like(f, 4.0), f], dim=1),
        classes=("no", "yes"),
    )


def batch(n=3):
    texts = ["a cue here", "cue", "nothing but the cue in here"][:n]
    pictures = torch.ones(n, 1, 64, 64)
    return Batch(KINDS, {"image": pictures, "text": texts}, torch.ones(n, dtype=torch.long), [str(i) for i in range(n)])


def test_salient_points_are_the_planted_ones():
    found = salient_points(Removal(Clean.observe(Metered(planted(), KINDS), batch())))
    assert found["image"][:, 0].tolist() == [[16, 40, 8, 8]] * 3
    assert found["text"][:, 0].tolist() == [[1, 1], [0, 1], [3, 1]]


def test_salient_points_are_what_the_attack_removes():
    attacked = Decoupling(share=1.0).run(Metered(planted(), KINDS), batch(), {"image": Budget(share=1.0)})
    assert attacked.success.all()
    gone = (attacked.batch.inputs["image"] == 0)[:, 0]
    salient = torch.zeros_like(gone)
    salient[:, 16:24, 40:48] = True
    assert (gone & ~salient).sum() == 0


def test_dropout_removes_one_region_and_one_word_somewhere():
    torch.manual_seed(0)
    removal = Removal(Clean.observe(Metered(planted(), KINDS), batch()))
    drawn = [RegionWordDropout().parts(removal) for _ in range(50)]
    sides = torch.stack([d["image"][:, 0, 2:] for d in drawn])
    assert set(sides.unique().tolist()) == {8, 16, 32}
    ends = torch.stack([d["image"][:, 0, :2] + d["image"][:, 0, 2:] for d in drawn])
    assert int(ends.max()) <= 64
    words = torch.stack([d["text"][:, 0] for d in drawn])
    assert (words[..., 1] == 1).all()
    assert set(words[:, 2, 0].tolist()) == set(range(6))


def without_tag(model, data):
    b = data.load(range(300)).batch
    x = b.inputs["image"].clone()
    x[:, :, : telling_patch.EDGE, : telling_patch.EDGE] = torch.tensor(b.modalities["image"].fill)[:, None, None]
    right = Metered(model, b.modalities).of(b.with_inputs(image=x)).argmax(1) == b.targets
    return float(right.float().mean())


@pytest.mark.parametrize(
    ("method", "least"),
    [(SalientPointRemoval(), 0.05), (RegionWordDropout(epochs=2), -0.05)],
    ids=["salient", "random"],
)
def test_a_tag_that_tells_tells_less(method, least, tmp_path):
    """Without its salient part a picture has to be looked at; a random part seldom is the tag."""
    model, data = telling_patch.world(0, 0.5)
    base, _ = telling_patch.world(0, 0.5)
    before = without_tag(model, data.audited)
    done = method.apply(model, data, Trainer())
    assert without_tag(done.model, data.audited) > before + least
    folder = Folder(tmp_path, "base", base.fingerprint())
    folder.add(method, done)
    b = data.audited.load(range(20)).batch
    again = Folder.read(tmp_path).restore(base)
    assert torch.equal(again.predict(b.inputs), done.model.predict(b.inputs))


def trigger():
    """Yes iff any of four corner cells is bright; a voter lacks at most one of them."""

    def cells(x):
        return torch.stack([x[:, 0, :16, :16], x[:, 0, :16, 48:], x[:, 0, 48:, :16], x[:, 0, 48:, 48:]]).mean((2, 3)).T

    return TorchModel(
        encoders={"image": cells, "text": lambda texts: torch.zeros(len(texts), 1)},
        fusion=lambda c: c["image"] + 0 * c["text"],
        head=lambda f: torch.stack([torch.full((len(f),), 0.5), f.amax(dim=1)], dim=1) * 20,
        classes=("no", "yes"),
    )


def splits(b):
    from muroan.data.memory import InMemory

    data = InMemory(dict(b.inputs), targets=b.targets.numpy(), modalities=KINDS, classes=("no", "yes"))
    return Splits(data)


@pytest.mark.parametrize("apart", [True, False])
def test_votes_say_which_answers_hang_on_one_part(apart):
    model = trigger()
    if not apart:
        whole = model.predict
        model = BlackBox(whole, modalities=tuple(KINDS), classes=("no", "yes"), output="logits")
    b = batch(2)
    pictures = torch.zeros(2, 1, 64, 64)
    pictures[0, :, :16, :16] = 1  # one cell decides
    pictures[1] = 1  # four do
    b = b.with_inputs(image=pictures, text=["one two", "one"])
    done = ConsistencyVote(pieces=4).apply(model, splits(b), Trainer()).model
    said, real = done.votes(b.inputs)
    assert real.sum(dim=1).tolist() == [1 + 16 + 2, 1 + 16 + 1]
    assert torch.allclose(done.agreement(b.inputs), torch.tensor([18 / 19, 1.0], dtype=torch.double))
    mean = (said.exp() * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True)
    assert torch.allclose(done.predict(b.inputs).exp(), mean, atol=1e-6)


def test_votes_around_salient_points_lack_the_planted_patch():
    done = ConsistencyVote(points="salient").apply(planted(), splits(batch()), Trainer()).model
    said, _ = done.votes(batch().inputs)
    assert said.shape[1] == 3
    assert said.argmax(dim=2).tolist() == [[1, 0, 0]] * 3  # without the block, or the word, it is no
    assert done.predict(batch().inputs).argmax(dim=1).tolist() == [0, 0, 0]


def test_votes_can_be_attacked_through_and_restored():
    b = batch()
    mitigation = ConsistencyVote(pieces=2)
    done = mitigation.apply(planted(), splits(b), Trainer())
    attacked = PGD().run(Metered(done.model, KINDS), b, {"image": Budget(radius=0.9)})
    assert attacked.success.all()
    assert not attacked.trace["zero_gradient"].any()
    again = mitigation.restore(planted(), {}, done.facts)
    assert torch.equal(again.predict(b.inputs), done.model.predict(b.inputs))


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"pieces": 1}, {"points": "all"}):
        with pytest.raises(AskedWrongly):
            ConsistencyVote(**wrong)
    with pytest.raises(AskedWrongly):
        SalientPointRemoval(clean=1.0)
