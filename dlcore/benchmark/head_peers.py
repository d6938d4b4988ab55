"""Linear heads fitted by other libraries: each l2 of a path, started at the solution before.

This file imports no other part of dlcore. As a script it fits one path in a process that loads the peer alone.
"""

import contextlib
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

MAX_ITER = 20_000
"""The limit on the steps of a peer's solver, too large to stop any of them."""
MAX_LINE_SEARCH = 25
"""The limit on the evaluations of one line search of PyTorch's L-BFGS."""
NEWTON_MAX_PARAMS = 5_000
"""Models with more parameters are not fitted by newton-cholesky, whose Hessian they fill the memory with."""
MODULES = {"sklearn": "sklearn.linear_model", "sklearnex": "sklearnex.linear_model", "torch": "torch"}
"""The module to import, by library."""
SOLVERS = (
    "sklearn, newton-cholesky",
    "sklearn, lbfgs",
    "sklearnex, lbfgs",
    "torch, L-BFGS of 10",
    "torch, L-BFGS of 100",
)
"""Titles of the solvers of logistic and softmax heads. L-BFGS of PyTorch has a history of 10 or 100 steps."""


class Path(NamedTuple):
    """Heads of a path.

    Attributes:
      coef: shape (l2, features), or (l2, classes, features) for softmax heads.
      intercept: shape (l2,) or (l2, classes).
    """

    coef: np.ndarray
    intercept: np.ndarray


def solvers_for(loss: str, features: int, classes: int) -> tuple[str, ...]:
    """Return the titles of the solvers that suit a head of this size."""
    params = (features + 1) * (classes if loss == "softmax" else 1)
    return SOLVERS if params <= NEWTON_MAX_PARAMS else SOLVERS[1:]


def start_library(title: str) -> None:
    """Import the library of a solver and fit four rows, so that no timed call includes what happens once."""
    if module := MODULES.get(title.partition(",")[0]):
        importlib.import_module(module)
    if title in SOLVERS:
        x, y = np.array([[0.0], [1.0], [1.0], [2.0]], np.float32), np.array([0, 0, 1, 1])
        fit_path(title, [1.0], "logistic", x, y, dtype="float32", tol=1e-4)


def fit_path(
    title: str,
    l2: Sequence[float] | np.ndarray,
    loss: str,
    x: np.ndarray,
    y: np.ndarray,
    *,
    dtype: str,
    tol: float,
) -> Path:
    """Fit heads with one of `SOLVERS`, in the order of the l2.

    Args:
      title: the library and its solver.
      l2: the penalties, best in decreasing order, shape (l2,).
      loss: "logistic" or "softmax".
      x: features, shape (rows, features).
      y: labels from 0, shape (rows,).
      dtype: the dtype of the features.
      tol: the solver's own tolerance on the largest entry of the gradient.
    """
    library, _, solver = title.partition(", ")
    rows = x.astype(dtype, copy=False)
    if library == "torch":
        return _torch_path(int(solver.rpartition(" ")[2]), l2, loss, tol, rows, y)
    return _sklearn_path(MODULES[library], solver, l2, loss, rows, y, tol=tol)


def _sklearn_path(
    module: str,
    solver: str,
    l2: Sequence[float] | np.ndarray,
    loss: str,
    x: np.ndarray,
    y: np.ndarray,
    *,
    tol: float,
) -> Path:
    """Fit a path with LogisticRegression of scikit-learn or of its extension."""
    model = importlib.import_module(module).LogisticRegression(
        solver=solver, tol=tol, max_iter=MAX_ITER, warm_start=True
    )
    coefs, intercepts = [], []
    for penalty in l2:
        model.set_params(C=1 / (penalty * len(x))).fit(x, y)
        coefs.append(model.coef_.copy())
        intercepts.append(model.intercept_.copy())
    head = 0 if loss == "logistic" else slice(None)
    return Path(np.array(coefs)[:, head], np.array(intercepts)[:, head])


def _torch_path(
    history: int, l2: Sequence[float] | np.ndarray, loss: str, tol: float, x: np.ndarray, y: np.ndarray
) -> Path:
    """Fit a path with `torch.optim.LBFGS` on all rows, with its line search by the strong Wolfe conditions."""
    torch: Any = importlib.import_module("torch")
    functional = torch.nn.functional
    features = torch.from_numpy(x)
    outputs = int(y.max()) + 1 if loss == "softmax" else 1
    labels = torch.from_numpy(y.astype(np.int64 if loss == "softmax" else x.dtype))
    weight = torch.zeros((x.shape[1], outputs), dtype=features.dtype, requires_grad=True)
    bias = torch.zeros(outputs, dtype=features.dtype, requires_grad=True)
    coefs, intercepts = [], []
    for penalty in l2:
        optimizer = torch.optim.LBFGS(
            [weight, bias],
            max_iter=MAX_ITER,
            max_eval=MAX_ITER * MAX_LINE_SEARCH,
            tolerance_grad=tol,
            tolerance_change=min(1e-9, 1e-3 * tol),  # PyTorch's default, or less for a small tol
            history_size=history,
            line_search_fn="strong_wolfe",
        )

        def closure(penalty: float = float(penalty), optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            logits = torch.addmm(bias, features, weight)
            if loss == "softmax":
                value = functional.cross_entropy(logits, labels)
            else:
                value = functional.binary_cross_entropy_with_logits(logits[:, 0], labels)
            value = value + penalty / 2 * (weight * weight).sum()
            value.backward()
            return value

        optimizer.step(closure)
        coefs.append(weight.detach().numpy().T.copy())
        intercepts.append(bias.detach().numpy().copy())
    head = 0 if loss == "logistic" else slice(None)
    return Path(np.array(coefs)[:, head], np.array(intercepts)[:, head])


@contextlib.contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """Set the number of threads of NumPy, SciPy, scikit-learn, its extension and PyTorch.

    The extension takes the number from the limits of BLAS and OpenMP.
    """
    torch: Any = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError):
            import threadpoolctl  # installed with scikit-learn

            stack.enter_context(threadpoolctl.threadpool_limits(count))
        if torch:
            stack.callback(torch.set_num_threads, before)
            torch.set_num_threads(count)  # its BLAS too, which threadpoolctl does not see
        yield


def main(arguments: Sequence[str]) -> None:
    """Fit the path of a JSON object and save it: a whole process of one library.

    Args:
      arguments: a JSON object with "data" and "output", two .npz files, "threads", and arguments of `fit_path`.
    """
    options = json.loads(arguments[0])
    with np.load(options.pop("data")) as data:
        x, y = data["x"], data["y"]
    output, threads = options.pop("output"), options.pop("threads")
    if module := MODULES.get(options["title"].partition(",")[0]):
        importlib.import_module(module)  # the limit is that of the libraries that are loaded
    with limit_threads(threads):
        path = fit_path(**options, x=x, y=y)
    np.savez(output, **path._asdict())


if __name__ == "__main__":
    main(sys.argv[1:])
