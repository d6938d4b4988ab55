"""Checks of the objective: value, gradient, Hessian and Hessian products of weighted, penalised linear heads."""

from typing import Literal

import numpy as np

from dlcore import losses, models
from dlcore._core.types import Array, Numeric
from dlcore.models import LinearParams
from dlcore.objective import Objective
from dlcore.reference import losses as reference_losses
from dlcore.reference import models as reference_models
from dlcore.reference import objective as reference
from dlcore.verification.check import Check, Exact, Results

ROWS, FEATURES, CLASSES, L2 = 40, 3, 3, 0.5
"""As many classes as features: a transposed gradient has the correct shape, and its values must reveal it."""

Head = Literal["logistic", "squared", "huber", "softmax"]
Terms = dict[str, tuple[np.ndarray | float, np.ndarray | float]]
"""Named results, each with the sum of the magnitudes of its terms."""


def checks(dtype: np.dtype) -> list[Check]:
    """Return checks of three losses of one output, of the softmax, and of several models in one pass."""
    random = np.random.default_rng(0)
    weight = random.normal(size=(3, FEATURES)).astype(dtype)
    bias = np.array([-1.0, 0.5, 2.0], dtype)
    direction = random.normal(size=(3, FEATURES + 1)).astype(dtype)
    several = random.normal(size=(2, 4, FEATURES)).astype(dtype), random.normal(size=(2, 4)).astype(dtype)
    softmax = (
        random.normal(size=(3, FEATURES, CLASSES)).astype(dtype),
        random.normal(size=(3, CLASSES)).astype(dtype),
    )
    return [
        *(_check_one_output(head, dtype, weight, bias, direction) for head in ("logistic", "squared", "huber")),
        _check_softmax(dtype, *softmax),
        _check_several_models(dtype, *several),
    ]


