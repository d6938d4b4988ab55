"""Every public function refuses invalid data by name, before anything is compiled."""

import importlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from bad_data import CERTIFIED, DATA
from helpers import DTYPE

import dlcore
from dlcore import (
    Heads,
    Objective,
    calculus,
    certify,
    descent,
    fit,
    fit_heads,
    graph,
    linalg,
    losses,
    models,
    sweep,
    tensors,
    verify,
)
from dlcore.certificate import data_report

A = np.eye(3, dtype=DTYPE)
V = np.ones(3, DTYPE)
ONE = np.asarray(0.5, DTYPE)
LABELS = np.array([0, 1, 0])
OBJECTIVE = Objective(models.logistic, losses.sigmoid_cross_entropy)
START = models.LinearParams(np.zeros(3, DTYPE), np.zeros((), DTYPE))
LAYOUT = tensors.Layout("row column example", over="example")


def square(x):
    return (x * x).sum()


def linear_algebra() -> dict[str, tuple[str, Callable[[Any], Any]]]:
    """Return the functions of dlcore.linalg for each of their array arguments."""
    unary = dict.fromkeys(("cond", "inv", "is_orthogonal", "is_symmetric", "matrix_norm", "matrix_rank"), "a")
    unary |= dict.fromkeys(("matrix_transpose", "pinv", "spectral_norm", "trace"), "a")
    unary |= {"vector_norm": "x", "are_orthonormal": "vectors", "identity": "n"}
    two = dict.fromkeys(("add", "lstsq", "matmul", "multiply", "solve"), ("a", "b"))
    two |= dict.fromkeys(("angle", "are_orthogonal", "outer", "vecdot"), ("x", "y"))
    functions: dict[str, tuple[str, Callable[[Any], Any]]] = {}
    for name, argument in unary.items():
        functions[f"linalg.{name}"] = argument, getattr(linalg, name)
    for name, (first, second) in two.items():
        f, good = getattr(linalg, name), V if name == "outer" else A
        functions[f"linalg.{name} {first}"] = first, lambda bad, f=f, good=good: f(bad, good)
        functions[f"linalg.{name} {second}"] = second, lambda bad, f=f, good=good: f(good, bad)
    return functions


