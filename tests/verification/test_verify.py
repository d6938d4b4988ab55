"""`dlcore.verify` passes, covers every public function, and detects planted faults."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE
from oracles import loss_table
from seams import clear_compiled_programs

import dlcore
from dlcore import Objective, certificate, heads, losses, models
from dlcore.verification import Check, Exact, VerificationError, device_facts, verify
from dlcore.verification.check import UNMEASURED_FACTOR, Peer, largest_error, run
from dlcore.verification.peers import PEERS
from dlcore.verification.registry import NOT_CHECKED, all_checks

NAME = str(DTYPE)


@pytest.fixture
def fresh():
    """Clear the compiled programs before and after a planted fault."""
    clear_compiled_programs()
    yield
    clear_compiled_programs()


def detected(*only: str, dtype: str = NAME, factor: float = 1) -> set[str]:
    """Return the results of some checks whose error exceeds `factor` times the bound."""
    with pytest.raises(VerificationError) as raised:
        verify("cpu", [dtype], only=only)
    failures = raised.value.verification.failures
    return {f"{row.function} {row.result}".strip() for row in failures if row.error > factor * row.bound}


def test_the_table_matches_its_script():
    assert loss_table.PATH.read_text(encoding="utf-8") == loss_table.text()


def test_every_public_function_is_checked_or_there_is_a_reason():
    checks = [check for dtype in (np.float32, np.float64) for check in all_checks(jnp.dtype(dtype))]
    covered = {name.partition(" ")[0] for check in checks for name in (check.name, *check.covers)}
    modules = ("linalg", "calculus", "losses", "models", "objective", "descent", "tensors")
    public = {f"{module}.{name}" for module in modules for name in getattr(dlcore, module).__all__}
    assert public - covered == set(NOT_CHECKED)
    assert not covered & set(NOT_CHECKED)
    assert {"fit", "sweep", "fit_heads", "certify", "graph.trace"} <= covered


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves_are_right(dtype):
    only = ("linalg.matmul", "linalg.solve", "losses.huber", "losses.sigmoid", "losses.binary")
    assert verify("cpu", [dtype], only=only).passed


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_is_right(dtype):
    verification = verify("cpu", [dtype])
    assert verification.bounds_measured
    assert json.loads(json.dumps(verification.to_json(), allow_nan=False))["passed"]


def test_facts_of_a_cpu():
    facts = device_facts.measure(jax.devices("cpu")[0])
    assert (facts.platform, facts.stated_products) == ("cpu", "float32")


@pytest.mark.parametrize(("bits", "name"), [(23, "float32"), (10, "TF32"), (7, "bfloat16")])
def test_the_format_of_products_is_measured(monkeypatch, fresh, bits, name):
    exact = jnp.matmul
    monkeypatch.setattr(
        jnp,
        "matmul",
        lambda a, b, precision=None: exact(jax.lax.reduce_precision(a, 8, bits), b, precision="highest"),
    )
    facts = device_facts.measure(jax.devices("cpu")[0])
    assert facts.default_products == facts.stated_products == name


def test_errors_at_the_ends_of_the_range():
    tiny, largest = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)

    def error(actual, value):
        return largest_error(np.array([actual], np.float32), Exact(np.array([value]), 1.0), np.float32)

    assert error(0.0, tiny / 2) == 0
    assert error(tiny, tiny / 2) == 0
    assert error(2 * tiny, tiny / 2) > 1e6
    assert error(np.inf, 2 * largest) == 0
    assert error(largest, 2 * largest) == np.inf
    assert error(np.nan, 1.0) == np.inf
    assert error(1.0, np.nan) == 0
    assert largest_error(np.zeros((2, 1)), Exact(np.zeros(2), 1.0), np.float64) == np.inf


def test_an_exception_is_a_failure_with_its_message():
    def fails(x):
        raise ValueError("no such product")

    check = Check("f", fails, lambda x: {"": Exact(x, 1.0)}, (np.ones(2, DTYPE),))
    (outcome,) = run(check, DTYPE, 1)
    assert not outcome.passed
    assert outcome.note == "ValueError: no such product"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "npu"}, "device: expected one of"),
        ({"dtypes": ["float8"]}, "dtypes: expected some of"),
        ({"dtypes": []}, "got none"),
        ({"only": ["losses.hinge"]}, "only: there is no check of losses.hinge"),
    ],
)
def test_wrong_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        verify(**{"device": "cpu", "dtypes": ["float32"], **arguments})


def test_a_sign_is_detected(monkeypatch):
    right = losses.squared_error

    @jax.custom_jvp
    def wrong(prediction, target):
        return right(prediction, target)

    wrong.defjvps(lambda dp, _, p, y: 2 * (y - p) * dp, lambda dy, _, p, y: 2 * (y - p) * dy)
    monkeypatch.setattr(losses, "squared_error", wrong)
    assert detected("losses.squared_error") == {
        "losses.squared_error first derivative",
        "losses.squared_error second derivative",
    }


def test_a_factor_of_two_is_detected(monkeypatch):
    right = losses.squared_error
    monkeypatch.setattr(losses, "squared_error", lambda p, y: right(p, y) / 2)
    assert "losses.squared_error value" in detected("losses.squared_error")


def test_a_dropped_intercept_is_detected(monkeypatch, fresh):
    right = models.linear.apply

    def without(params, x):
        return right(params._replace(bias=jnp.zeros_like(params.bias)), x)

    monkeypatch.setattr(models, "linear", models.linear._replace(apply=without))
    assert detected("models.linear") == {"models.linear apply"}


def test_a_penalty_on_the_intercept_is_detected(monkeypatch, fresh):
    value, value_and_grad = Objective.value, Objective.value_and_grad

    def penalised(self, params, data):
        return value(self, params, data) + self.l2 / 2 * params.bias**2

    def penalised_gradient(self, params, data):
        objective, gradient = value_and_grad(self, params, data)
        gradient = gradient._replace(bias=gradient.bias + self.l2 * params.bias)
        return objective + self.l2 / 2 * params.bias**2, gradient

    monkeypatch.setattr(Objective, "value", penalised)
    monkeypatch.setattr(Objective, "value_and_grad", penalised_gradient)
    assert {
        "objective.Objective logistic value",
        "objective.Objective logistic gradient (intercept)",
    } <= detected("objective.Objective.hessian")


def test_a_product_rounded_to_tf32_is_detected(monkeypatch, fresh):
    """Also within the wider bounds of devices without measured bounds."""
    right = jnp.matmul

    def rounded(a, b, **options):
        return right(*(jax.lax.reduce_precision(array, 8, 10) for array in (a, b)), **options)

    monkeypatch.setattr(jnp, "matmul", rounded)
    failures = detected("linalg.matmul", "objective.Objective softmax", factor=UNMEASURED_FACTOR)
    assert {"linalg.matmul", "objective.Objective softmax gradient"} <= failures


def test_a_naive_logarithm_of_the_sigmoid_is_detected(monkeypatch):
    def naive(logit, target):
        p = 1 / (1 + jnp.exp(-logit))
        return -target * jnp.log(p) - (1 - target) * jnp.log(1 - p)

    monkeypatch.setattr(losses, "sigmoid_cross_entropy", naive)
    assert "losses.sigmoid_cross_entropy value" in detected("losses.sigmoid_cross_entropy")


def test_a_mean_over_rows_in_place_of_weights_is_detected(monkeypatch, fresh):
    right = Objective.value

    def mean_over_rows(self, params, data):
        return right(self, params, data) * (data[2].sum() / len(data[2]))

    monkeypatch.setattr(Objective, "value", mean_over_rows)
    assert "objective.Objective logistic value" in detected("objective.Objective.hessian")


def test_a_gap_from_float32_is_detected(monkeypatch):
    right = certificate.certify

    def rounded(heads, *data, **options):
        coef = np.asarray(heads.coef).astype(np.float32).astype(np.float64)
        return right(heads._replace(coef=coef), *data, **options)

    monkeypatch.setattr(certificate, "certify", rounded)
    assert "certify gap" in detected("certify", dtype="float64")


def test_a_fold_shifted_by_one_row_is_detected(monkeypatch):
    right = heads.fit_heads

    def shifted(x, y, *, folds=None, **options):
        if isinstance(folds, int):
            folds = shifted_folds(len(x), folds)
        return right(x, y, folds=folds, **options)

    def shifted_folds(rows, folds):
        fold = np.roll(np.arange(rows) * folds // rows, 1)
        return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(folds)]

    monkeypatch.setattr(heads, "fit_heads", shifted)
    assert detected("fit_heads squared", dtype="float64") == {"fit_heads squared scores of the folds"}


def test_a_jacobian_of_the_softmax_with_exchanged_indices_is_detected(monkeypatch):
    """Plants p_i([i = j] − p_i) in place of the symmetric p_j([i = j] − p_i)."""
    right = losses.softmax

    @jax.custom_jvp
    def wrong(z):
        return right(z)

    def rule(primals, tangents):
        (p,), (dz,) = map(wrong, primals), tangents
        return p, p * dz - (p * p * dz).sum()

    wrong.defjvp(rule)
    monkeypatch.setattr(losses, "softmax", wrong)
    assert "losses.softmax first derivative" in detected("losses.softmax")


def test_a_transposed_gradient_of_a_softmax_regression_is_detected(monkeypatch, fresh):
    right = models.softmax.apply

    @jax.custom_vjp
    def apply(params, x):
        return right(params, x)

    def backward(residuals, cotangent):
        params, x = jax.vjp(right, *residuals)[1](cotangent)
        return params._replace(weight=params.weight.T), x

    apply.defvjp(lambda params, x: (right(params, x), (params, x)), backward)
    monkeypatch.setattr(models, "softmax", models.softmax._replace(apply=apply))
    assert detected("objective.Objective softmax") == {"objective.Objective softmax gradient"}


@pytest.mark.slow
def test_peers_are_optional():
    """Every check has its peers in float32. In float64 linear algebra has none, because NumPy is the reference."""
    verification = verify("cpu", ["float32"], only=tuple(PEERS), peers=True)
    names = {(outcome.function, name) for outcome in verification.outcomes for name, _ in outcome.peers}
    assert names == {(check, peer.name) for check, peers in PEERS.items() for peer in peers}
    assert json.loads(json.dumps(verification.to_json(), allow_nan=False))["passed"]
    assert not any(outcome.peers for outcome in verify("cpu", ["float32"], only=["linalg.trace"]).outcomes)
    assert not verify("cpu", ["float64"], only=["linalg.trace"], peers=True).outcomes[0].peers


def test_errors_of_peers():
    """The check measures a peer by its reference, in its unit. A peer without the result has no error."""
    x = np.ones((2, 1), np.float32)
    check = Check("f", lambda x: {"": x}, lambda x: {"": Exact(x, 1.0)}, (x,))

    def fails(x):
        raise TypeError

    peers = [
        Peer("off", lambda x: {"": x * np.float32(1 + 3 * 2.0**-23)}),
        Peer("NumPy", lambda x: {"": np.full_like(x, np.nan)}, traced=False),
        Peer("another", lambda x: {"result": x}),
        Peer("none", fails),
    ]
    (outcome,) = run(check, jnp.dtype("float32"), 1, peers)
    assert outcome.passed
    assert outcome.peers == (("off", 3.0), ("NumPy", np.inf))
