"""The objective: value, gradient, Hessian and its products, of weighted rows, penalised, with an intercept."""

from typing import Any, Literal

import numpy as np

from dlcore import losses, models
from dlcore.models import LinearParams
from dlcore.objective import Objective
from dlcore.reference import losses as twin_losses
from dlcore.reference import models as twin_models
from dlcore.reference import objective as twins
from dlcore.verification.check import Check, Exact

ROWS, FEATURES, CLASSES, L2 = 40, 3, 3, 0.5
"""As many features as classes: a gradient that is transposed has the right shape."""

Name = Literal["logistic", "squared", "huber", "softmax"]


def checks(dtype: np.dtype) -> list[Check]:
    """Three losses of a number, the softmax's, and many models in one pass."""
    random = np.random.default_rng(0)
    weight = random.normal(size=(3, FEATURES)).astype(dtype)
    bias = np.array([-1.0, 0.5, 2.0], dtype)
    direction = random.normal(size=(3, FEATURES + 1)).astype(dtype)
    many = random.normal(size=(2, 4, FEATURES)).astype(dtype), random.normal(size=(2, 4)).astype(dtype)
    matrix = (
        random.normal(size=(3, FEATURES, CLASSES)).astype(dtype),
        random.normal(size=(3, CLASSES)).astype(dtype),
    )
    return [
        *(_of_a_number(name, dtype, weight, bias, direction) for name in ("logistic", "squared", "huber")),
        _of_classes(dtype, *matrix),
        _of_many(dtype, *many),
    ]


