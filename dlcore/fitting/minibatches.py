"""Minibatches: the rows of each step, their order in an epoch, and the steps that evaluate the whole objective."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore._core import host_checks
from dlcore._core.types import Array, PRNGKey
from dlcore.fitting.stopping import DIVERGENCE_INTERVAL, Scalar
from dlcore.objective import Batch, BlockedData


class Batches(NamedTuple):
    """The static part of the minibatches.

    Attributes:
      rows: number of rows of a batch on each device.
      per_epoch: number of batches in an epoch.
    """

    rows: int
    per_epoch: int

    @property
    def divergence_interval(self) -> int:
        """Number of steps between two comparisons of J with its start: a number of whole epochs."""
        return self.per_epoch * -(-DIVERGENCE_INTERVAL // self.per_epoch)


def check_batches(batch_size: int | None, key: PRNGKey | None, data: BlockedData) -> Batches | None:
    """Check `batch_size` and the key. Return the batches, or None without minibatches."""
    if batch_size is None:
        return None
    size, devices = host_checks.check_count("batch_size", batch_size), data.x.shape[0] // data.rows_per_device
    if size > data.x.shape[0]:
        raise ValueError(f"batch_size: expected at most the {data.x.shape[0]} rows of the data, got {size}")
    if size % devices:
        raise ValueError(f"batch_size: expected a multiple of the {devices} devices, got {size}")
    if key is None:
        raise ValueError("key: the order of the batches is random, expected a key such as jax.random.key(0)")
    rows = size // devices
    return Batches(rows, -(-data.rows_per_device // rows))


def is_evaluated(step: Array, max_steps: Scalar, batches: Batches) -> Array:
    """Return whether the whole objective is evaluated at `step`: at the start of an epoch and at the end."""
    return (step % batches.per_epoch == 0) | (step >= max_steps)


def batch_order(batches: Batches, key: PRNGKey, step: Array) -> Array:
    """Return the random order of the batches in the epoch of `step`, shape (per_epoch,)."""
    epoch = jax.random.fold_in(key, step // batches.per_epoch)
    return jax.random.permutation(epoch, jnp.arange(batches.per_epoch, dtype=jnp.int32))


def take_batch(data: BlockedData, batches: Batches, index: Array, weight_sum: Array) -> BlockedData:
    """Return a view of the rows of a batch, without a copy."""
    return dataclasses.replace(data, batch=Batch(index, weight_sum / batches.per_epoch, batches.rows))
