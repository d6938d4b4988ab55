"""Logistic heads: one, a hundred strengths, strengths times folds; against scikit-learn, certified in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore import LinearHeads, certify, fit_heads
from rows.contest import Peer, against_solvers, correlated, entropy, labels, relative

STEPS = 20_000
"""Most steps of a peer: none is stopped early by their number."""


def one_fit(quick: bool, repeats: int) -> dict[str, Any]:
    """One head, 10⁶ × 128, columns correlated to a condition of 1,000, l2 = 1/n."""
    shape = (2_000, 8) if quick else (1_000_000, 128)
    rng = np.random.default_rng(0)
    x = correlated(rng, *shape, 1e3)
    return _row(x, labels(rng, x), np.array([1 / len(x)]), ("newton-cholesky", "lbfgs"), min(repeats, 3))


def strengths(quick: bool, repeats: int) -> dict[str, Any]:
    """100 strengths over 8 decades, 20,000 × 64; a peer goes from the strongest down, each from the one before."""
    shape = (500, 8) if quick else (20_000, 64)
    rng = np.random.default_rng(1)
    x = correlated(rng, *shape, 30)
    l2 = np.geomspace(10, 1e-7, 5 if quick else 100)
    return _row(x, labels(rng, x), l2, ("newton-cholesky", "lbfgs"), min(repeats, 3))


def _row(x: np.ndarray, y: np.ndarray, l2: np.ndarray, solvers: tuple[str, ...], repeats: int) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    start = entropy(y)

    def solver(name: str) -> Callable[[str, float], Any]:
        def solve(dtype: str, tol: float) -> LinearHeads:
            rows = x.astype(dtype, copy=False)
            model: Any = LogisticRegression(solver=name, tol=tol, max_iter=STEPS, warm_start=True)
            found = []
            for strength in l2:
                model.set_params(C=1 / (strength * len(x))).fit(rows, y)
                found.append((model.coef_[0].copy(), model.intercept_[0]))
            coef, intercept = zip(*found, strict=True)
            return LinearHeads(np.array(coef), np.array(intercept), l2)

        return solve

    def gap(heads: Any) -> float:
        return relative(certify(heads, x, y), start)

    peers = {name: Peer(solver(name), gap) for name in solvers}
    result = against_solvers(
        lambda: fit_heads(x, y, l2=l2), lambda heads: relative(heads.certificate, start), peers, repeats
    )
    return {"shape": list(x.shape), "models": len(l2), **result}


def folds(quick: bool, repeats: int) -> dict[str, Any]:
    """20 strengths × 5 folds, 20,000 × 64, against LogisticRegressionCV; the worst gap of any fold."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import StratifiedKFold

    shape, count, parts = ((500, 8), 3, 2) if quick else ((20_000, 64), 20, 5)
    rng = np.random.default_rng(2)
    x = correlated(rng, *shape, 30)
    y = labels(rng, x)
    l2 = np.geomspace(1, 1e-5, count)
    splits = list(StratifiedKFold(parts).split(x, y))
    start = entropy(y)

    def solver(name: str) -> Callable[[str, float], Any]:
        def solve(dtype: str, tol: float) -> Any:
            choices: dict[str, Any] = {"Cs": 1 / (l2 * len(x)), "l1_ratios": (0,), "use_legacy_attributes": True}
            model = LogisticRegressionCV(
                cv=splits, solver=name, tol=tol, max_iter=STEPS, scoring="neg_log_loss", **choices
            )
            return model.fit(x.astype(dtype, copy=False), y)

        return solve

    def gap(model: Any) -> float:
        paths = np.asarray(model.coefs_paths_[1]).reshape(parts, count, -1)
        own = [l2 * len(x) / len(train) for train, _ in splits]  # scikit-learn keeps C, so that l2 differs
        return max(
            relative(certify(LinearHeads(path[:, :-1], path[:, -1], strength), x[train], y[train]), start)
            for path, strength, (train, _) in zip(paths, own, splits, strict=True)
        )

    def ours(heads: Any) -> float:
        return max(relative(heads.certificate, start), float((heads.fold_gap / heads.value).max()))

    peers = {name: Peer(solver(name), gap) for name in ("newton-cholesky", "lbfgs")}
    result = against_solvers(lambda: fit_heads(x, y, l2=l2, folds=splits), ours, peers, min(repeats, 3))
    return {"shape": list(x.shape), "models": count * parts, **result}
