"""`dlcore.verify` passes here, covers everything, and catches every fault that is planted."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE
from oracles import loss_table
from seams import forget_programs

import dlcore
from dlcore import Objective, certificate, heads, losses, models
from dlcore.verification import Check, Exact, VerificationError, device_facts, verify
from dlcore.verification.check import UNMEASURED_FACTOR, Peer, largest_error, run
from dlcore.verification.peers import PEERS
from dlcore.verification.registry import NO_NUMBER, all_checks

NAME = str(DTYPE)


@pytest.fixture
def fresh():
    """What was compiled with a fault, or before it, is compiled again."""

    def clear():
        forget_programs()

    clear()
    yield
    clear()


def caught(*only: str, dtype: str = NAME, factor: float = 1) -> set[str]:
    """The results that are off by more than `factor` times their bounds, of the checks concerned."""
    with pytest.raises(VerificationError) as raised:
        verify("cpu", [dtype], only=only)
    failures = raised.value.verification.failures
    return {f"{one.function} {one.result}".strip() for one in failures if one.error > factor * one.bound}


def test_the_table_is_what_its_script_makes():
    assert loss_table.PATH.read_text(encoding="utf-8") == loss_table.text()


def test_every_public_function_is_checked_or_there_is_a_reason():
    checks = [check for dtype in (np.float32, np.float64) for check in all_checks(jnp.dtype(dtype))]
    covered = {name.partition(" ")[0] for check in checks for name in (check.name, *check.covers)}
    modules = ("linalg", "calculus", "losses", "models", "objective", "descent", "tensors")
    public = {f"{module}.{name}" for module in modules for name in getattr(dlcore, module).__all__}
    assert public - covered == set(NO_NUMBER)
    assert not covered & set(NO_NUMBER)
    assert {"fit", "sweep", "fit_heads", "certify", "graph.trace"} <= covered


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves_are_right(dtype):
    some = ("linalg.matmul", "linalg.solve", "losses.huber", "losses.sigmoid", "losses.binary")
    assert verify("cpu", [dtype], only=some).passed


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_is_right(dtype):
    found = verify("cpu", [dtype])
    assert found.bounds_measured
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["passed"]


def test_facts_of_a_cpu():
    facts = device_facts.measure(jax.devices("cpu")[0])
    assert (facts.platform, facts.stated_products) == ("cpu", "float32")


@pytest.mark.parametrize(("bits", "name"), [(23, "float32"), (10, "TF32"), (7, "bfloat16")])
def test_the_format_of_products_is_found_by_measurement(monkeypatch, fresh, bits, name):
    exact = jnp.matmul
    monkeypatch.setattr(
        jnp,
        "matmul",
        lambda a, b, precision=None: exact(jax.lax.reduce_precision(a, 8, bits), b, precision="highest"),
    )
    facts = device_facts.measure(jax.devices("cpu")[0])
    assert facts.default_products == facts.stated_products == name


def test_errors_are_measured_where_numbers_end():
    tiny, most = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)

    def error(actual, value):
        return largest_error(np.array([actual], np.float32), Exact(np.array([value]), 1.0), np.float32)

    assert error(0.0, tiny / 2) == 0
    assert error(tiny, tiny / 2) == 0
    assert error(2 * tiny, tiny / 2) > 1e6
    assert error(np.inf, 2 * most) == 0
    assert error(most, 2 * most) == np.inf
    assert error(np.nan, 1.0) == np.inf
    assert error(1.0, np.nan) == 0
    assert largest_error(np.zeros((2, 1)), Exact(np.zeros(2), 1.0), np.float64) == np.inf


def test_what_raises_is_a_failure_that_says_so():
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


def test_a_sign_is_caught(monkeypatch):
    right = losses.squared_error

    @jax.custom_jvp
    def wrong(prediction, target):
        return right(prediction, target)

    wrong.defjvps(lambda dp, _, p, y: 2 * (y - p) * dp, lambda dy, _, p, y: 2 * (y - p) * dy)
    monkeypatch.setattr(losses, "squared_error", wrong)
    assert caught("losses.squared_error") == {
        "losses.squared_error first derivative",
        "losses.squared_error second derivative",
    }


def test_a_factor_of_two_is_caught(monkeypatch):
    right = losses.squared_error
    monkeypatch.setattr(losses, "squared_error", lambda p, y: right(p, y) / 2)
    assert "losses.squared_error value" in caught("losses.squared_error")


def test_a_dropped_intercept_is_caught(monkeypatch, fresh):
    right = models.linear.apply

    def without(params, x):
        return right(params._replace(bias=jnp.zeros_like(params.bias)), x)

    monkeypatch.setattr(models, "linear", models.linear._replace(apply=without))
    assert caught("models.linear") == {"models.linear apply"}


def test_a_penalty_on_the_intercept_is_caught(monkeypatch, fresh):
    value, both = Objective.value, Objective.value_and_grad

    def penalised(self, params, data):
        return value(self, params, data) + self.l2 / 2 * params.bias**2

    def with_slope(self, params, data):
        found, slope = both(self, params, data)
        return found + self.l2 / 2 * params.bias**2, slope._replace(bias=slope.bias + self.l2 * params.bias)

    monkeypatch.setattr(Objective, "value", penalised)
    monkeypatch.setattr(Objective, "value_and_grad", with_slope)
    assert {
        "objective.Objective logistic value",
        "objective.Objective logistic gradient (intercept)",
    } <= caught("objective.Objective.hessian")


def test_a_product_rounded_to_tf32_is_caught(monkeypatch, fresh):
    """By the wider bounds of devices where none are measured too."""
    right = jnp.matmul

    def rounded(a, b, **settings):
        return right(*(jax.lax.reduce_precision(array, 8, 10) for array in (a, b)), **settings)

    monkeypatch.setattr(jnp, "matmul", rounded)
    found = caught("linalg.matmul", "objective.Objective softmax", factor=UNMEASURED_FACTOR)
    assert {"linalg.matmul", "objective.Objective softmax gradient"} <= found


def test_a_naive_logarithm_of_the_sigmoid_is_caught(monkeypatch):
    def naive(logit, target):
        p = 1 / (1 + jnp.exp(-logit))
        return -target * jnp.log(p) - (1 - target) * jnp.log(1 - p)

    monkeypatch.setattr(losses, "sigmoid_cross_entropy", naive)
    assert "losses.sigmoid_cross_entropy value" in caught("losses.sigmoid_cross_entropy")


def test_a_mean_over_the_wrong_count_is_caught(monkeypatch, fresh):
    """Over the rows, where their weights should be counted."""
    right = Objective.value

    def of_rows(self, params, data):
        return right(self, params, data) * (data[2].sum() / len(data[2]))

    monkeypatch.setattr(Objective, "value", of_rows)
    assert "objective.Objective logistic value" in caught("objective.Objective.hessian")


def test_a_gap_from_float32_is_caught(monkeypatch):
    right = certificate.certify

    def rounded(heads, *data, **given):
        coef = np.asarray(heads.coef).astype(np.float32).astype(np.float64)
        return right(heads._replace(coef=coef), *data, **given)

    monkeypatch.setattr(certificate, "certify", rounded)
    assert "certify gap" in caught("certify", dtype="float64")


def test_a_fold_that_is_off_by_one_is_caught(monkeypatch):
    right = heads.fit_heads

    def shifted(x, y, *, folds=None, **given):
        if isinstance(folds, int):
            folds = shifted_folds(len(x), folds)
        return right(x, y, folds=folds, **given)

    def shifted_folds(rows, folds):
        mark = np.roll(np.arange(rows) * folds // rows, 1)
        return [(np.flatnonzero(mark != k), np.flatnonzero(mark == k)) for k in range(folds)]

    monkeypatch.setattr(heads, "fit_heads", shifted)
    assert caught("fit_heads squared", dtype="float64") == {"fit_heads squared scores of the folds"}


def test_a_jacobian_of_the_softmax_with_its_indices_exchanged_is_caught(monkeypatch):
    """p_i([i = j] − p_i) in place of p_j([i = j] − p_i), which is its own transpose."""
    right = losses.softmax

    @jax.custom_jvp
    def wrong(z):
        return right(z)

    def rule(primals, tangents):
        (p,), (dz,) = map(wrong, primals), tangents
        return p, p * dz - (p * p * dz).sum()

    wrong.defjvp(rule)
    monkeypatch.setattr(losses, "softmax", wrong)
    assert "losses.softmax first derivative" in caught("losses.softmax")


def test_a_transposed_gradient_of_a_softmax_regression_is_caught(monkeypatch, fresh):
    right = models.softmax.apply

    @jax.custom_vjp
    def apply(params, x):
        return right(params, x)

    def backward(kept, slope):
        params, x = jax.vjp(right, *kept)[1](slope)
        return params._replace(weight=params.weight.T), x

    apply.defvjp(lambda params, x: (right(params, x), (params, x)), backward)
    monkeypatch.setattr(models, "softmax", models.softmax._replace(apply=apply))
    assert caught("objective.Objective softmax") == {"objective.Objective softmax gradient"}


@pytest.mark.slow
def test_peers_are_measured_beside_the_library_and_only_if_asked():
    """Every one of them in float32; of linear algebra none in float64, where NumPy is the oracle."""
    found = verify("cpu", ["float32"], only=tuple(PEERS), peers=True)
    named = {(outcome.function, name) for outcome in found.outcomes for name, _ in outcome.peers}
    assert named == {(check, peer.name) for check, peers in PEERS.items() for peer in peers}
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["passed"]
    assert not any(outcome.peers for outcome in verify("cpu", ["float32"], only=["linalg.trace"]).outcomes)
    assert not verify("cpu", ["float64"], only=["linalg.trace"], peers=True).outcomes[0].peers


def test_the_error_of_a_peer_is_its_own():
    """Measured by the oracle of the check, in its unit; a peer that fails or has another result has none."""
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
