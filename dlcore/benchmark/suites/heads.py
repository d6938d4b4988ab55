"""Cases of fitted linear heads, compared at the same certified gap: shared by the suites fit, sweep and scale."""

from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from dlcore._core.types import Device
from dlcore.benchmark.accuracy import small_certified_gap
from dlcore.benchmark.case import Bind, Case, Inputs
from dlcore.benchmark.head_peers import fit_path, solvers_for
from dlcore.benchmark.tune_solver import Solver
from dlcore.certificate import Certificate, LinearHeads, certify
from dlcore.heads import Heads, fit_heads


def heads_case(
    x: np.ndarray,
    y: np.ndarray,
    run: Callable[..., object],
    solvers: Mapping[str, Solver],
    *,
    gap_of: Callable[..., float] | None = None,
    note: str = "",
    models: int = 1,
) -> Case:
    """Return the case of a function of (x, y) that fits heads, against solvers of other libraries.

    Args:
      x: the features.
      y: the labels or targets.
      run: dlcore's function.
      solvers: by title, such as "sklearn, lbfgs".
      gap_of: see `small_certified_gap`; by default `worst_gap`.
      note: added to the size as text.
      models: the number of models; each needs at least one value and gradient.
    """
    return Case(
        f"{len(x):,} × {x.shape[1]}{note}",
        (x, y),
        small_certified_gap(gap_of or worst_gap),
        operations=4.0 * x.size * models,
        traffic=float(x.nbytes),
        bind=on_device(run),
        solvers=solvers,
    )


def path_case(
    data: tuple[np.ndarray, np.ndarray], l2: np.ndarray, loss: str, solvers: Sequence[str] | None = None
) -> Case:
    """Return the case of `fit_heads` of (x, labels) for each l2.

    Args:
      data: features and labels.
      l2: the penalties, in the order in which peers fit them.
      loss: "logistic" or "softmax".
      solvers: titles of `head_peers.SOLVERS`; by default all that suit the size.
    """
    x, y = data
    classes = int(y.max()) + 1
    titles = solvers_for(loss, x.shape[1], classes) if solvers is None else solvers
    return heads_case(
        x,
        y,
        lambda x, y: fit_heads(x, y, loss=loss, l2=l2, progress=False),
        {title: peer_path(title, l2, loss) for title in titles},
        note=f", {len(l2)} l2" if len(l2) > 1 else "",
        models=len(l2) * (classes if loss == "softmax" else 1),
    )


def on_device(function: Callable[..., object]) -> Bind:
    """Bind a function of NumPy arrays to a device, as JAX's default device."""

    def bind(inputs: Inputs, device: Device) -> Callable[[], object]:
        def call() -> object:
            with jax.default_device(device):
                return function(*inputs)

        return call

    return bind


def peer_path(title: str, l2: np.ndarray, loss: str) -> Solver:
    """Return a peer's solver of all l2, from the first, each started at the solution before."""

    def solve(dtype: str, tol: float, x: np.ndarray, y: np.ndarray) -> LinearHeads:
        return LinearHeads(*fit_path(title, l2, loss, x, y, dtype=dtype, tol=tol), l2, loss)

    return solve


def worst_gap(heads: Heads | LinearHeads, x: np.ndarray, y: np.ndarray) -> float:
    """Certify heads of any implementation, and return the largest relative gap."""
    return relative_gap(certify(heads, x, y))


def relative_gap(certificate: Certificate) -> float:
    """Return the largest gap, relative to `Certificate.gap_tol(1.0)`."""
    return float(np.max(certificate.gap / certificate.gap_tol(1.0)))
