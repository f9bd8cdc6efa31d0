"""Tiny models of transformers with random weights, saved as folders the way their owners save them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

WORDS = [
    "a",
    "photo",
    "of",
    "this",
    "is",
    "sound",
    "red",
    "green",
    "blue",
    "square",
    "disc",
    "what",
    "colour",
    ".",
    "?",
]
COLOURS = ("red", "green", "blue")


def tokenizer(folder: Path, *, bos: str, eos: str, pad: str, length: int) -> Any:
    """Words and punctuation, and single letters for what is not known, so that a word can be several tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = [f"{mark}{c}" for c in "abcdefghijklmnopqrstuvwxyz" for mark in ("", "##")]
    special = list(dict.fromkeys([pad, bos, "[UNK]", eos]))
    vocabulary = {t: i for i, t in enumerate(dict.fromkeys([*special, *WORDS, *letters]))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(bos, vocabulary[bos]), (eos, vocabulary[eos])]
    made.post_processor = processors.TemplateProcessing(single=f"{bos} $A {eos}", special_tokens=ends)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=pad, bos_token=bos, eos_token=eos, unk_token="[UNK]", model_max_length=length
    )
    fast.save_pretrained(folder)
    return fast


def _saved(network: Any, folder: Path) -> Path:
    # Random weights of the usual size give codes that are all alike; a wider draw tells inputs apart.
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1 and "scale" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    network.save_pretrained(folder)
    return folder


def clip(folder: Path, *, legacy: bool = False) -> Path:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    text = tokenizer(folder, bos="<s>", eos="</s>", pad="<pad>", length=16)
    vocabulary = len(text)
    if legacy:  # as openai's checkpoints: the text's end is the largest id, and the config says 2
        text.add_special_tokens({"eos_token": "<|end|>"})
        from tokenizers import processors

        ends = [("<s>", text.bos_token_id), ("<|end|>", text.eos_token_id)]
        text.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A <|end|>", special_tokens=ends
        )
        text.pad_token = "<|end|>"
        text.save_pretrained(folder)
        vocabulary = len(text)
    shared = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": text.bos_token_id, "pad_token_id": text.pad_token_id}
    ids["eos_token_id"] = 2 if legacy else text.eos_token_id
    config = CLIPConfig(
        text_config={**shared, **ids, "vocab_size": vocabulary, "max_position_embeddings": 16},
        vision_config={**shared, "image_size": 24, "patch_size": 8},
        projection_dim=16,
    )
    CLIPImageProcessor(size={"shortest_edge": 24}, crop_size=24).save_pretrained(folder)
    return _saved(CLIPModel(config), folder)


def siglip(folder: Path) -> Path:
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    text = tokenizer(folder, bos="<s>", eos="</s>", pad="</s>", length=12)
    shared = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": text.bos_token_id, "pad_token_id": text.pad_token_id, "eos_token_id": text.eos_token_id}
    config = SiglipConfig(
        text_config={**shared, **ids, "vocab_size": len(text), "max_position_embeddings": 12, "projection_size": 32},
        vision_config={**shared, "image_size": 24, "patch_size": 8},
    )
    SiglipImageProcessor(size={"height": 24, "width": 24}, resample=2).save_pretrained(folder)
    return _saved(SiglipModel(config), folder)


def clap(folder: Path, *, fusion: bool) -> Path:
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    text = tokenizer(folder, bos="<s>", eos="</s>", pad="<pad>", length=16)
    shared = {"num_hidden_layers": 2, "projection_dim": 16, "projection_hidden_size": 32}
    config = ClapConfig(
        text_config={
            **shared,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_attention_heads": 2,
            "vocab_size": len(text),
            "max_position_embeddings": 18,
            "pad_token_id": text.pad_token_id,
            "bos_token_id": text.bos_token_id,
            "eos_token_id": text.eos_token_id,
        },
        audio_config={
            **shared,
            "hidden_size": 32,
            "spec_size": 64,
            "num_mel_bins": 16,
            "window_size": 4,
            "patch_size": 4,
            "patch_stride": [4, 4],
            "patch_embeds_hidden_size": 16,
            "depths": [1, 1],
            "num_attention_heads": [2, 2],
            "enable_fusion": fusion,
        },
        projection_dim=16,
    )
    ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=4000,
        hop_length=40,
        max_length_s=1,
        fft_window_size=256,
        frequency_min=50,
        frequency_max=2000,
        truncation="fusion" if fusion else "rand_trunc",
    ).save_pretrained(folder)
    return _saved(ClapModel(config), folder)


def vilt(folder: Path, *, images: int = 1) -> Path:
    from transformers import (
        ViltConfig,
        ViltForImagesAndTextClassification,
        ViltForQuestionAnswering,
        ViltImageProcessor,
    )

    text = tokenizer(folder, bos="[CLS]", eos="[SEP]", pad="[PAD]", length=512)
    answers = ("yes", *COLOURS, "no") if images == 1 else ("False", "True")
    config = ViltConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=len(text),
        pad_token_id=text.pad_token_id,
        image_size=32,
        patch_size=8,
        max_position_embeddings=12,
        num_images=images if images > 1 else -1,
        modality_type_vocab_size=3 if images > 1 else 2,
        id2label=dict(enumerate(answers)),
        label2id={a: i for i, a in enumerate(answers)},
    )
    ViltImageProcessor(size={"shortest_edge": 32}, size_divisor=8).save_pretrained(folder)
    kind = ViltForQuestionAnswering if images == 1 else ViltForImagesAndTextClassification
    return _saved(kind(config), folder)


def pictures(n: int, height: int = 20, width: int = 26) -> np.ndarray:
    """Coloured noise with edges, bytes [N, H, W, 3]."""
    rng = np.random.default_rng(0)
    out = rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    out[:, :, : width // 3] = rng.integers(0, 256, (n, 1, 1, 3), dtype=np.uint8)
    out[:, : height // 4] = 255
    return out


def tensor_of(some: np.ndarray) -> torch.Tensor:
    """Bytes [N, H, W, 3] as pictures [N, 3, H, W] in [0, 1]."""
    return torch.from_numpy(some).permute(0, 3, 1, 2).float() / 255
