"""Models of transformers: a hub's name or a local folder becomes a `Model`, by what its config says it is.

    muroan audit hf:openai/clip-vit-base-patch32 pictures.csv
    muroan audit "hf:./my-clip?prompt=an X-ray of {}." scans.parquet

Two encoders (CLIP, SigLIP, CLAP) get their task from the data: pairs make it retrieval, other classes make it zero-shot
classification. Fusion models (ViLT) answer with their own classes, those that the data have. Preparation of pictures
and sounds is done in torch as the folder's own settings say, so that gradients reach what the user gave.

Weights are safetensors, in float32; no code from a hub is run. Needs the extra `hf`; it is imported when a model is
opened, not before.
"""

from muroan.models.hf.opening import from_reference, open, two_encoder

__all__ = ["from_reference", "open", "two_encoder"]