def make_data(head: Head, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y and the weights of the rows, which span a decade and include 0."""
    random = np.random.default_rng(1)
    x = random.normal(size=(ROWS, FEATURES)).astype(dtype)
    weights = np.where(np.arange(ROWS) % 7 == 3, 0, 10 ** random.uniform(-0.5, 0.5, ROWS)).astype(dtype)
    if head == "softmax":
        return x, random.integers(0, CLASSES, ROWS), weights
    y = random.normal(size=ROWS)
    return x, (y > 0 if head == "logistic" else y).astype(dtype), weights


def make_objective(head: Head, l2: Numeric = L2) -> Objective:
    """Return the penalised objective of a linear head."""
    if head == "softmax":
        return Objective(models.softmax, losses.softmax_cross_entropy, l2)
    if head == "logistic":
        return Objective(models.logistic, losses.sigmoid_cross_entropy, l2)
    return Objective(models.linear, losses.squared_error if head == "squared" else losses.huber, l2)


def _check_one_output(head: Head, dtype: np.dtype, *inputs: np.ndarray) -> Check:
    data = make_data(head, dtype)

    def compute(weight: Array, bias: Array, v: Array) -> Results:
        objective, params = make_objective(head), LinearParams(weight, bias)
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

    def expected(weight: np.ndarray, bias: np.ndarray, v: np.ndarray) -> dict[str, Exact]:
        return _stack([_one_output(head, data, *example) for example in zip(weight, bias, v, strict=True)])

    methods = tuple(f"objective.Objective.{name}" for name in ("value", "value_and_grad", "hvp", "hessian"))
    covers = ("objective.Objective", *methods)
    return Check(f"objective.Objective {head}", compute, expected, inputs, covers=covers)


def _one_output(
    head: Head, data: tuple[np.ndarray, ...], weight: np.ndarray, bias: np.ndarray, v: np.ndarray
) -> Terms:
    x, y, s = (array.astype(np.float64) for array in data)
    value, gradient, intercept = reference.value_and_grad(head, weight, bias, x, y, s, l2=L2)
    z = reference_models.linear(weight, bias, x)
    rows, share = np.column_stack([x, np.ones(ROWS)]), s / s.sum()
    p = reference_losses.sigmoid(z)
    curvature = {"logistic": p * (1 - p), "squared": np.full(ROWS, 2.0), "huber": 1.0 * (np.abs(z - y) <= 1)}[head]
    penalty = L2 * np.diag([1.0] * FEATURES + [0.0])
    hessian = np.einsum("i,ij,ik->jk", share * curvature, rows, rows) + penalty
    hessian_size = np.einsum("i,ij,ik->jk", share * 2, np.abs(rows), np.abs(rows)) + penalty
    slope = 2 * (np.abs(x) @ np.abs(weight) + np.abs(bias) + np.abs(y) + 1)
    gradient_size = np.abs(rows).T @ (share * slope) + L2 * np.append(np.abs(weight), 0)
    value_size = (share * slope**2).sum() + value
    product, product_size = hessian @ v, hessian_size @ np.abs(v)
    return {
        "value": (value, value_size),
        "value with gradient": (value, value_size),
        "gradient": (gradient, gradient_size[:-1]),
        "gradient (intercept)": (intercept, gradient_size[-1]),
        "Hessian": (hessian, hessian_size * 4),
        "Hessian product": (product[:-1], product_size[:-1] * 4),
        "Hessian product (intercept)": (product[-1], product_size[-1] * 4),
    }


def _check_softmax(dtype: np.dtype, *inputs: np.ndarray) -> Check:
    data = make_data("softmax", dtype)

    def compute(weight: Array, bias: Array) -> Results:
        value, gradient = make_objective("softmax").value_and_grad(LinearParams(weight, bias), data)
        return {"value": value, "gradient": gradient.weight, "gradient (intercept)": gradient.bias}

    def expected_one(w: np.ndarray, b: np.ndarray) -> Terms:
        value, gradient, intercept = reference.value_and_grad("softmax", w, b, *data, l2=L2)
        size = float(np.abs(data[0]).max()) * (1 + np.abs(w).sum(0).max() + np.abs(b).max())
        return {
            "value": (value, size + value),
            "gradient": (gradient, size + L2 * np.abs(w)),
            "gradient (intercept)": (intercept, np.full(CLASSES, size)),
        }

    def expected(weight: np.ndarray, bias: np.ndarray) -> dict[str, Exact]:
        return _stack([expected_one(w, b) for w, b in zip(weight, bias, strict=True)])

    return Check("objective.Objective softmax", compute, expected, inputs, covers=("objective.Objective",))


def _check_several_models(dtype: np.dtype, *inputs: np.ndarray) -> Check:
    data, l2 = make_data("logistic", dtype), np.array([0.0, 0.1, 0.5, 2.0], dtype)

    def compute(weight: Array, bias: Array) -> Results:
        values, gradients = make_objective("logistic").values_and_grads(LinearParams(weight, bias), data, l2)
        return {"values": values, "gradients": gradients.weight, "gradients (intercept)": gradients.bias}

    def expected(weight: np.ndarray, bias: np.ndarray) -> dict[str, Exact]:
        x, y, s = (array.astype(np.float64) for array in data)
        results = [
            [reference.value_and_grad("logistic", w[k], b[k], x, y, s, l2=float(l2[k])) for k in range(len(l2))]
            for w, b in zip(weight, bias, strict=True)
        ]
        values, gradients, intercepts = (
            np.array([[model[k] for model in row] for row in results]) for k in range(3)
        )
        size = (1 + np.abs(x).max() * np.abs(weight).sum(-1)) * (1 + l2)
        return {
            "values": _sum(values, size**2),
            "gradients": _sum(gradients, size[..., None] * np.abs(x).max()),
            "gradients (intercept)": _sum(intercepts, size),
        }

    covers = ("objective.Objective", "objective.Objective.values_and_grads")
    return Check("objective.Objective of many", compute, expected, inputs, covers=covers)


def _stack(examples: list[Terms]) -> dict[str, Exact]:
    return {
        name: _sum(*(np.array([terms[name][k] for terms in examples]) for k in range(2))) for name in examples[0]
    }


def _sum(value: np.ndarray, size: np.ndarray) -> Exact:
    """Return a result with the error bound of n = features + 1 terms; the rounding errors of the rows cancel."""
    return Exact(value, 1.0, (FEATURES + 1) * size, unit="n·ulp")
