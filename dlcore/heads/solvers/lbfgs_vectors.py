"""The vectors of L-BFGS: on a device, by compiled programs, or on the host, by NumPy.

Both run `observe` and `advance`. The host decides between the two calls from what the first one returns.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from dlcore._core.blas_threads import one_blas_thread
from dlcore._core.threads import core_count, map_on_threads
from dlcore._core.types import AnyArray
from dlcore.devices import to_device
from dlcore.heads.data.centering import Centering
from dlcore.heads.passes.evaluate import HeadBatch, Sums, accumulate
from dlcore.heads.passes.host_rows import HostPass, HostRows
from dlcore.heads.solvers.lbfgs_history import (
    PER_PAIR,
    Combination,
    Constants,
    Gradient,
    Observation,
    Point,
    Rings,
    advance,
    observe,
    observe_trial,
    take_step,
)
from dlcore.heads.solvers.preconditioner import Preconditioner
from dlcore.objective import BlockedData

Arrays = TypeVar("Arrays", HeadBatch, Sums, Combination, Point)

LEAST_NUMBERS = 2**15
"""The fewest coefficients of a core's share of the heads. Below it, starting a thread costs more than it saves."""


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
        self._outputs = theta.shape[1]

    @property
    def theta(self) -> np.ndarray:
        """The coefficients and intercepts, shape (B, K, m + 1)."""
        return np.asarray(self._point.theta)

    def observe(self, controls: np.ndarray) -> Observation:
        """Evaluate the trial point, store its pair, and return what the host needs.

        `controls` is that of `observe_trial`.
        Products are computed with all places of the rings, since another number of places is another program.
        """
        sums = self._pass(self._sets(self._point.trial))
        given = self.rings, self._point, sums, self._constants, to_device(controls)
        self._observe = self._observe or observe.prepare([given])
        self.rings, self._at_trial, numbers = self._observe([given])[0]
        return Observation.unpacked(jax.device_get(numbers), self.rings.s.shape[1], self._outputs)

    def advance(self, combination: Combination) -> None:
        """Move to the next trial point."""
        given = self.rings, self._point, self._at_trial, to_device(combination.packed()), self._constants
        self._advance = self._advance or advance.prepare([given])
        self._point = self._advance([given])[0]


class HostVectors:
    """The vectors of one run of L-BFGS, on the host.

    Heads are divided among the cores, one thread each. Products are short, and BLAS computes them on one thread.
    """

    def __init__(self, problem: Problem, theta: np.ndarray, rings: Rings, options: Options) -> None:
        assert problem.host_rows is not None
        # The rings are overwritten. Those of an earlier compiled batch cannot be, and are copied.
        self.rings = Rings(*(np.require(ring, requirements="W") for ring in rings))
        heads = len(theta)
        cores = max(1, min(core_count(), heads, theta.size // LEAST_NUMBERS))
        self._shares = [slice(k * heads // cores, (k + 1) * heads // cores) for k in range(cores)]
        zero = np.zeros_like(theta)
        start = Point(theta, zero, zero, zero, theta)
        self._points = [_heads_of(start, share) for share in self._shares]
        self._at_trial: list[Gradient] = []
        self._places = 0
        self._constants = [
            Constants(_heads_of(problem.batch, share), problem.centering, problem.preconditioner)
            for share in self._shares
        ]
        self._pass = HostPass(problem.host_rows, problem.batch, options.loss, options.dtype)

    @property
    def theta(self) -> np.ndarray:
        """The coefficients and intercepts, shape (B, K, m + 1)."""
        return _joined([point.theta for point in self._points])

    def observe(self, controls: np.ndarray) -> Observation:
        """Evaluate the trial point, store its pair, and return what the host needs.

        `controls` is that of `observe_trial`.
        Products are computed with the places of the rings that have been written. The others are empty.
        """
        self._places = int(controls[0, 3])
        trials = [point.trial for point in self._points]

        def observed(k: int) -> tuple[Gradient, Observation]:
            share, given = self._shares[k], (self._rings_of(k), self._points[k])
            return observe_trial(*given, [_heads_of(sums, share)], self._constants[k], controls[share], np)[1:]

        with np.errstate(all="ignore"), one_blas_thread():
            sums = self._pass(_joined(trials))
            by_head = sums.grad_coef.reshape(len(sums.value), -1, sums.grad_coef.shape[-1])
            sums = sums._replace(grad_coef=by_head)
            found = map_on_threads(observed, range(len(trials)))
        self._at_trial = [gradient for gradient, _ in found]
        seen = Observation(*(_joined(parts) for parts in zip(*(seen for _, seen in found), strict=True)))
        per_pair = np.zeros((len(PER_PAIR), len(seen.value), self.rings.s.shape[1]))
        per_pair[:, :, : self._places] = [getattr(seen, name) for name in PER_PAIR]
        return seen._replace(**dict(zip(PER_PAIR, per_pair, strict=True)))

    def advance(self, combination: Combination) -> None:
        """Move to the next trial point."""
        written = slice(self._places)
        combination = combination._replace(s=combination.s[:, written], y=combination.y[:, written])

        def advanced(k: int) -> Point:
            given = self._rings_of(k), self._points[k], self._at_trial[k]
            return take_step(*given, _heads_of(combination, self._shares[k]), self._constants[k], np)

        with np.errstate(all="ignore"), one_blas_thread():
            self._points = map_on_threads(advanced, range(len(self._points)))

    def _rings_of(self, share: int) -> Rings:
        """Return the places of the rings of a share of the heads that have been written."""
        return Rings(*(ring[self._shares[share], : self._places] for ring in self.rings))


def _heads_of(arrays: Arrays, heads: slice) -> Arrays:
    """Return the part of some heads of a tuple of arrays, each with an axis of heads in front."""
    return arrays._make(None if part is None else part[heads] for part in arrays)


def _joined(parts: Sequence[AnyArray]) -> np.ndarray:
    """Return the arrays of all shares as one, without a copy of a single one."""
    return np.asarray(parts[0]) if len(parts) == 1 else np.concatenate([np.asarray(part) for part in parts])
