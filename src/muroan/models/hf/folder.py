"""What a name of transformers' stands for: a hub's repository or a local folder, and what can safely be read of it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from muroan.errors import AskedWrongly, shown

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def library(module: str = "transformers") -> Any:
    """A module of transformers, which is an extra and slow to import."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise AskedWrongly(
            f"models of transformers need an extra, of which {error.name or 'a part'} is missing: "
            "pip install 'muroan[hf]'"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without bars and advice on standard error, which is not the place of what a model is audited for."""
    logging = library("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@dataclass(frozen=True)
class Folder:
    """A repository or folder with a config. local: nothing is asked of a network."""

    name: str
    where: str
    local: bool
    config: Any

    @staticmethod
    def of(name: str) -> Folder:
        """`AskedWrongly` if there is no such folder or repository, or it has no config that transformers knows."""
        path = Path(name).expanduser()
        if path.is_dir():
            where, local = str(path), True
        elif path.exists():
            raise AskedWrongly(f"hf:{name} is a file; name the folder that holds config.json and the weights")
        elif name.startswith((".", "/", "~")) or name.count("/") != 1:
            raise AskedWrongly(
                f"hf:{name}: there is no such folder. Name a folder that save_pretrained wrote, or a repository as "
                "hf:owner/name"
            )
        else:
            where, local = name, False
        bare = Folder(name, where, local, None)
        return Folder(name, where, local, bare.read("AutoConfig"))

    def read(self, kind: str, **options: Any) -> Any:
        """What the class `kind` of transformers reads here: a config, a tokenizer, a processor, a network."""
        cls = getattr(library(), kind)
        try:
            with _quiet():
                return cls.from_pretrained(self.where, trust_remote_code=False, local_files_only=self.local, **options)
        except AskedWrongly:
            raise
        except Exception as error:  # whatever is wrong with a file or a connection, it is told with its cause
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise AskedWrongly(f"hf:{self.name}: {kind} could not be read: {shown(reason, 400)[1:-1]}") from error

    def network(self, kind: str) -> nn.Module:
        """The network with its weights, float32, in evaluation mode.

        Attention is "eager", which has derivatives of every order. Pickled weights are refused, since they run code
        when they are opened, and so are folders that lack weights of the class, which would be drawn at random.
        """
        self._refuse_pickles()
        made, info = self.read(
            kind,
            config=self.config,
            dtype=torch.float32,
            use_safetensors=True,
            attn_implementation="eager",
            output_loading_info=True,
        )
        missing = sorted(info["missing_keys"])
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise AskedWrongly(
                f"hf:{self.name} has no weights for {', '.join(missing[:3])}{more}, which {kind} needs; they would be "
                "random numbers. Is it the checkpoint that was trained for this task?"
            )
        network: nn.Module = made
        return network.eval()

    def _refuse_pickles(self) -> None:
        if not self.local or any(Path(self.where).glob("*.safetensors")):
            return
        pickles = sorted(p.name for pattern in PICKLES for p in Path(self.where).glob(pattern))
        if not pickles:
            raise AskedWrongly(f"hf:{self.name} holds no weights (model.safetensors)")
        raise AskedWrongly(
            f"hf:{self.name} holds its weights as a pickle only ({pickles[0]}), which runs code when it is opened, so "
            "it is not. If you trust it, load it yourself and write it anew: "
            "model.save_pretrained(folder), which writes model.safetensors"
        )


def known_as(text: str) -> torch.Tensor:
    """A text's digest as a buffer, so that a module's fingerprint and saved state know what it was set to."""
    import hashlib

    return torch.frombuffer(bytearray(hashlib.blake2b(text.encode(), digest_size=8).digest()), dtype=torch.uint8)


def settings_of(**settings: Any) -> torch.Tensor:
    """The digest of settings by name."""
    return known_as(json.dumps(settings, sort_keys=True, default=str))
