"""Checks of fitted heads, scores and certificates against NumPy solvers."""

from typing import Literal

import numpy as np

from dlcore import certificate, heads
from dlcore.reference import losses as reference_losses
from dlcore.reference import objective as reference
from dlcore.verification.check import Check, Exact, Results
from dlcore.verification.checks.objective import CLASSES, FEATURES, make_data

PENALTIES = np.array([0.25, 0.0625])
"""Two penalties: with more, `fit_heads` warns of a best value at the edge of the grid."""

L2 = 0.25
TOL = 1e-6
"""The relative tolerance of J."""

EPS = float(np.finfo(np.float64).eps)
COVERED = "gap covers J − J*"

CrossEntropy = Literal["logistic", "softmax"]


def checks(dtype: np.dtype) -> list[Check]:
    """Return checks in float64, the dtype of all heads and certificates."""
    if dtype != np.float64:
        return []
    x, y, s = _data("logistic")
    near_optimum = _newton("logistic", x, y, s, L2, has_intercept=False)[:-1] + 1e-6 * np.array([1.0, -1.0, 0.5])
    random_coef = np.random.default_rng(3).normal(size=(CLASSES, FEATURES)) / 4
    return [
        _check_ridge(),
        _check_heads("logistic")._replace(covers=("Heads",)),
        _check_gap("certify", "logistic", near_optimum)._replace(covers=("Certificate", "LinearHeads")),
        _check_leave_one_out(),
        _check_heads("softmax"),
        _check_soft_labels("logistic"),
        _check_soft_labels("softmax"),
        _check_gap("certify softmax", "softmax", random_coef),
        _check_squared_gap(),
        _check_tight_gap(),
    ]


