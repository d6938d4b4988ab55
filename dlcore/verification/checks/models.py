"""Models of one example, and their predictions, against the twins."""

from typing import Any

import jax
import numpy as np

from dlcore import models
from dlcore.devices import to_device
from dlcore.models import LinearParams
from dlcore.reference import losses as twin_losses
from dlcore.reference import models as twins
from dlcore.reference import network
from dlcore.verification.check import Check, Exact

FEATURES, HIDDEN, CLASSES = 5, 4, 3


def checks(dtype: np.dtype) -> list[Check]:
    """Each with weights and biases that are not 0."""
    random = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return random.normal(size=(4, *shape)).astype(dtype)

    x = draw(FEATURES)
    vector = (draw(FEATURES), draw(), x)
    matrix = (draw(FEATURES, CLASSES), draw(CLASSES), x)
    layers = (draw(FEATURES, HIDDEN), draw(HIDDEN), draw(HIDDEN, CLASSES), draw(CLASSES), x)
    return [
        Check("models.linear", lambda *a: _of("linear", *a), _vector, vector, covers=("models.LinearParams",)),
        Check("models.logistic", lambda *a: _of("logistic", *a), _logistic, vector, covers=("models.Model",)),
        Check("models.softmax", lambda *a: _of("softmax", *a), _softmax, matrix),
        *(
            Check(f"models.mlp {bend}", lambda *a, bend=bend: _mlp(bend, *a), _twin_of_mlp(bend), layers)
            for bend in ("tanh", "relu")
        ),
        *(_drawn(bend, dtype) for bend in ("tanh", "relu")),
    ]


def _drawn(bend: Any, dtype: np.dtype) -> Check:
    """What `init` draws: mean and variance of a layer of 20,000 weights, within six deviations; biases of 0."""
    wide, narrow = 200, 100
    variance = 2 / (wide + narrow) if bend == "tanh" else 2 / wide
    of_squares = 0.8 if bend == "tanh" else 2.0  # the variance of w²/Var w: of a uniform, of a normal distribution
    eps, count = float(np.finfo(dtype).eps), wide * narrow

    def of(seed: np.ndarray) -> dict[str, Any]:
        layer = models.mlp((wide, narrow, 1), bend).init(jax.random.key(to_device(np.uint32(seed[0]))))[0]
        weight = np.asarray(layer.weight, np.float64)
        return {"mean": weight.mean(), "variance": (weight**2).mean() / variance, "biases": layer.bias}

    def twin(_: np.ndarray) -> dict[str, Exact]:
        return {
            "mean": Exact(np.zeros(()), 6.0, np.sqrt(variance / count) / eps, unit="deviations"),
            "variance": Exact(np.ones(()), 6.0, np.sqrt(of_squares / count) / eps, unit="deviations"),
            "biases": Exact(np.zeros(narrow), 0.0),
        }

    return Check(f"models.mlp {bend} init", of, twin, (np.zeros(1, np.int32),), traced=False)


def _of(name: str, weight: Any, bias: Any, x: Any) -> dict[str, Any]:
    model, params = getattr(models, name), LinearParams(weight, bias)
    return {"apply": model.apply(params, x), "predict": model.predict(params, x)}


def _applied(value: np.ndarray, terms: np.ndarray) -> Exact:
    """A sum of products: n roundings of the sum of their magnitudes."""
    return Exact(value, 1.0, FEATURES * terms, unit="n·ulp")


def _predicted(value: np.ndarray, terms: np.ndarray) -> Exact:
    """A probability: relative to it, the error of the logit, which is that of n roundings."""
    return Exact(value, 2.0, FEATURES * (1 + terms) * value, unit="n·ulp")


def _vector(weight: np.ndarray, bias: np.ndarray, x: np.ndarray) -> dict[str, Exact]:
    terms = (np.abs(weight * x)).sum(-1) + np.abs(bias)
    applied = _applied(twins.linear(weight, bias, x), terms)
    return {"apply": applied, "predict": applied}


def _logistic(weight: np.ndarray, bias: np.ndarray, x: np.ndarray) -> dict[str, Exact]:
    terms = (np.abs(weight * x)).sum(-1) + np.abs(bias)
    return {
        "apply": _applied(twins.linear(weight, bias, x), terms),
        "predict": _predicted(twins.logistic(weight, bias, x), terms),
    }


def _softmax(weight: np.ndarray, bias: np.ndarray, x: np.ndarray) -> dict[str, Exact]:
    terms = (np.abs(x[..., None] * weight)).sum(-2) + np.abs(bias)
    return {
        "apply": _applied(twins.affine(weight, bias, x), terms),
        "predict": _predicted(twins.softmax(weight, bias, x), terms.max(-1, keepdims=True)),
    }


def _mlp(bend: Any, *arrays: Any) -> dict[str, Any]:
    *layers, x = arrays
    params = (LinearParams(*layers[:2]), LinearParams(*layers[2:]))
    model = models.mlp((FEATURES, HIDDEN, CLASSES), bend)
    return {"apply": model.apply(params, x), "predict": model.predict(params, x)}


def _twin_of_mlp(bend: Any) -> Any:
    def twin(*arrays: np.ndarray) -> dict[str, Exact]:
        logits, terms = [], []
        for *layers, x in zip(*arrays, strict=True):
            _, hidden, last = network.forward(network.Layers(*layers), x[None], bend)
            logits.append(last[0])
            # What rounding in the first layer may come to, through a bend of slope 1 at most, and of the second.
            first = np.abs(x) @ np.abs(layers[0]) + np.abs(layers[1])
            terms.append((first + np.abs(hidden[0])) @ np.abs(layers[2]) + np.abs(layers[3]))
        value, size = np.array(logits), np.array(terms)
        probability = twin_losses.softmax(value)
        return {"apply": _applied(value, size), "predict": _predicted(probability, size.max(-1, keepdims=True))}

    return twin