ENTRIES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **linear_algebra(),
    "losses.sigmoid": ("logit", losses.sigmoid),
    "losses.softmax": ("logits", losses.softmax),
    "losses.softmax_cross_entropy logits": ("logits", lambda bad: losses.softmax_cross_entropy(bad, 1)),
    "losses.softmax_cross_entropy label": ("label", lambda bad: losses.softmax_cross_entropy(V, bad)),
    "losses.binary_cross_entropy": ("probability", lambda bad: losses.binary_cross_entropy(bad, ONE)),
    "losses.sigmoid_cross_entropy": ("logit", lambda bad: losses.sigmoid_cross_entropy(bad, ONE)),
    "losses.squared_error": ("prediction", lambda bad: losses.squared_error(bad, ONE)),
    "losses.absolute_error": ("prediction", lambda bad: losses.absolute_error(bad, ONE)),
    "losses.huber": ("prediction", lambda bad: losses.huber(bad, ONE)),
    "losses.half_poisson_deviance": ("log_rate", lambda bad: losses.half_poisson_deviance(bad, ONE)),
    "losses.squared_error target": ("target", lambda bad: losses.squared_error(ONE, bad)),
    "losses.sigmoid_cross_entropy target": ("target", lambda bad: losses.sigmoid_cross_entropy(ONE, bad)),
    "calculus.derivative": ("x", calculus.derivative(square)),
    "calculus.gradient": ("x", calculus.gradient(square)),
    "calculus.jacobian": ("x", calculus.jacobian(square)),
    "calculus.partial": ("derivative|partial", lambda bad: calculus.partial(bad, 0)),
    "calculus.directional_derivative x": ("x", lambda bad: calculus.directional_derivative(square, bad, V)),
    "calculus.directional_derivative v": ("v", lambda bad: calculus.directional_derivative(square, V, bad)),
    "calculus.central_difference": ("x", lambda bad: calculus.central_difference(square, bad, ONE)),
    "calculus.difference_quotient": ("h", lambda bad: calculus.difference_quotient(square, ONE, bad)),
    "calculus.check_gradient": (
        "f|check_gradient|function",
        lambda bad: calculus.check_gradient(bad, V),
    ),
    "graph.trace": ("f", lambda bad: graph.trace(bad, 1.0)),
    "tensors.Layout": ("Layout", tensors.Layout),
    "tensors.Layout.check": ("x", LAYOUT.check),
    "tensors.Layout.axis": ("Layout", LAYOUT.axis),
    "tensors.over_examples": ("over_examples", lambda bad: tensors.over_examples(bad, LAYOUT)),
    "models.mlp": ("sizes", models.mlp),
    "models.mlp activation": ("activation", lambda bad: models.mlp((3, 1), activation=bad)),
    "models.linear": ("x", lambda bad: models.linear.apply(START, bad)),
    "models.logistic": ("params", lambda bad: models.logistic.apply(bad, jnp.asarray(V))),
    "descent.gradient_descent": ("rate", descent.gradient_descent),
    "descent.momentum": ("rate", descent.momentum),
    "descent.nesterov": ("rate", descent.nesterov),
    "descent.accelerated": ("rate", descent.accelerated),
    "descent.adam": ("rate", descent.adam),
    "descent.lipschitz_step": ("data", lambda bad: descent.lipschitz_step(OBJECTIVE, bad)),
    "Objective l2": ("l2", lambda bad: Objective(models.logistic, losses.sigmoid_cross_entropy, bad)),
    "Objective.value params": ("params", lambda bad: OBJECTIVE.value(bad, (A, V))),
    "Objective.value data": ("data", lambda bad: OBJECTIVE.value(START, bad)),
    "Objective.value x": ("x", lambda bad: OBJECTIVE.value(START, (bad, V))),
    "Objective.value y": ("y", lambda bad: OBJECTIVE.value(START, (A, bad))),
    "Objective.value_and_grad": ("params", lambda bad: OBJECTIVE.value_and_grad(bad, (A, V))),
    "Objective.values_and_grads": ("params", lambda bad: OBJECTIVE.values_and_grads(bad, (A, V))),
    "Objective.hvp": ("params", lambda bad: OBJECTIVE.hvp(bad, START, (A, V))),
    "Objective.hessian": ("params", lambda bad: OBJECTIVE.hessian(bad, (A, V))),
    "fit": ("data", lambda bad: fit(OBJECTIVE, bad, descent.gradient_descent(0.1))),
    "sweep": (
        "settings",
        lambda bad: sweep(OBJECTIVE, (A, LABELS), lambda setting: descent.gradient_descent(setting["rate"]), bad),
    ),
    "fit_heads": ("l2", lambda bad: fit_heads(A, LABELS, l2=bad)),
    "certify": ("heads", lambda bad: certify(bad, A, LABELS)),
    "Heads.load": ("path", Heads.load),
    "verify": ("device", verify),
}

NO_DATA = {
    "None": None,
    "a string": "a",
    "strings": np.array(["a"]),
    "objects": np.array([None, 1.0]),
    "a text among objects": np.array([0.5, "0.5"], object),
    "a dictionary": {},
    "complex": A + 1j,
    "masked": np.ma.masked_array(A, A > 0),
}

MEANT = {
    # These functions accept strings as names of axes, or complex numbers.
    ("tensors.Layout.check", "complex"),
    ("models.linear", "complex"),
    ("calculus.difference_quotient", "complex"),
    ("calculus.central_difference", "complex"),
    *((f"calculus.directional_derivative {name}", "complex") for name in ("x", "v")),
    *((name, "complex") for name in ENTRIES if name.startswith("linalg.")),
}
"""Pairs that are accepted, or whose result depends on the shape alone."""


@pytest.fixture(autouse=True, scope="module")
def arrays_on_the_device():
    """Put arrays on the device first: JAX compiles a program for the copy, which is not counted."""
    for array in (A, A[:2], V, ONE, A + 1j, np.asarray(0.0, DTYPE)):
        jnp.asarray(array)
    jnp.asarray(1)


