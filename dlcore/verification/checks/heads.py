"""Softmax heads, leave-one-out of ridge heads, certificates of classes and numbers, against solvers in NumPy."""

from typing import Any

import numpy as np

from dlcore import certificate, heads
from dlcore.reference import losses as twin_losses
from dlcore.reference import objective as twin_objectives
from dlcore.verification.check import Check, Exact
from dlcore.verification.checks.objective import CLASSES, FEATURES, data_of

STRENGTHS = np.array([0.25, 0.0625])
TOL = 1e-6
EPS = float(np.finfo(np.float64).eps)


def checks(dtype: np.dtype) -> list[Check]:
    """In float64 alone, which heads and certificates are always."""
    if dtype != np.float64:
        return []
    return [_left_out(), _softmax_heads(), _softmax_certificate(), _squared_certificate(), _tight_certificate()]


def _data(name: Any) -> tuple[Any, Any, Any]:
    x, y, s = data_of(name, np.dtype(np.float64))
    return x, y, s


def _ridge(x: np.ndarray, y: np.ndarray, s: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """The optimum of (1/S)Σ s(ŷ − y)² + (λ/2)‖w‖², the intercept last, and the Hessian."""
    rows = np.column_stack([x, np.ones(len(x))])
    hessian = 2 * rows.T @ (s[:, None] / s.sum() * rows) + l2 * np.diag([1.0] * x.shape[1] + [0.0])
    return np.linalg.solve(hessian, 2 * rows.T @ (s / s.sum() * y)), hessian


def _left_out() -> Check:
    """R² of rows each predicted by heads that are fitted anew on all others, at the λ·S of all rows."""
    x, y, s = _data("squared")
    s = s + 0.5

    def of(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> dict[str, Any]:
        found = heads.fit_heads(x, y, loss="squared", l2=STRENGTHS, folds="leave-one-out", sample_weight=s)
        return {"scores": found.scores}

    def twin(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> dict[str, Exact]:
        spread = (s * (y - (s * y).sum() / s.sum()) ** 2).sum()
        scores = np.empty((1, len(STRENGTHS)))
        for j, l2 in enumerate(STRENGTHS):
            error = np.empty(len(y))
            for i in range(len(y)):
                others = np.arange(len(y)) != i
                theta, _ = _ridge(x[others], y[others], s[others], l2 * s.sum() / s[others].sum())
                error[i] = y[i] - x[i] @ theta[:-1] - theta[-1]
            scores[0, j] = 1 - (s * error**2).sum() / spread
        return {"scores": Exact(scores, 20.0, np.ones(scores.shape))}

    return Check("fit_heads squared leave-one-out", of, twin, (x, y, s), traced=False)


def _softmax_parts(
    theta: np.ndarray, x: np.ndarray, y: np.ndarray, s: np.ndarray, l2: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """J, its gradient, shape (m + 1, classes), and its Hessian in the flattened parameters."""
    value, weight, bias = twin_objectives.value_and_grad("softmax", theta[:-1], theta[-1], x, y, s, l2)
    rows = np.column_stack([x, np.ones(len(x))])
    p = np.array([twin_losses.softmax(z) for z in rows @ theta])
    spread = p[:, :, None] * np.eye(CLASSES) - p[:, :, None] * p[:, None, :]
    hessian = np.einsum("n,ni,nj,nkl->ikjl", s / s.sum(), rows, rows, spread).reshape(theta.size, theta.size)
    penalty = np.repeat([l2] * x.shape[1] + [0.0], CLASSES)
    return value, np.vstack([weight, bias]), hessian + np.diag(penalty)


def _softmax_newton(x: np.ndarray, y: np.ndarray, s: np.ndarray, l2: float) -> np.ndarray:
    """The optimum: 30 steps, the shortest ones, since a number added to all intercepts changes nothing."""
    theta = np.zeros((FEATURES + 1, CLASSES))
    for _ in range(30):
        _, gradient, hessian = _softmax_parts(theta, x, y, s, l2)
        theta = theta - np.linalg.lstsq(hessian, gradient.ravel(), rcond=1e-12)[0].reshape(theta.shape)
    return theta


def _softmax_heads() -> Check:
    """J where it should be, the certificate above the true gap, the score of a fold."""
    data = _data("softmax")
    train = np.array([np.arange(len(data[0])) % 2 == k for k in range(2)])

    def of(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> dict[str, Any]:
        y = y.astype(np.int64)
        found = heads.fit_heads(x, y, loss="softmax", l2=STRENGTHS, folds=train, sample_weight=s, tol=TOL)
        ends = np.concatenate([found.coef.swapaxes(1, 2), found.intercept[:, None]], axis=1)
        pairs = list(zip(ends, STRENGTHS, strict=True))
        values = np.array([_softmax_parts(end, x, y, s, l2)[0] for end, l2 in pairs])
        above = values - _least(x, y, s) <= found.certificate.gap
        return {"J": values, "gap covers J − J*": above, "scores of the folds": found.scores}

    def _least(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.array([_softmax_parts(_softmax_newton(x, y, s, l2), x, y, s, l2)[0] for l2 in STRENGTHS])

    def twin(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> dict[str, Exact]:
        least = _least(x, y, s)
        scores = np.zeros((2, len(STRENGTHS)))
        for k, rows in enumerate(train):
            for j, l2 in enumerate(STRENGTHS):
                theta = _softmax_newton(x[rows], y[rows], s[rows], l2)
                scores[k, j] = -twin_objectives.value_and_grad(
                    "softmax", theta[:-1], theta[-1], x[~rows], y[~rows], s[~rows]
                )[0]
        return {
            "J": Exact(least, 2.0, least * TOL / EPS, unit="tol·J"),
            "gap covers J − J*": Exact(np.ones(len(STRENGTHS)), 0.0),
            "scores of the folds": Exact(scores, 2.0, np.sqrt(TOL) / EPS * np.abs(scores), unit="√tol"),
        }

    return Check("fit_heads softmax", of, twin, data, traced=False)


def _softmax_certificate() -> Check:
    """Without an intercept the duality gap is ‖∇J‖²/(2λ), as that of a logistic head."""
    x, y, s = _data("softmax")
    l2 = 0.25
    coef = np.random.default_rng(3).normal(size=(CLASSES, FEATURES)) / 4

    def of(x: np.ndarray, y: np.ndarray, s: np.ndarray, coef: np.ndarray) -> dict[str, Any]:
        found = certificate.certify(certificate.LinearHeads(coef, None, l2, "softmax"), x, y, s)
        return {"value": found.value, "gradient norm": found.gradient_norm, "gap": found.gap - found.rounding}

    def twin(x: np.ndarray, y: np.ndarray, s: np.ndarray, coef: np.ndarray) -> dict[str, Exact]:
        value, gradient, _ = twin_objectives.value_and_grad("softmax", coef.T, np.zeros(CLASSES), x, y, s, l2)
        norm = np.sqrt((gradient**2).sum())
        return {
            "value": Exact(np.array(value), 10.0),
            "gradient norm": Exact(norm, 10.0, np.ones(())),
            "gap": Exact(norm**2 / (2 * l2), 10.0, norm / l2, unit="‖∇J‖/λ·ulp"),
        }

    return Check("certify softmax", of, twin, (x, y, s, coef), traced=False)


def _squared_certificate() -> Check:
    """With the squared loss the gap is ½ gᵀH⁻¹g, which is J − J* exactly."""
    x, y, s = _data("squared")
    l2 = 0.25
    theta = np.array([0.5, -1.0, 0.25, 0.125])

    def of(x: np.ndarray, y: np.ndarray, s: np.ndarray, theta: np.ndarray) -> dict[str, Any]:
        found = certificate.certify(certificate.LinearHeads(theta[:-1], theta[-1], l2, "squared"), x, y, s)
        return {"value": found.value, "gap": found.gap - found.rounding}

    def twin(x: np.ndarray, y: np.ndarray, s: np.ndarray, theta: np.ndarray) -> dict[str, Exact]:
        value, _, _ = twin_objectives.value_and_grad("squared", theta[:-1], theta[-1], x, y, s, l2)
        least, hessian = _ridge(x, y, s, l2)
        gap = (theta - least) @ hessian @ (theta - least) / 2
        return {"value": Exact(np.array(value), 10.0), "gap": Exact(gap, 20.0, np.array(value))}

    return Check("certify squared", of, twin, (x, y, s, theta), traced=False)


def _tight_certificate() -> Check:
    """The tight gap is at least J − J* and at most the plain one, of softmax heads off the optimum."""
    x, y, s = _data("softmax")
    l2 = 0.25

    def of(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> dict[str, Any]:
        theta = _softmax_newton(x, y, s, l2)
        least = _softmax_parts(theta, x, y, s, l2)[0]
        theta = theta + 1e-2 * np.random.default_rng(4).normal(size=theta.shape)
        above = _softmax_parts(theta, x, y, s, l2)[0] - least
        model = certificate.LinearHeads(theta[:-1].T, theta[-1], l2, "softmax")
        plain, tight = (certificate.certify(model, x, y, s, tight=tight).gap for tight in (False, True))
        return {"gap covers J − J*": np.array(above <= tight), "gap is at most the plain one": tight <= plain}

    def twin(*_: np.ndarray) -> dict[str, Exact]:
        return {name: Exact(np.array(1.0), 0.0) for name in ("gap covers J − J*", "gap is at most the plain one")}

    return Check("certify tight", of, twin, (x, y, s), traced=False)
