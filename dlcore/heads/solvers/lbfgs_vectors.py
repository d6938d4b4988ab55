"""The vectors of L-BFGS: on a device, by compiled programs, or on the host, by NumPy.

Both run `observe` and `advance`. The host decides between the two calls from what the first one returns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from dlcore._core.blas_threads import one_blas_thread
from dlcore.devices import to_device
from dlcore.heads.data.centering import Centering
from dlcore.heads.passes.evaluate import HeadBatch, accumulate
from dlcore.heads.passes.host_rows import HostPass, HostRows
from dlcore.heads.solvers.lbfgs_history import (
    Combination,
    Constants,
    Gradient,
    Point,
    Rings,
    advance,
    advance_on_device,
    observe,
    observe_on_device,
)
from dlcore.heads.solvers.preconditioner import Preconditioner
from dlcore.objective import BlockedData


class Options(NamedTuple):
    """Settings of a call that are part of the programs.

    Attributes:
      loss: name of the loss.
      dtype: dtype of the products of a pass.
    """

    loss: str
    dtype: str


class Problem(NamedTuple):
    """Problem of a batch of heads, on the host.

    Attributes:
      batch: the heads.
      centering: the centering of the rows.
      preconditioner: H.
      shards: the rows, one shard for each core.
      host_rows: the rows on the host if NumPy makes the passes; None for compiled passes.
      left_of_intercepts: factor of the intercepts' gradient in the estimate of the gap.
    """

    batch: HeadBatch
    centering: Centering
    preconditioner: Preconditioner
    shards: Sequence[BlockedData]
    host_rows: HostRows | None = None
    left_of_intercepts: float = 1.0


class DeviceVectors:
    """The vectors of one run of L-BFGS, on the device."""

    def __init__(self, problem: Problem, theta: np.ndarray, rings: Rings, options: Options) -> None:
        batch, centering, preconditioner, shards = to_device(
            (problem.batch, problem.centering, problem.preconditioner, list(problem.shards))
        )
        self._constants = Constants(batch, centering, preconditioner)
        zero = np.zeros_like(theta)
        self._point = to_device(Point(theta, zero, zero, zero, theta.copy()))
        self.rings, self._at_trial = to_device(rings), None
        self._sets = lambda trial: [(trial, batch, shard, centering) for shard in shards]
        self._pass = accumulate.prepare(self._sets(self._point.trial), loss=options.loss, dtype=options.dtype)
        self._observe = self._advance = None

    @property
    def theta(self) -> np.ndarray:
        """The coefficients and intercepts, shape (B, K, m + 1)."""
        return np.asarray(self._point.theta)

    def observe(self, line: np.ndarray) -> np.ndarray:
        """Evaluate the trial point, store its pair, and return the packed `Observation`."""
        sums = self._pass(self._sets(self._point.trial))
        given = self.rings, self._point, sums, self._constants, to_device(line)
        self._observe = self._observe or observe_on_device.prepare([given])
        self.rings, self._at_trial, numbers = self._observe([given])[0]
        return jax.device_get(numbers)

    def advance(self, combination: Combination) -> None:
        """Move to the next trial point."""
        given = self.rings, self._point, self._at_trial, to_device(combination.packed()), self._constants
        self._advance = self._advance or advance_on_device.prepare([given])
        self._point = self._advance([given])[0]


class HostVectors:
    """The vectors of one run of L-BFGS, on the host. Products are short, and BLAS computes them on one thread."""

    def __init__(self, problem: Problem, theta: np.ndarray, rings: Rings, options: Options) -> None:
        assert problem.host_rows is not None
        self._constants = Constants(problem.batch, problem.centering, problem.preconditioner)
        zero = np.zeros_like(theta)
        self._point = Point(theta, zero, zero, zero, theta.copy())
        self.rings, self._at_trial = Rings(*(np.array(ring) for ring in rings)), Gradient(zero, zero)
        self._pass = HostPass(problem.host_rows, problem.batch, options.loss, options.dtype)

    @property
    def theta(self) -> np.ndarray:
        """The coefficients and intercepts, shape (B, K, m + 1)."""
        return np.asarray(self._point.theta)

    def observe(self, line: np.ndarray) -> np.ndarray:
        """Evaluate the trial point, store its pair, and return the packed `Observation`."""
        with np.errstate(all="ignore"), one_blas_thread():
            sums = self._pass(np.asarray(self._point.trial))
            self.rings, self._at_trial, numbers = observe(
                self.rings, self._point, [sums], self._constants, line, np
            )
        return np.asarray(numbers)

    def advance(self, combination: Combination) -> None:
        """Move to the next trial point."""
        with np.errstate(all="ignore"), one_blas_thread():
            self._point = advance(
                self.rings, self._point, self._at_trial, combination.packed(), self._constants, np
            )
