"""Attacks on words: planted solutions that must be found, sources of replacements, gates, and what is counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from muroan import Budget, Text
from muroan.checks import PlantedModel, planted
from muroan.checks.bed import MODALITIES, VOCABULARY
from muroan.errors import AskedWrongly, NotApplicable
from muroan.interventions.attacks.candidates import Lexicon, Slip, Vocabulary, in_place_of
from muroan.interventions.attacks.character_edits import EDITS, CharacterEdits, Characters
from muroan.interventions.attacks.hotflip import HotFlip
from muroan.interventions.attacks.masked_words import MaskedWords, bert_attack
from muroan.interventions.attacks.slopes import slopes_of
from muroan.interventions.attacks.word_removal import WordRemoval
from muroan.interventions.attacks.word_substitution import WordSubstitution
from muroan.interventions.meaning import OwnCodes, SentenceEncoder
from muroan.meter import Metered
from muroan.modality import Image
from muroan.models.two_encoder import TwoEncoder
from muroan.organisms.brittle import HANDOVER
from muroan.organisms.clinic import CLINIC, CUES, DISEASES, SYNONYMS
from muroan.registry import organism

WORDS = {"text": Budget(words=1)}


def metered(model=None):
    return Metered(model or PlantedModel(), MODALITIES)


@pytest.fixture
def batch():
    return planted().audited.load(range(60)).batch


def changes(old, new):
    """(word, what it became) of texts of equal length."""
    return [(a, b) for a, b in zip(old.split(), new.split(), strict=True) if a != b]


# Sources


def test_a_word_is_never_its_own_replacement():
    assert in_place_of("Red?", ["red", "RED", "blue", "two words", ""]) == ["blue?"]
    assert Lexicon().instead("shape", Text(lexicon=(("shape", ("shape", "figure")),))) == ["figure"]


def test_each_edit_is_what_it_says():
    assert {name: edit("word")[0] for name, edit in EDITS.items()} == {
        "swap": "wrod",
        "drop": "wrd",
        "double": "woord",
        "key": "wird",
        "look": "wоrd",
    }
    text = Text()
    found = Characters().instead("(blue)?", text)
    assert all(f.startswith("(b") or f[1] not in "b" for f in found)
    assert all(f.startswith("(") and f.endswith(")?") for f in found)
    assert "(blue)?" not in found
    assert len(found) == len(set(found))
    assert Characters().instead("red", text) == []
    assert {f[:-1] for f in Characters(edits=("look",)).instead("peat?", text)} == {"рeat", "pеat", "peаt"}
    with pytest.raises(AskedWrongly, match="swap"):
        Characters(edits=("swp",))


def test_a_lexicon_and_a_vocabulary_can_come_from_a_file(tmp_path, batch):
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("Warm: cold, mild\n\ncold: warm\n")
    assert Lexicon(file=str(lexicon)).instead("warm,", Text()) == ["cold,", "mild,"]
    done = WordSubstitution(sources=(Lexicon(file=str(lexicon)),)).run(metered(), batch, WORDS)
    assert float(done.success.float().mean()) > 0.9, "warm for cold turns every answer of the planted model"
    bad = tmp_path / "bad.txt"
    bad.write_text("no colon")
    with pytest.raises(AskedWrongly, match="line 1"):
        Lexicon(file=str(bad)).instead("a", Text())
    with pytest.raises(AskedWrongly, match="cannot be read"):
        Vocabulary(file=str(tmp_path / "none")).listed(scene(metered(), batch))
    with pytest.raises(NotApplicable, match="name words or file"):
        Vocabulary().listed(scene(Metered(CLINIC.world(0)[0], CLINIC.world(0)[1].audited.schema.modalities), batch))


def scene(model, batch):
    from muroan.interventions.attacks.candidates import Scene

    return Scene(model, "text", MODALITIES["text"], list(batch.inputs["text"]), [{0}] * len(batch), lambda: None, 4)


# Searches


def test_hotflip_finds_the_planted_pair_of_words(batch):
    """The two words that the planted model reads are each other's worst replacement, and there are no others."""
    done = HotFlip(tries=1).run(metered(PlantedModel(noise=0.0)), batch, WORDS)
    assert float(done.success.float().mean()) > 0.9
    for old, new, success in zip(batch.inputs["text"], done.batch.inputs["text"], done.success.tolist(), strict=True):
        if success:
            assert changes(old, new) in ([("warm", "cold")], [("cold", "warm")])