@pytest.mark.parametrize("kind", NO_DATA)
@pytest.mark.parametrize("entry", ENTRIES)
def test_invalid_data_is_refused_by_name(entry, kind, compiles):
    if (entry, kind) in MEANT:
        pytest.skip("a meaning of its own")
    argument, call = ENTRIES[entry]
    function = entry.split()[0].rpartition(".")[2]
    with pytest.raises((ValueError, TypeError), match=rf"\b({argument}|{function})\b") as caught:
        call(NO_DATA[kind])
    assert "/dlcore/" in str(caught.traceback[-1].path), caught.value
    assert compiles() == 0


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("entry", ["linalg.inv", "linalg.multiply b", "losses.sigmoid", "Objective.value x"])
def test_np_matrix_is_refused(entry, compiles):
    argument, call = ENTRIES[entry]
    with pytest.raises(TypeError, match=rf"^{argument}: np.matrix is not supported, pass np.asarray"):
        call(np.matrix(A))
    assert compiles() == 0


@pytest.mark.parametrize("name", ["angle", "are_orthogonal", "vecdot"])
def test_vectors_of_different_lengths_are_named_with_their_shapes(name, compiles):
    with pytest.raises(ValueError, match=r"^(angle|are_orthogonal|vecdot): .*; got shapes .*3.* and .*2"):
        getattr(linalg, name)(A, A[:2])
    assert compiles() == 0


@pytest.mark.parametrize("case", [case for case in CERTIFIED if case not in ("sparse", "2-D y", "labels ±1")])
def test_fit_heads_and_data_report_raise_the_same_error(case, compiles):
    (x, y, *weights), error, message = DATA[case]
    start = message.partition(":")[0] if ":" in message else message.partition(" ")[0]
    with pytest.raises((ValueError, TypeError)) as caught:
        fit_heads(x, y, l2=0.1, sample_weight=weights[0] if weights else None)
    assert start.replace("weights", "sample_weight") in str(caught.value)
    assert "/dlcore/" in str(caught.traceback[-1].path), caught.value
    with pytest.raises(error, match=start):
        data_report(x, y, *weights)
    assert compiles() == 0


REASONS = {
    "losses.LossInfo": "holds what is known of a loss",
    "losses.get_loss_info": "reads an attribute; what has none has no facts",
    "losses.with_loss_info": "states what its caller knows",
    "linalg.LeastSquares": "a result",
    "calculus.Differentiable": "a pair of functions, checked in test_calculus",
    "calculus.GradientCheck": "a result",
    "graph.Graph": "a result",
    "graph.Node": "a part of a result",
    "models.LinearParams": "a tuple of parameters, checked where they are used",
    "models.Model": "a tuple of functions, checked by Objective",
    "descent.rule": "takes functions of those who add a rule",
    "objective.Batch": "a part of data that a loop chose",
    "objective.BlockedData": "made by prepare, and checked by fit",
    "objective.penalised": "selects leaves of any tree",
    "objective.run_program": "takes programs of those who add a pass",
    "objective.sum_over_blocks": "takes a summand of those who add a pass",
    "Certificate": "a result",
    "Fit": "a result",
    "GridEdgeWarning": "a warning",
    "compilation_cache": "has tests of its own, because a good call changes settings of JAX",
    "LinearHeads": "holds heads, checked by certify",
    "Status": "a word",
    "Sweep": "a result",
}


def test_every_public_function_is_in_the_table_or_has_a_reason():
    public = {name for name in dlcore.__all__ if callable(getattr(dlcore, name))}
    for folder in ("calculus", "descent", "graph", "linalg", "losses", "models", "objective", "tensors"):
        module = importlib.import_module(f"dlcore.{folder}")
        names = {f"{folder}.{name}" for name in module.__all__ if callable(getattr(module, name))}
        public |= {name for name in names if name.rpartition(".")[2] not in public}
    tried = {entry.split()[0] for entry in ENTRIES} | {"models.softmax"}
    tried |= {entry.rpartition(".")[0] for entry in tried}
    assert public - tried - set(REASONS) == {
        name for name in public if isinstance(_of(name), calculus.Differentiable)
    }
    assert set(REASONS) <= public


def _of(name: str) -> object:
    folder, _, last = name.rpartition(".")
    return getattr(importlib.import_module(f"dlcore.{folder}" if folder else "dlcore"), last)


def test_missing_attributes_of_heads_are_named():
    with pytest.raises(TypeError, match=r"^heads: expected LinearHeads.*, got int without coef, .*loss$"):
        certify(3, A, LABELS)  # pyright: ignore[reportArgumentType]
