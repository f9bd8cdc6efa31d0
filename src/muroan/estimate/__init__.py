"""From per-sample outcomes to figures with intervals: every number that Muroan reports is made here.

Inputs are lists, arrays or tensors, one value per sample; `clusters` names the cluster of each sample (None:
all independent). No samples, or NaN among them, is a ValueError, never a figure.
"""

from muroan.estimate.clusters import sum_by_cluster
from muroan.estimate.gap import Gap, max_gap
from muroan.estimate.interval import Estimate, adjust, more_samples, p_value
from muroan.estimate.ranks import auc, auc_difference, quantile
from muroan.estimate.rates import by_group, difference, mean, paired_difference, proportion
from muroan.estimate.resampling import bootstrap, bootstrap_draws

__all__ = [
    "Estimate",
    "Gap",
    "adjust",
    "auc",
    "auc_difference",
    "bootstrap",
    "bootstrap_draws",
    "by_group",
    "difference",
    "max_gap",
    "mean",
    "more_samples",
    "p_value",
    "paired_difference",
    "proportion",
    "quantile",
    "sum_by_cluster",
]
