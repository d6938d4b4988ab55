"""Argument names, losses and labels of other libraries are refused with a hint to those of dlcore."""

from typing import Any, cast

import numpy as np
import pytest

from dlcore import LinearHeads, Objective, certify, descent, fit, fit_heads, losses, models, sweep
from dlcore.certificate import data_report

pytestmark = pytest.mark.any_mode

N = 40
X = np.random.default_rng(0).normal(size=(N, 3))
Y = (X[:, 0] > 0).astype(int)
TEN = np.arange(N) % 10
OBJECTIVE = Objective(models.logistic, losses.sigmoid_cross_entropy, 0.1)
HEADS = LinearHeads(np.zeros(3), 0.0, 0.1)
RULE = descent.gradient_descent(0.1)
CALLS: dict[str, Any] = {
    "fit_heads": lambda y=Y, **given: fit_heads(X, y, **given),
    "certify": lambda y=Y, **given: certify(HEADS, X, y, **given),
    "fit": lambda y=Y, **given: fit(OBJECTIVE, (X, y), RULE, **given),
    "sweep": lambda y=Y, **given: sweep(OBJECTIVE, (X, y), lambda _: RULE, {"l2": [1.0]}, **given),
}
WHERE = {"fit_heads": "", "certify": " of the heads", "fit": " of the Objective", "sweep": " of the Objective"}


NAMES = ("C", "Cs", "alpha", "alphas", "lam", "lambda_", "reg", "penalty", "weight_decay")


@pytest.mark.parametrize(
    ("call", "name"),
    [(call, name) for call in CALLS for name in NAMES if call != "fit_heads" or name not in ("C", "alpha")],
)
def test_penalty_names_of_other_libraries(call, name, compiles):
    for more in ({}, {"l2": 0.1} if call == "fit_heads" else {}):
        with pytest.raises(TypeError, match=rf"^{call}\(\) got an unexpected keyword argument '{name}'") as caught:
            CALLS[call](**{name: 1.0}, **more)
        assert f"it takes l2, the strength of the penalty{WHERE[call]}: " in str(caught.value)
        for relation in ("l2 = 1/(C·S)", "l2 = 2·alpha/S", "S the sum of the weights"):
            assert relation in str(caught.value)
    assert compiles() == 0


@pytest.mark.parametrize(
    ("call", "name", "here"),
    [
        ("fit_heads", "cv", "folds"),
        ("fit_heads", "weights", "sample_weight"),
        ("fit_heads", "max_iter", "max_steps"),
        ("fit_heads", "metric", "scoring"),
        ("fit_heads", "X", "x"),
        ("certify", "sample_weight", "weights"),
        ("certify", "l2", "l2, the strength of the penalty of the heads"),
        ("fit", "max_iter", "max_steps"),
        ("sweep", "l2", "l2, the strength of the penalty of the Objective"),
    ],
)
def test_argument_names_of_other_libraries(call, name, here, compiles):
    with pytest.raises(TypeError, match=rf"^{call}\(\) got an unexpected .* '{name}'; it takes {here}"):
        CALLS[call](**{name: 1})
    assert compiles() == 0


@pytest.mark.parametrize("call", CALLS)
def test_an_unknown_argument(call, compiles):
    with pytest.raises(TypeError, match=rf"^{call}\(\) got an unexpected keyword argument 'colour'$"):
        CALLS[call](colour=1)
    assert compiles() == 0


def test_a_missing_penalty_is_explained(compiles):
    with pytest.raises(TypeError, match=r"^fit_heads\(\) needs l2, .* l2 = 1/\(C·S\) for the C of scikit-learn"):
        fit_heads(X, Y)
    assert compiles() == 0


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_the_penalty_relations_of_the_message_hold_in_scikit_learn():
    from sklearn.linear_model import LogisticRegression, Ridge

    weight = np.random.default_rng(1).uniform(0.5, 2, N)
    for c in (0.01, 3.0):
        expected = LogisticRegression(C=c, tol=1e-12, max_iter=10_000).fit(X, Y, weight).coef_[0]
        actual = fit_heads(X, Y, l2=1 / (c * weight.sum()), sample_weight=weight, tol=1e-12).coef[0]
        np.testing.assert_allclose(actual, expected, rtol=1e-4)
        expected = Ridge(alpha=c).fit(X, X[:, 1] + Y, weight).coef_
        actual = fit_heads(X, X[:, 1] + Y, loss="squared", l2=2 * c / weight.sum(), sample_weight=weight).coef[0]
        np.testing.assert_allclose(actual, expected, rtol=1e-10)


# -- labels --------------------------------------------------------------------------------------------------

LABELS: dict[str, tuple[Any, str]] = {
    "certify": (lambda y: certify(HEADS, X, y), "heads with loss='softmax'"),
    "data_report": (lambda y: data_report(X, y), "loss='softmax'"),
    "fit": (lambda y: CALLS["fit"](y), "the loss softmax_cross_entropy and the model softmax"),
    "sweep": (lambda y: CALLS["sweep"](y), "the loss softmax_cross_entropy and the model softmax"),
}


@pytest.mark.parametrize("call", LABELS)
def test_errors_for_many_classes_name_a_multiclass_loss(call, compiles):
    function, softmax = LABELS[call]
    for classes in (3, 10):
        with pytest.raises(
            ValueError, match=rf"y: expected labels 0 and 1, .*; for {classes} classes pass {softmax}$"
        ):
            function(TEN % classes)
    with pytest.raises(ValueError, match=r"y: expected labels 0 and 1, got the values -1, 1; pass y == 1$"):
        function(2 * Y - 1)
    soft = r"y: expected labels, .*, or probabilities of class 1 in \[0, 1\], got -?\d"
    hard = r"y: expected labels 0 and 1, got the values .*…$"
    with pytest.raises(ValueError, match=soft if call == "certify" else hard):
        function(X[:, 0])
    assert compiles() == 0


# -- rules of descent ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "got"), [("optax.adam", "function; call it, adam"), ("type", "type; call it, Rule")]
)
def test_an_optimizer_factory_is_not_an_optimizer(rule, got, compiles):
    import optax

    class Rule:
        def init(self, params: Any) -> Any: ...
        def update(self, gradient: Any, state: Any, params: Any = None) -> Any: ...

    given = cast(Any, optax.adam if rule == "optax.adam" else Rule)
    with pytest.raises(TypeError, match=f"^optimizer: expected an Optax GradientTransformation, got {got}"):
        fit(OBJECTIVE, (X, Y), given)
    with pytest.raises(TypeError, match=f"^make_optimizer, setting 0: expected an Optax Grad.*, got {got}"):
        sweep(OBJECTIVE, (X, Y), lambda _: given, {"l2": [1.0]})
    assert compiles() == 0
