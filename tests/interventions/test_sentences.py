"""Rewrites of whole texts: what a named function or sequence-to-sequence model says, and nothing where it is silent."""

from typing import Any

import pytest
import torch

from muroan.errors import AskedWrongly, NotApplicable
from muroan.interventions.language_models import rewriter
from muroan.interventions.perturbations import Draws, of_kind, tools
from muroan.interventions.perturbations.sentences import BACK_TRANSLATION, SENTENCE, STYLES
from muroan.modality import Text
from muroan.randomness import sample_keys

ROWS = {p.name: p for p in of_kind("text") if p.family == SENTENCE}
TEXTS = ["a red ball", "", "the ball is blue", "a red ball", "   "]
WORDS = ["a", "red", "ball", "the", "is", "blue", "green", "small", "large", "box", "and", "what", "color", "shape"]


def draws(texts: list[str]) -> Draws:
    return Draws(sample_keys(texts, 0))


def passive(texts: list[str]) -> list[str | None]:
    """Puts a text into another order, and has nothing to say to one that is blue."""
    return [None if "blue" in t else " ".join(reversed(t.split())) for t in texts]


def there_and_back(texts: list[str]) -> list[str]:
    return ["" if "blue" in t else t.upper() for t in texts]


def test_the_five_of_the_source_have_one_severity_and_want_what_the_user_names() -> None:
    assert list(ROWS) == [*STYLES, BACK_TRANSLATION]
    assert len(of_kind("text")) == 16
    for name, p in ROWS.items():
        assert p.severities == (1,)
        assert p.gated == (name != BACK_TRANSLATION)
        with pytest.raises(NotApplicable, match=f"{name} is not given"):
            p(TEXTS, 1, draws(TEXTS), Text())


def test_a_function_is_asked_once_a_text_and_silence_keeps_the_text() -> None:
    asked: list[list[str]] = []

    def tool(texts: list[str]) -> list[str | None]:
        asked.append(texts)
        return passive(texts)

    found = ROWS["passive"].having(tool)(TEXTS, 1, draws(TEXTS), Text())
    assert found == ["ball red a", "", "the ball is blue", "ball red a", "   "]
    assert asked == [["a red ball", "the ball is blue"]]
    with pytest.raises(ValueError, match="severity is 2"):
        ROWS["passive"].having(tool)(TEXTS, 2, draws(TEXTS), Text())


def test_a_function_is_named_by_reference() -> None:
    tool = tools.opened(BACK_TRANSLATION, f"python:{__name__}:there_and_back")
    found = ROWS[BACK_TRANSLATION].having(tool)(TEXTS, 1, draws(TEXTS), Text())
    assert found == ["A RED BALL", "", "the ball is blue", "A RED BALL", "   "]


@pytest.mark.parametrize("answer", ["one string", ["too few"], [1, 2], [["a"], ["b"]]])
def test_an_answer_that_is_no_list_of_texts_is_the_users_mistake(answer: Any) -> None:
    with pytest.raises(AskedWrongly, match="rewriter"):
        ROWS["formal"].having(lambda texts: answer)(TEXTS, 1, draws(TEXTS), Text())


def test_references_are_checked_when_they_are_opened(tmp_path: Any) -> None:
    for name, ref in (
        ("formal", "hf:nowhere"),
        ("formal", "nowhere"),
        ("formal", f"python:{__name__}:WORDS"),
        (BACK_TRANSLATION, "hf:one"),
        ("meaning", "hf:nowhere"),
    ):
        with pytest.raises(AskedWrongly):
            tools.opened(name, ref)


# A model of transformers. Its words are random; which ones they are is checked against its own forward passes.


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    out = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp(f"t5-{seed}")
        vocab = {w: i for i, w in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
        tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
        fast = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = transformers.T5ForConditionalGeneration(
                transformers.T5Config(
                    vocab_size=len(vocab),
                    d_model=16,
                    d_kv=8,
                    d_ff=32,
                    num_layers=1,
                    num_heads=2,
                    decoder_start_token_id=0,
                    pad_token_id=0,
                    eos_token_id=1,
                    initializer_factor=8.0,  # far from indifferent, so that the likeliest word is clear
                )
            )
        model.save_pretrained(folder)
        fast.save_pretrained(folder)
        out.append(f"hf:{folder}")
    return out


def greedy(ref: str, text: str) -> str:
    """The likeliest token after the other, by forward passes alone; as many as the text has room for."""
    import transformers

    folder = ref.removeprefix("hf:")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
    given = tokenizer([text], return_tensors="pt")["input_ids"]
    said = torch.tensor([[0]])
    with torch.no_grad():
        while said[0, -1] != 1 and said.shape[1] <= 2 * given.shape[1] + 16:
            logits = model(input_ids=given, decoder_input_ids=said).logits[:, -1]
            said = torch.cat([said, logits.argmax(dim=1)[None]], dim=1)
    return str(tokenizer.decode(said[0], skip_special_tokens=True)).strip()


def test_a_model_says_its_likeliest_words_alone_and_in_any_batch(folders: list[str]) -> None:
    rewrite = rewriter(folders[0])
    texts = ["a red ball", "what color is the large box and the small box", "blue"]
    together = rewrite(texts)
    assert together == [greedy(folders[0], t) for t in texts]
    assert [rewrite([t])[0] for t in texts] == together
    assert rewrite([]) == []
    assert set(" ".join(together).split()) <= set(WORDS)
    assert len(set(together)) > 1


def test_there_and_back_is_one_model_after_the_other(folders: list[str]) -> None:
    there, back = folders
    both = tools.opened(BACK_TRANSLATION, f"{there}+{back}")
    texts = ["a red ball", "the ball is blue"]
    assert both(texts) == rewriter(back)(rewriter(there)(texts))
    with pytest.raises(AskedWrongly, match="THERE"):
        tools.opened(BACK_TRANSLATION, there)


def test_a_prompt_stands_around_the_text(folders: list[str]) -> None:
    asked = rewriter(f"{folders[0]}?prompt=what color is {{}}")
    assert asked(["the box"]) == rewriter(folders[0])(["what color is the box"])
    assert rewriter(folders[0])(["{}"]) == rewriter(f"{folders[0]}?prompt={{}}")(["{}"])
    for wrong in ("?prompt=no place", "?ask={}"):
        with pytest.raises(AskedWrongly, match="prompt="):
            rewriter(folders[0] + wrong)


def test_weights_that_are_no_safetensors_are_refused(folders: list[str], tmp_path: Any) -> None:
    import shutil
    from pathlib import Path

    copy = tmp_path / "pickled"
    shutil.copytree(Path(folders[0].removeprefix("hf:")), copy)
    weights = copy / "model.safetensors"
    torch.save({}, copy / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(AskedWrongly, match="cannot be opened"):
        rewriter(f"hf:{copy}")(["a red ball"])
