"""What all tests share: one thread a process (two workers with two threads each on two cores run ten times slower)."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hypothesis import settings

torch.set_num_threads(1)

# No deadline: two workers share two cores with whatever else runs there, and no test asserts a time.
settings.register_profile("muroan", deadline=None)
settings.load_profile("muroan")