def _data(loss: Literal["logistic", "softmax", "squared"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return make_data(loss, np.dtype(np.float64))


def _with_ones(x: np.ndarray) -> np.ndarray:
    return np.column_stack([x, np.ones(len(x))])


def _ridge(x: np.ndarray, y: np.ndarray, s: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the minimizer of (1/S)Σ s(ŷ − y)² + (λ/2)‖w‖², intercept last, and the Hessian."""
    rows = _with_ones(x)
    hessian = 2 * rows.T @ (s[:, None] / s.sum() * rows) + l2 * np.diag([1.0] * x.shape[1] + [0.0])
    return np.linalg.solve(hessian, 2 * rows.T @ (s / s.sum() * y)), hessian


def _r2(error: np.ndarray, y: np.ndarray, s: np.ndarray) -> float:
    centered = y - (s * y).sum() / s.sum()
    return 1 - (s * error**2).sum() / (s * centered**2).sum()


def _check_ridge() -> Check:
    """Return the check of ridge heads and of the scores of three contiguous folds."""
    x, y, s = _data("squared")
    s = s + 0.5

    def compute(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> Results:
        fit = heads.fit_heads(x, y, loss="squared", l2=PENALTIES, folds=3, sample_weight=s)
        return {"coef": fit.coef, "intercept": fit.intercept, "scores of the folds": np.asarray(fit.scores)}

    def expected(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> dict[str, Exact]:
        theta = np.array([_ridge(x, y, s, l2)[0] for l2 in PENALTIES])
        scores = np.zeros((3, len(PENALTIES)))
        for k, test in enumerate(np.array_split(np.arange(len(x)), 3)):
            train = np.setdiff1d(np.arange(len(x)), test)
            for j, l2 in enumerate(PENALTIES):
                theta_k, _ = _ridge(x[train], y[train], s[train], l2)
                scores[k, j] = _r2(y[test] - x[test] @ theta_k[:-1] - theta_k[-1], y[test], s[test])
        results = {"coef": theta[:, :-1], "intercept": theta[:, -1], "scores of the folds": scores}
        # 20 rounding errors of 1: the equations are well conditioned.
        return {name: Exact(value, 20.0, np.ones(value.shape)) for name, value in results.items()}

    return Check("fit_heads squared", compute, expected, (x, y, s), traced=False, covers=("Heads",))


def _check_leave_one_out() -> Check:
    """Return the check of R² of rows predicted by heads fitted to all other rows, at the λ·S of all rows."""
    x, y, s = _data("squared")
    s = s + 0.5

    def compute(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> Results:
        fit = heads.fit_heads(x, y, loss="squared", l2=PENALTIES, folds="leave-one-out", sample_weight=s)
        return {"scores": np.asarray(fit.scores)}

    def expected(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> dict[str, Exact]:
        scores = np.empty((1, len(PENALTIES)))
        for j, l2 in enumerate(PENALTIES):
            error = np.empty(len(y))
            for i in range(len(y)):
                train = np.arange(len(y)) != i
                theta, _ = _ridge(x[train], y[train], s[train], l2 * s.sum() / s[train].sum())
                error[i] = y[i] - x[i] @ theta[:-1] - theta[-1]
            scores[0, j] = _r2(error, y, s)
        return {"scores": Exact(scores, 20.0, np.ones(scores.shape))}

    return Check("fit_heads squared leave-one-out", compute, expected, (x, y, s), traced=False)


def _value(
    loss: CrossEntropy, theta: np.ndarray, x: np.ndarray, y: np.ndarray, s: np.ndarray, l2: float = 0.0
) -> float:
    return reference.value_and_grad(loss, theta[:-1], theta[-1], x, y, s, l2=l2)[0]


def _newton(
    loss: CrossEntropy, x: np.ndarray, y: np.ndarray, s: np.ndarray, l2: float, *, has_intercept: bool = True
) -> np.ndarray:
    """Return the minimizer, intercept last (0 if there is none), after 30 steps of Newton's method.

    Softmax heads have the shape (features + 1, classes). Adding a number to all of their intercepts changes
    nothing, so least squares selects the shortest steps.
    """
    rows = _with_ones(x) if has_intercept else x
    n_classes = CLASSES if loss == "softmax" else 1
    one_hot = np.eye(CLASSES)[y] if loss == "softmax" else y[:, None]
    penalty = np.repeat([l2] * x.shape[1] + [0.0] * has_intercept, n_classes)
    theta = np.zeros((rows.shape[1], n_classes))
    for _ in range(30):
        p = reference_losses.softmax(rows @ theta) if loss == "softmax" else reference_losses.sigmoid(rows @ theta)
        curvature = p[:, :, None] * np.eye(n_classes) - p[:, :, None] * p[:, None, :]
        hessian = np.einsum("n,ni,nj,nkl->ikjl", s / s.sum(), rows, rows, curvature)
        hessian = hessian.reshape(theta.size, theta.size) + np.diag(penalty)
        gradient = (rows.T @ (s[:, None] / s.sum() * (p - one_hot))).ravel() + penalty * theta.ravel()
        theta = theta - np.linalg.lstsq(hessian, gradient, rcond=1e-12)[0].reshape(theta.shape)
    theta = theta if has_intercept else np.vstack([theta, np.zeros(n_classes)])
    return theta if loss == "softmax" else theta[:, 0]


def _check_heads(loss: CrossEntropy) -> Check:
    """Return the check of J, of the certificate as a bound on the true gap, and of the scores of two folds."""
    data = _data(loss)
    train = np.arange(len(data[0])) % 2 == np.arange(2)[:, None]

    def optimal_values(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.array([_value(loss, _newton(loss, x, y, s, l2), x, y, s, l2) for l2 in PENALTIES])

    def compute(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> Results:
        fit = heads.fit_heads(x, y, loss=loss, l2=PENALTIES, folds=train, sample_weight=s, tol=TOL)
        thetas = np.concatenate([np.moveaxis(fit.coef, -1, 1), fit.intercept[:, None]], axis=1)
        values = np.array([_value(loss, theta, x, y, s, l2) for theta, l2 in zip(thetas, PENALTIES, strict=True)])
        is_covered = values - optimal_values(x, y, s) <= fit.certificate.gap
        return {"J": values, COVERED: is_covered, "scores of the folds": np.asarray(fit.scores)}

    def expected(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> dict[str, Exact]:
        optimum = optimal_values(x, y, s)
        scores = np.zeros((2, len(PENALTIES)))
        for k, rows in enumerate(train):
            for j, l2 in enumerate(PENALTIES):
                theta = _newton(loss, x[rows], y[rows], s[rows], l2)
                scores[k, j] = -_value(loss, theta, x[~rows], y[~rows], s[~rows])
        return {
            "J": Exact(optimum, 2.0, optimum * TOL / EPS, unit="tol·J"),
            COVERED: Exact(np.ones(len(PENALTIES)), 0.0),
            # J within tol determines θ, and thus a score, within about √tol.
            "scores of the folds": Exact(scores, 2.0, np.sqrt(TOL) / EPS * np.abs(scores), unit="√tol"),
        }

    return Check(f"fit_heads {loss}", compute, expected, data, traced=False)


def _check_soft_labels(loss: CrossEntropy) -> Check:
    """Return the check of heads of probabilities, against those of a weighted row for each class of each row."""
    x, y, s = _data(loss)
    table = 0.8 * np.eye(CLASSES)[y] + 0.2 / CLASSES if loss == "softmax" else 0.1 + 0.8 * y

    def copies(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y = np.column_stack([1 - y, y]) if y.ndim == 1 else y
        n_classes = y.shape[1]
        return np.repeat(x, n_classes, axis=0), np.tile(np.arange(n_classes), len(x)), (s[:, None] * y).ravel()

    def optimal_values(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> np.ndarray:
        rows = copies(x, y, s)
        return np.array([_value(loss, _newton(loss, *rows, l2), *rows, l2) for l2 in PENALTIES])

    def compute(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> Results:
        fit = heads.fit_heads(x, y, loss=loss, l2=PENALTIES, sample_weight=s, tol=TOL, progress=False)
        thetas = np.concatenate([np.moveaxis(fit.coef, -1, 1), fit.intercept[:, None]], axis=1)
        rows = copies(x, y, s)
        values = np.array([_value(loss, theta, *rows, l2) for theta, l2 in zip(thetas, PENALTIES, strict=True)])
        proof = certificate.certify(fit, x, y, s)
        return {
            "J": values,
            COVERED: values - optimal_values(x, y, s) <= proof.gap,
            "value": np.asarray(proof.value),
        }

    def expected(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> dict[str, Exact]:
        optimum = optimal_values(x, y, s)
        return {
            "J": Exact(optimum, 2.0, optimum * TOL / EPS, unit="tol·J"),
            COVERED: Exact(np.ones(len(PENALTIES)), 0.0),
            "value": Exact(optimum, 2.0, optimum * TOL / EPS, unit="tol·J"),
        }

    return Check(f"fit_heads {loss}, soft labels", compute, expected, (x, table, s), traced=False)


def _check_gap(name: str, loss: CrossEntropy, coef: np.ndarray) -> Check:
    """Return the check of a certificate without an intercept, where the duality gap is ‖∇J‖²/(2λ)."""

    def compute(x: np.ndarray, y: np.ndarray, s: np.ndarray, coef: np.ndarray) -> Results:
        proof = certificate.certify(certificate.LinearHeads(coef, None, L2, loss), x, y, s)
        return {"value": proof.value, "gradient norm": proof.gradient_norm, "gap": proof.gap - proof.rounding}

    def expected(x: np.ndarray, y: np.ndarray, s: np.ndarray, coef: np.ndarray) -> dict[str, Exact]:
        value, gradient, _ = reference.value_and_grad(loss, coef.T, np.zeros(coef.shape[:-1]), x, y, s, l2=L2)
        norm = np.sqrt((gradient**2).sum())
        return {
            "value": Exact(np.array(value), 10.0),
            "gradient norm": Exact(norm, 10.0, np.ones(())),
            "gap": Exact(norm**2 / (2 * L2), 10.0, norm / L2, unit="‖∇J‖/λ·ulp"),
        }

    return Check(name, compute, expected, (*_data(loss), coef), traced=False)


def _check_squared_gap() -> Check:
    """Return the check of the gap of the squared loss: ½ gᵀH⁻¹g, which equals J − J*."""
    theta = np.array([0.5, -1.0, 0.25, 0.125])

    def compute(x: np.ndarray, y: np.ndarray, s: np.ndarray, theta: np.ndarray) -> Results:
        proof = certificate.certify(certificate.LinearHeads(theta[:-1], theta[-1], L2, "squared"), x, y, s)
        return {"value": proof.value, "gap": proof.gap - proof.rounding}

    def expected(x: np.ndarray, y: np.ndarray, s: np.ndarray, theta: np.ndarray) -> dict[str, Exact]:
        value, _, _ = reference.value_and_grad("squared", theta[:-1], theta[-1], x, y, s, l2=L2)
        optimum, hessian = _ridge(x, y, s, L2)
        gap = (theta - optimum) @ hessian @ (theta - optimum) / 2
        return {"value": Exact(np.array(value), 10.0), "gap": Exact(gap, 20.0, np.array(value))}

    return Check("certify squared", compute, expected, (*_data("squared"), theta), traced=False)


def _check_tight_gap() -> Check:
    """Return the check that J − J* ≤ tight gap ≤ plain gap, for softmax heads away from the optimum."""

    def compute(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> Results:
        theta = _newton("softmax", x, y, s, L2)
        optimum = _value("softmax", theta, x, y, s, L2)
        theta = theta + 1e-2 * np.random.default_rng(4).normal(size=theta.shape)
        gap = _value("softmax", theta, x, y, s, L2) - optimum
        model = certificate.LinearHeads(theta[:-1].T, theta[-1], L2, "softmax")
        plain, tight = (certificate.certify(model, x, y, s, tight=tight).gap for tight in (False, True))
        return {COVERED: np.array(gap <= tight), "gap is at most the plain one": tight <= plain}

    def expected(*_: np.ndarray) -> dict[str, Exact]:
        return {name: Exact(np.array(1.0), 0.0) for name in (COVERED, "gap is at most the plain one")}

    return Check("certify tight", compute, expected, _data("softmax"), traced=False)