def test_slopes_of_a_batch_are_those_of_each_text_and_add_up(batch):
    model = metered()
    codes, index = model.codes(batch)
    own = {m: c.take(index[m]) for m, c in codes.items() if m != "text"}
    labels = model.of(batch).argmax(dim=1)
    texts = list(batch.inputs["text"])
    model.meter.counts.clear()
    together = slopes_of(model, "text", texts, own, labels)
    assert model.meter.counts["backward"] == len(batch)
    for i in (0, 7, 21):
        alone = slopes_of(
            model, "text", [texts[i]], {m: c.take(torch.tensor([i])) for m, c in own.items()}, labels[[i]]
        )
        n = len(texts[i].split())
        assert torch.allclose(together.gradient[i, :n], alone.gradient[0], atol=1e-6)
        assert torch.allclose(together.own[i, :n], alone.own[0], atol=1e-6)
        assert not together.gradient[i, n:].any()
    vectors = model.model.embed("text", texts).vectors
    assert torch.allclose((together.gradient * vectors).sum(dim=-1), together.own, atol=1e-5)


def test_the_word_that_a_decision_hangs_on_is_left_out():
    model, splits = organism("robustness.decisive-word").world(8.0, 0)
    some = splits.audited.load(range(80)).batch
    metered_ = Metered(model, some.modalities)
    done = WordRemoval().run(metered_, some, {"note": Budget(words=1)})
    lost = [
        set(old.split()) - set(new.split())
        for old, new, hit in zip(some.inputs["note"], done.batch.inputs["note"], done.success.tolist(), strict=True)
        if hit
    ]
    assert len(lost) > 20
    assert sum(words == {HANDOVER} for words in lost) > 0.9 * len(lost)


def test_removal_keeps_a_word_and_its_share(batch):
    done = WordRemoval().run(metered(), batch, {"text": Budget(share=1.0)})
    assert all(t.split() for t in done.batch.inputs["text"])
    half = WordRemoval().run(metered(), batch, {"text": Budget(share=0.5)})
    for old, new, words in zip(
        batch.inputs["text"], half.batch.inputs["text"], half.trace["words"].tolist(), strict=True
    ):
        assert len(old.split()) - len(new.split()) == words <= len(old.split()) // 2


def test_misspelling_stays_a_letter_a_word(batch):
    done = CharacterEdits().run(metered(), batch, {"text": Budget(words=2)})
    assert bool(done.success.any())
    for old, new, words in zip(batch.inputs["text"], done.batch.inputs["text"], done.trace["words"], strict=True):
        changed = changes(old, new)
        assert len(changed) == int(words) <= 2
        assert all(abs(len(a) - len(b)) <= 1 for a, b in changed)


def test_importance_goes_through_the_words_by_what_they_carry(batch):
    both = [WordSubstitution(order=order).run(metered(), batch, WORDS).success for order in ("best", "importance")]
    assert bool((both[1] <= both[0]).all()), "with one word the best of all words cannot be beaten"
    assert int(both[1].sum()) >= 0.9 * int(both[0].sum())
    with pytest.raises(AskedWrongly, match="importance"):
        WordSubstitution(order="worst")


def test_stop_words_and_lengths_are_kept(batch):
    kept = WordSubstitution(stop=("warm", "COLD")).run(metered(), batch, {"text": Budget(words=3)})
    for old, new in zip(batch.inputs["text"], kept.batch.inputs["text"], strict=True):
        assert not {a for a, _ in changes(old, new)} & {"warm", "cold"}
    short = WordSubstitution(length=0.0).run(metered(), batch, WORDS)
    assert all(len(a) == len(b) for a, b in zip(batch.inputs["text"], short.batch.inputs["text"], strict=True))
    assert int(short.trace["too_long"].sum()) > 0


def test_calls_of_a_word_attack(batch):
    """Each distinct text is encoded once: so many encodings as texts tried, and no more."""
    model = metered()
    alone = WordSubstitution(sources=(Lexicon(),)).run(model, batch, WORDS)
    texts = {t for text in batch.inputs["text"] for t in _lexicon_changes(text)}
    assert model.meter.counts["encode text"] == len(batch) + len(texts)
    assert model.meter.counts["encode table"] == len(batch)
    assert bool(alone.success.any())


def _lexicon_changes(text):
    words = text.split()
    for k, word in enumerate(words):
        for by in Lexicon().instead(word, MODALITIES["text"]):
            yield " ".join([*words[:k], by, *words[k + 1 :]])


# The gate


