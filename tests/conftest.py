"""One thread a process: two test workers with two threads each on two cores run ten times slower."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
