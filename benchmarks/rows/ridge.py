"""Ridge heads: 30 strengths × 5 folds × 100 targets, 50,000 × 512, against RidgeCV and a loop of Ridge."""

from typing import Any

import numpy as np

from dlcore import LinearHeads, certify, fit_heads
from rows.contest import Peer, against_solvers, relative


def grid(quick: bool, repeats: int) -> dict[str, Any]:
    """The gap of a peer is that of its first fold, ours the worst of all."""
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.model_selection import KFold

    rows, features, targets, count, parts = (300, 8, 3, 4, 2) if quick else (50_000, 512, 100, 30, 5)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, features), dtype=np.float32)
    y = x @ rng.standard_normal((features, targets), dtype=np.float32)
    y += y.std() * rng.standard_normal(y.shape, dtype=np.float32)
    l2 = np.geomspace(1e-4, 1e2, count)
    splits = list(KFold(parts).split(x))
    first = splits[0][0]
    spread = y[first].var(0)

    def loop(dtype: str, tol: float) -> Any:
        del tol  # the solver is exact
        inputs, outputs = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
        found = []
        for train, test in splits:
            own, theirs = inputs[train], outputs[train]
            models = [Ridge(alpha=s * len(train) / 2, solver="cholesky").fit(own, theirs) for s in l2]
            scores = [model.score(inputs[test], outputs[test]) for model in models]
            found.append((models, scores))
        return found[0][0]

    def search(dtype: str, tol: float) -> Any:
        del tol
        alphas = l2 * len(first) / 2
        best: Any = RidgeCV(alphas, cv=splits).fit(x.astype(dtype, copy=False), y.astype(dtype, copy=False))
        return best, np.array([best.alpha_ * 2 / rows])

    def gap_of_loop(models: Any) -> float:
        coef = np.stack([model.coef_ for model in models])
        heads = LinearHeads(coef, np.stack([model.intercept_ for model in models]), l2, "squared")
        return relative(certify(heads, x[first], y[first]), spread)

    def gap_of_search(found: Any) -> float:
        best, strength = found
        heads = LinearHeads(best.coef_[None], best.intercept_[None], strength, "squared")
        return relative(certify(heads, x, y), y.var(0))

    def ours(heads: Any) -> float:
        value = np.maximum(heads.value, 1e-3 * y.var(0)[:, None])
        return float(max((heads.certificate.gap / value).max(), (heads.fold_gap / value[:, None]).max()))

    peers = {"loop of Ridge": Peer(loop, gap_of_loop), "RidgeCV": Peer(search, gap_of_search)}
    result = against_solvers(
        lambda: fit_heads(x, y, loss="squared", l2=l2, folds=splits), ours, peers, min(repeats, 2)
    )
    return {"shape": [rows, features], "models": count * parts * targets, **result}
