"""From per-sample outcomes to figures with intervals: every number that Muroan reports is made here.

Inputs are lists, arrays or tensors, one value per sample; `clusters` names the cluster of each sample (None: all
independent). No samples, or NaN among them, is a ValueError, never a figure.

| figure | interval | in clusters |
|---|---|---|
| `proportion` | Wilson | effective n by the design effect, Student's t |
| `mean` | Student's t; with `bounds` Wilson at the variance seen | sums by cluster |
| `paired_difference` | Tango's score (0/1), else paired t | as `proportion`, as `mean` |
| `difference` | Newcombe's hybrid (0/1), else Welch's t | clusters in both groups are seen |
| `auc`, `auc_difference` | score interval from DeLong's variance and the binormal's shape | Obuchowski |
| `quantile` | order statistics | Woodruff |
| `bootstrap` | bias-corrected percentiles, widened for few clusters | clusters are what is drawn |
| `max_gap` | simultaneous over all pairs of groups (max-t) | clusters in several groups are seen |

How far they can be trusted is measured: benchmarks/coverage.py draws 2,000 data sets in each of 298 settings
(rates up to 0.999, clusters of ten with correlations up to 0.5, few positives, equal groups, ...) and counts how
often 95 % intervals hold the truth. At 300 samples or more the least was 0.93, in clusters of very uneven size;
some are cautious (up to 1.0) where the data cannot tell how alike the samples of a cluster are.
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
