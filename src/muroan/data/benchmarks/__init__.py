"""Published benchmarks that are read from the user's own copy: `NAME:FOLDER` as a reference to data.

Adding one is a file with a `Benchmark` and a row here. Not read, and why: benchmarks whose score one label cannot give
(captions that a judge grades, several labels a sample), and IV-VQA and CV-VQA, whose pictures come as code that makes
them.
"""

from muroan.data.benchmarks.benchmark import Benchmark, Item, Items
from muroan.data.benchmarks.captions import COCO, FLICKR
from muroan.data.benchmarks.food101 import FOOD
from muroan.data.benchmarks.gqa_ood import GQA_OOD
from muroan.data.benchmarks.hateful_memes import MEMES
from muroan.data.benchmarks.mm_imdb import IMDB
from muroan.data.benchmarks.multitrust import OOD_TEXT
from muroan.data.benchmarks.nlvr2 import NLVR2
from muroan.data.benchmarks.snli_ve import SNLI_VE
from muroan.data.benchmarks.unicorn import OODCV, SKETCHY
from muroan.data.benchmarks.vqa_format import REPHRASINGS, VQA, VQA_CP

_KNOWN = (VQA, REPHRASINGS, VQA_CP, GQA_OOD, NLVR2, SNLI_VE, MEMES, FOOD, IMDB, FLICKR, COCO, OODCV, SKETCHY, OOD_TEXT)
BENCHMARKS: dict[str, Benchmark] = {b.name: b for b in _KNOWN}
"""Benchmarks by name."""

__all__ = ["BENCHMARKS", "Benchmark", "Item", "Items"]