def aligned():
    """Towers whose text code is which words there are, so that one word of n leaves a cosine of 1 − 1/n."""
    known = [*VOCABULARY[1:], "hot", "chilly", "night"]

    def texts(values):
        return torch.tensor([[float(t.split().count(w)) for w in known] for t in values])

    gaze = torch.randn(3 * 16 * 16, len(known), generator=torch.Generator().manual_seed(0))
    towers = TwoEncoder(
        encoders={"image": lambda x: x.flatten(1) @ gaze, "text": texts}, text="text", name="aligned", scale=1.0
    )
    return towers.retrieval({"image": torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(1))}, "second")


def test_a_gate_by_aligned_codes_drops_and_counts():
    data = planted().audited.load(range(40)).batch
    batch = replace(data, modalities={"image": Image(size=(16, 16)), "text": MODALITIES["text"]})
    model = Metered(aligned(), batch.modalities)
    attack = WordSubstitution(sources=(Lexicon(),), meaning=OwnCodes())
    free = replace(attack, alike=-1.0).run(model, batch, WORDS)
    shut = replace(attack, alike=0.999).run(model, batch, WORDS)
    half = replace(attack, alike=0.8).run(model, batch, WORDS)
    assert not free.trace["not_alike"].any()
    assert not shut.success.any()
    assert int(shut.trace["not_alike"].sum()) > int(half.trace["not_alike"].sum()) > 0
    assert list(shut.batch.inputs["text"]) == list(batch.inputs["text"])
    with pytest.raises(NotApplicable, match="aligned"):
        attack.run(metered(), data, WORDS)


# A masked language model


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    """A tiny BERT trained here on the clinic's notes: it learns which words go together."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    notes = CLINIC.world(0)[1].audited.load(range(400)).batch.inputs["note"]
    words = sorted({w for n in notes for w in n.split()} | set(SYNONYMS.values()))
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*specials, *words]))
    tokenizer = transformers.BertTokenizerFast(vocab={w: i for i, w in enumerate([*specials, *words])})
    config = transformers.BertConfig(
        vocab_size=len(specials) + len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=20,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.BertForMaskedLM(config)
        ids = tokenizer(list(notes), return_tensors="pt", padding=True)["input_ids"]
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(60):
            some = ids[torch.randint(len(ids), (64,))]
            hide = (torch.rand(some.shape) < 0.3) & (some >= len(specials))
            loss = model(
                input_ids=some.masked_fill(hide, tokenizer.mask_token_id), labels=some.masked_fill(~hide, -100)
            ).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"hf:{folder}"


def test_a_masked_language_model_proposes_likely_words(language_model):
    model, splits = CLINIC.world(1)
    batch = splits.audited.load(range(40)).batch
    attack = bert_attack(language_model, top=10)
    assert attack.order == "importance"
    (source,) = attack.sources
    model = Metered(model, batch.modalities)
    notes = list(batch.inputs["note"])
    from muroan.interventions.attacks.candidates import Scene

    every = [set(range(len(t.split()))) for t in notes]
    proposed = source.propose(Scene(model, "note", batch.modalities["note"], notes, every, lambda: None, 10))
    same = told = 0
    disease = {w: d for d in DISEASES for w in CUES[d].split()}
    for note, found in zip(notes, proposed, strict=True):
        words = note.split()
        per_word = {k: [c.by for c in found if c.word == k] for k in range(len(words))}
        assert all(0 < len(v) <= 10 for v in per_word.values())
        assert all(c.by.casefold() != words[c.word].casefold() for c in found)
        for k, by in per_word.items():
            if words[k] in disease and by[0] in disease:
                told += 1
                same += disease[by[0]] == disease[words[k]]
    assert same > 0.6 * told > 0, "the likeliest word speaks for the same disease more often than by chance, 1/3"
    done = attack.run(model, batch, {"note": Budget(words=2)})
    assert all(len(changes(a, b)) <= 2 for a, b in zip(notes, done.batch.inputs["note"], strict=True))
    assert int(done.trace["words"].sum()) > 0
    gated = replace(attack, meaning=SentenceEncoder(model=language_model), alike=0.9999).run(
        model, batch, {"note": Budget(words=2)}
    )
    assert int(gated.trace["not_alike"].sum()) > 0


def test_a_word_of_several_pieces_is_masked_as_one(language_model):
    from muroan.interventions.language_models import fillers

    (found,) = fillers(language_model, ["cough unheardof sputum"], [{0, 1, 2}], 5)
    assert [len(f) for f in found] == [5, 5, 5]


def test_a_folder_that_is_none_is_refused():
    with pytest.raises(AskedWrongly, match="hf:folder"):
        MaskedWords(model="bert-base").propose(scene(metered(), planted().audited.load(range(2)).batch))


def test_slips_alone_are_an_attack(batch):
    assert bool(WordSubstitution(sources=(Slip(),)).run(metered(), batch, WORDS).success.any())