def data_of(name: Name, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, y, weights): weights over a decade, some of them 0."""
    random = np.random.default_rng(1)
    x = random.normal(size=(ROWS, FEATURES)).astype(dtype)
    weights = np.where(np.arange(ROWS) % 7 == 3, 0, 10 ** random.uniform(-0.5, 0.5, ROWS)).astype(dtype)
    if name == "softmax":
        return x, random.integers(0, CLASSES, ROWS), weights
    if name == "logistic":
        return x, (random.normal(size=ROWS) > 0).astype(dtype), weights
    return x, random.normal(size=ROWS).astype(dtype), weights


def objective_of(name: Name, l2: Any = L2) -> Objective:
    """A linear head with a loss, penalised."""
    if name == "softmax":
        return Objective(models.softmax, losses.softmax_cross_entropy, l2)
    if name == "logistic":
        return Objective(models.logistic, losses.sigmoid_cross_entropy, l2)
    return Objective(models.linear, losses.squared_error if name == "squared" else losses.huber, l2)


def _of_a_number(name: Name, dtype: np.dtype, *inputs: np.ndarray) -> Check:
    data = data_of(name, dtype)

    def of(weight: Any, bias: Any, v: Any) -> dict[str, Any]:
        objective, params = objective_of(name), LinearParams(weight, bias)
        value, gradient = objective.value_and_grad(params, data)
        product = objective.hvp(params, LinearParams(v[:-1], v[-1]), data)
        return {
            "value": objective.value(params, data),
            "value with gradient": value,
            "gradient": gradient.weight,
            "gradient (intercept)": gradient.bias,
            "Hessian": objective.hessian(params, data),
            "Hessian product": product.weight,
            "Hessian product (intercept)": product.bias,
        }

    def twin(weight: np.ndarray, bias: np.ndarray, v: np.ndarray) -> dict[str, Exact]:
        rows = [_number_twin(name, data, *one) for one in zip(weight, bias, v, strict=True)]
        return _stacked(rows)

    covers = tuple(f"objective.Objective.{method}" for method in ("value", "value_and_grad", "hvp", "hessian"))
    return Check(f"objective.Objective {name}", of, twin, inputs, covers=("objective.Objective", *covers))


def _number_twin(
    name: Name, data: tuple[np.ndarray, ...], weight: np.ndarray, bias: float, v: np.ndarray
) -> dict[str, tuple[Any, Any]]:
    """Every result with the sum of the magnitudes of its terms."""
    x, y, s = (part.astype(np.float64) for part in data)
    value, gradient, intercept = twins.value_and_grad(name, weight, bias, x, y, s, L2)
    z = twin_models.linear(weight, bias, x)
    rows, share = np.column_stack([x, np.ones(ROWS)]), s / s.sum()
    p = twin_losses.sigmoid(z)
    bend = {"logistic": p * (1 - p), "squared": np.full(ROWS, 2.0), "huber": 1.0 * (np.abs(z - y) <= 1)}[name]
    penalty = L2 * np.diag([1.0] * FEATURES + [0.0])
    hessian = np.einsum("i,ij,ik->jk", share * bend, rows, rows) + penalty
    size = np.einsum("i,ij,ik->jk", share * 2, np.abs(rows), np.abs(rows)) + penalty
    slope = 2 * (np.abs(x) @ np.abs(weight) + np.abs(bias) + np.abs(y) + 1)
    steep = np.abs(rows).T @ (share * slope) + L2 * np.append(np.abs(weight), 0)
    high = (share * slope**2).sum() + value
    product, along = hessian @ v, size @ np.abs(v)
    return {
        "value": (value, high),
        "value with gradient": (value, high),
        "gradient": (gradient, steep[:-1]),
        "gradient (intercept)": (intercept, steep[-1]),
        "Hessian": (hessian, size * 4),
        "Hessian product": (product[:-1], along[:-1] * 4),
        "Hessian product (intercept)": (product[-1], along[-1] * 4),
    }


def _of_classes(dtype: np.dtype, *inputs: np.ndarray) -> Check:
    data = data_of("softmax", dtype)

    def of(weight: Any, bias: Any) -> dict[str, Any]:
        value, gradient = objective_of("softmax").value_and_grad(LinearParams(weight, bias), data)
        return {"value": value, "gradient": gradient.weight, "gradient (intercept)": gradient.bias}

    def twin(weight: np.ndarray, bias: np.ndarray) -> dict[str, Exact]:
        x, y, s = data
        rows = []
        for w, b in zip(weight, bias, strict=True):
            value, gradient, intercept = twins.value_and_grad("softmax", w, b, x, y, s, L2)
            size = float(np.abs(x).max()) * (1 + np.abs(w).sum(0).max() + np.abs(b).max())
            rows.append(
                {
                    "value": (value, size + value),
                    "gradient": (gradient, size + L2 * np.abs(w)),
                    "gradient (intercept)": (intercept, np.full(CLASSES, size)),
                }
            )
        return _stacked(rows)

    return Check("objective.Objective softmax", of, twin, inputs, covers=("objective.Objective",))


def _of_many(dtype: np.dtype, *inputs: np.ndarray) -> Check:
    data, l2 = data_of("logistic", dtype), np.array([0.0, 0.1, 0.5, 2.0], dtype)

    def of(weight: Any, bias: Any) -> dict[str, Any]:
        values, gradients = objective_of("logistic").values_and_grads(LinearParams(weight, bias), data, l2)
        return {"values": values, "gradients": gradients.weight, "gradients (intercept)": gradients.bias}

    def twin(weight: np.ndarray, bias: np.ndarray) -> dict[str, Exact]:
        x, y, s = (part.astype(np.float64) for part in data)
        found = [
            [twins.value_and_grad("logistic", w[k], b[k], x, y, s, float(l2[k])) for k in range(len(l2))]
            for w, b in zip(weight, bias, strict=True)
        ]
        values, gradients, intercepts = (np.array([[one[k] for one in row] for row in found]) for k in range(3))
        size = (1 + np.abs(x).max() * np.abs(weight).sum(-1)) * (1 + l2)
        return {
            "values": _summed(values, size**2),
            "gradients": _summed(gradients, size[..., None] * np.abs(x).max()),
            "gradients (intercept)": _summed(intercepts, size),
        }

    covers = ("objective.Objective", "objective.Objective.values_and_grads")
    return Check("objective.Objective of many", of, twin, inputs, covers=covers)


def _stacked(rows: list[dict[str, tuple[Any, Any]]]) -> dict[str, Exact]:
    return {name: _summed(*(np.array([row[name][k] for row in rows]) for k in range(2))) for name in rows[0]}


def _summed(value: np.ndarray, size: np.ndarray) -> Exact:
    """Sums over n = features + 1 terms in a sum over the rows, whose roundings mostly cancel."""
    return Exact(value, 1.0, (FEATURES + 1) * size, unit="n·ulp")
