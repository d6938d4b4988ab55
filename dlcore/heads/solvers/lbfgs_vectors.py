"""The vectors of L-BFGS: on a device, by compiled programs, or on the host, by NumPy.

Both run `observe` and `advance`. The host decides between the two calls from what the first one returns.
"""

from types import ModuleType
from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.devices import to_device
from dlcore.heads.solvers.evaluate import accumulate
from dlcore.heads.solvers.host_rows import HostPass
from dlcore.heads.solvers.lbfgs_history import (
    Combination,
    Constants,
    Point,
    Rings,
    advance,
    advance_on_device,
    observe,
    observe_on_device,
)

if TYPE_CHECKING:
    from dlcore.heads.solvers.lbfgs import Options, Problem


class DeviceVectors:
    """Vectors on the device, from one start."""

    def __init__(self, problem: "Problem", theta: np.ndarray, rings: Rings, options: "Options") -> None:
        batch, centering, preconditioner, shards = to_device(
            (problem.batch, problem.centering, problem.preconditioner, list(problem.shards))
        )
        self._constants = Constants(batch, centering, preconditioner)
        zero = np.zeros_like(theta)
        self._point = to_device(Point(theta, zero, zero, theta.copy()))
        self.rings, self._gradient = to_device(rings), None
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
        self.rings, self._gradient, numbers = self._observe([given])[0]
        return jax.device_get(numbers)

    def advance(self, combination: Combination) -> None:
        """Move to the next trial point."""
        given = self.rings, self._point, self._gradient, to_device(combination.packed()), self._constants
        self._advance = self._advance or advance_on_device.prepare([given])
        self._point = self._advance([given])[0]


class HostVectors:
    """Vectors on the host, from one start."""

    def __init__(self, problem: "Problem", theta: np.ndarray, rings: Rings, options: "Options") -> None:
        assert problem.host_rows is not None
        self._constants = Constants(problem.batch, problem.centering, problem.preconditioner)
        zero = np.zeros_like(theta)
        self._point = Point(theta, zero, zero, theta.copy())
        self.rings, self._gradient = Rings(*(np.array(ring) for ring in rings)), zero
        self._pass = HostPass(problem.host_rows, problem.batch, options.loss, options.dtype)
        self._numpy: ModuleType = np

    @property
    def theta(self) -> np.ndarray:
        """The coefficients and intercepts, shape (B, K, m + 1)."""
        return np.asarray(self._point.theta)

    def observe(self, line: np.ndarray) -> np.ndarray:
        """Evaluate the trial point, store its pair, and return the packed `Observation`."""
        with np.errstate(all="ignore"):
            sums = self._pass(np.asarray(self._point.trial))
            self.rings, self._gradient, numbers = observe(
                self.rings, self._point, [sums], self._constants, line, self._numpy
            )
        return np.asarray(numbers)

    def advance(self, combination: Combination) -> None:
        """Move to the next trial point."""
        with np.errstate(all="ignore"):
            self._point = advance(
                self.rings, self._point, self._gradient, combination.packed(), self._constants, self._numpy
            )
