"""Steps on batches of rows: which batch comes when, and when the whole objective is looked at."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore._core import host_checks
from dlcore._core.types import Array
from dlcore.fitting.stopping import DIVERGENCE_INTERVAL
from dlcore.objective import Batch, BlockedData


class Batches(NamedTuple):
    """What of the batches is part of the program.

    Attributes:
      rows: of one batch on each device.
      per_epoch: how many there are.
    """

    rows: int
    per_epoch: int

    @property
    def interval(self) -> int:
        """Every how many steps J is compared with its start: whole epochs."""
        return self.per_epoch * -(-DIVERGENCE_INTERVAL // self.per_epoch)


def check_batches(batch_size: Any, key: Any, data: BlockedData) -> Batches | None:
    """The batches of `batch_size` rows, or what is wrong with them."""
    if batch_size is None:
        return None
    size, devices = host_checks.check_count("batch_size", batch_size), data.x.shape[0] // data.rows_each
    if size > data.x.shape[0]:
        raise ValueError(f"batch_size: expected at most the {data.x.shape[0]} rows of the data, got {size}")
    if size % devices:
        raise ValueError(f"batch_size: expected a multiple of the {devices} devices, got {size}")
    if key is None:
        raise ValueError("key: the order of the batches is random, expected a key such as jax.random.key(0)")
    rows = size // devices
    return Batches(rows, -(-data.rows_each // rows))


def shuffled(batches: Batches, key: Array, step: Array) -> Array:
    """The order of the batches in the epoch of `step`."""
    epoch = jax.random.fold_in(key, step // batches.per_epoch)
    return jax.random.permutation(epoch, jnp.arange(batches.per_epoch, dtype=jnp.int32))


def take_batch(data: BlockedData, batches: Batches, index: Array, weight_sum: Array) -> BlockedData:
    """The rows of one batch, where they lie."""
    return dataclasses.replace(data, batch=Batch(index, weight_sum / batches.per_epoch, batches.rows))
