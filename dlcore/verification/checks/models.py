"""Checks of the models: outputs, predictions and initial parameters."""

from typing import Literal

import jax
import numpy as np

from dlcore import models
from dlcore._core.types import Array, Params
from dlcore.devices import to_device
from dlcore.models import LinearParams, Model
from dlcore.reference import losses as reference_losses
from dlcore.reference import models as reference
from dlcore.reference import network
from dlcore.verification.check import Check, Exact, Results

FEATURES, HIDDEN, CLASSES = 5, 4, 3

Activation = Literal["tanh", "relu"]


def checks(dtype: np.dtype) -> list[Check]:
    """Return checks of each model with nonzero weights and biases, and of the initial parameters of networks."""
    random = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return random.normal(size=(4, *shape)).astype(dtype)

    x = draw(FEATURES)
    vector = (draw(FEATURES), draw(), x)
    matrix = (draw(FEATURES, CLASSES), draw(CLASSES), x)
    layers = (draw(FEATURES, HIDDEN), draw(HIDDEN), draw(HIDDEN, CLASSES), draw(CLASSES), x)

    def compute(name: str, weight: Array, bias: Array, x: Array) -> Results:
        return _apply_and_predict(getattr(models, name), LinearParams(weight, bias), x)

    return [
        Check("models.linear", lambda *a: compute("linear", *a), _linear, vector, covers=("models.LinearParams",)),
        Check("models.logistic", lambda *a: compute("logistic", *a), _logistic, vector, covers=("models.Model",)),
        Check("models.softmax", lambda *a: compute("softmax", *a), _softmax, matrix),
        *(_check_mlp(activation, layers) for activation in ("tanh", "relu")),
        *(_check_initial_parameters(activation, dtype) for activation in ("tanh", "relu")),
    ]


def _apply_and_predict(model: Model, params: Params, x: Array) -> Results:
    return {"apply": model.apply(params, x), "predict": model.predict(params, x)}


def _exact(output: np.ndarray, magnitude: np.ndarray, probability: np.ndarray | None = None) -> dict[str, Exact]:
    """Return the results for outputs, the sums of the magnitudes of their terms, and probabilities.

    An output has n rounding errors of the sum of magnitudes. The relative error of a probability is the absolute
    error of its logit.
    """
    applied = Exact(output, 1.0, FEATURES * magnitude, unit="n·ulp")
    if probability is None:
        return {"apply": applied, "predict": applied}
    largest = magnitude if output.ndim == 1 else magnitude.max(-1, keepdims=True)
    predicted = Exact(probability, 2.0, FEATURES * (1 + largest) * probability, unit="n·ulp")
    return {"apply": applied, "predict": predicted}


def _linear(weight: np.ndarray, bias: np.ndarray, x: np.ndarray) -> dict[str, Exact]:
    return _exact(reference.linear(weight, bias, x), np.abs(weight * x).sum(-1) + np.abs(bias))


def _logistic(weight: np.ndarray, bias: np.ndarray, x: np.ndarray) -> dict[str, Exact]:
    magnitude = np.abs(weight * x).sum(-1) + np.abs(bias)
    return _exact(reference.linear(weight, bias, x), magnitude, reference.logistic(weight, bias, x))


def _softmax(weight: np.ndarray, bias: np.ndarray, x: np.ndarray) -> dict[str, Exact]:
    magnitude = np.abs(x[..., None] * weight).sum(-2) + np.abs(bias)
    return _exact(reference.affine(weight, bias, x), magnitude, reference.softmax(weight, bias, x))


def _check_mlp(activation: Activation, inputs: tuple[np.ndarray, ...]) -> Check:
    def compute(w1: Array, b1: Array, w2: Array, b2: Array, x: Array) -> Results:
        model = models.mlp((FEATURES, HIDDEN, CLASSES), activation)
        return _apply_and_predict(model, (LinearParams(w1, b1), LinearParams(w2, b2)), x)

    def expected(*arrays: np.ndarray) -> dict[str, Exact]:
        logits, magnitudes = [], []
        for w1, b1, w2, b2, x in zip(*arrays, strict=True):
            _, hidden, output = network.forward(network.Layers(w1, b1, w2, b2), x[None], activation)
            logits.append(output[0])
            # Rounding errors of the first layer pass an activation of slope at most 1 and the second layer.
            first = np.abs(x) @ np.abs(w1) + np.abs(b1)
            magnitudes.append((first + np.abs(hidden[0])) @ np.abs(w2) + np.abs(b2))
        return _exact(np.array(logits), np.array(magnitudes), reference_losses.softmax(np.array(logits)))

    return Check(f"models.mlp {activation}", compute, expected, inputs)


def _check_initial_parameters(activation: Activation, dtype: np.dtype) -> Check:
    """Return the check of mean and variance of 20,000 weights, within six deviations, and of zero biases."""
    n_in, n_out = 200, 100
    variance = 2 / (n_in + n_out) if activation == "tanh" else 2 / n_in
    variance_of_squares = 0.8 if activation == "tanh" else 2.0  # of w²/Var w, for a uniform and a normal w
    eps, count = float(np.finfo(dtype).eps), n_in * n_out

    def compute(seed: np.ndarray) -> Results:
        key = jax.random.key(to_device(np.uint32(seed[0])))
        layer = models.mlp((n_in, n_out, 1), activation).init(key)[0]
        weight = np.asarray(layer.weight, np.float64)
        return {"mean": weight.mean(), "variance": (weight**2).mean() / variance, "biases": layer.bias}

    def expected(_: np.ndarray) -> dict[str, Exact]:
        return {
            "mean": Exact(np.zeros(()), 6.0, np.sqrt(variance / count) / eps, unit="deviations"),
            "variance": Exact(np.ones(()), 6.0, np.sqrt(variance_of_squares / count) / eps, unit="deviations"),
            "biases": Exact(np.zeros(n_out), 0.0),
        }

    return Check(f"models.mlp {activation} init", compute, expected, (np.zeros(1, np.int32),), traced=False)
