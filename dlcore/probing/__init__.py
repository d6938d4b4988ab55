"""Protocols for linear probes: pure functions of data, settings and seeds, with certified heads in every cell."""

from dlcore.probing.bootstrap import bootstrap, paired_bootstrap
from dlcore.probing.control import Types, control_labels, control_task
from dlcore.probing.data.leakage import LeakageError
from dlcore.probing.data.rows import Rows
from dlcore.probing.data.splits import Split
from dlcore.probing.data.subsets import few_shot_rows, stratified_rows
from dlcore.probing.few_shot import few_shot, label_efficiency
from dlcore.probing.fits.scoring import METRICS
from dlcore.probing.fits.settings import ProbeSettings
from dlcore.probing.fits.subset_fits import UnconvergedError
from dlcore.probing.layers import probe_layers
from dlcore.probing.neighbors import Neighbors, knn, nearest_neighbors
from dlcore.probing.nested import nested_cross_validation
from dlcore.probing.selection import select_penalty
from dlcore.probing.table import ProbeTable
from dlcore.probing.temperature import temperature_scaling

__all__ = [
    "METRICS",
    "LeakageError",
    "Neighbors",
    "ProbeSettings",
    "ProbeTable",
    "Rows",
    "Split",
    "Types",
    "UnconvergedError",
    "bootstrap",
    "control_labels",
    "control_task",
    "few_shot",
    "few_shot_rows",
    "knn",
    "label_efficiency",
    "nearest_neighbors",
    "nested_cross_validation",
    "paired_bootstrap",
    "probe_layers",
    "select_penalty",
    "stratified_rows",
    "temperature_scaling",
]
