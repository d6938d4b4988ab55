"""Numbers of any size and dtype are handled right or refused by name."""

from fractions import Fraction
from typing import Any, cast

import chex
import jax
import numpy as np
import pytest
from helpers import DTYPE, assert_close, scores_of

from dlcore import LinearHeads, Objective, calculus, certify, descent, fit, fit_heads, linalg, losses, sweep
from dlcore.certificate import data_report
from dlcore.losses import sigmoid_cross_entropy, squared_error
from dlcore.models import LinearParams, linear, logistic

N, M = 40, 3
X = np.round(8 * np.random.default_rng(0).normal(size=(N, M))) / 8
Y = np.arange(N) % 2
R = X[:, 0] + Y
LOGISTIC, LINEAR = Objective(logistic, sigmoid_cross_entropy, 0.1), Objective(linear, squared_error, 0.1)
START = LinearParams(np.zeros(M, DTYPE), np.zeros((), DTYPE))
RULE = descent.gradient_descent(0.1)


def heads(loss: str = "logistic") -> LinearHeads:
    """Return heads with coefficients 0."""
    return LinearHeads(np.zeros(M), 0.0, 0.1, loss)


# -- numbers out of the range in which their squares are numbers ---------------------------------------------


@pytest.mark.parametrize(
    ("loss", "x", "y", "message"),
    [
        ("logistic", X * 1e200, Y, r"^x: expected numbers whose squares add up .* pass standardize=True"),
        ("softmax", X * 1e200, Y, r"^x: expected numbers whose squares add up .* pass standardize=True"),
        ("squared", X * 1e200, R, r"^x: expected numbers whose squares add up .* got 2.375e\+200; scale them"),
        ("squared", X, R * 1e200, r"^y: expected numbers whose squares add up .* scale them"),
    ],
)
def test_heads_of_numbers_without_squares_are_refused(loss, x, y, message, compiles):
    with pytest.raises(ValueError, match=message):
        fit_heads(x, y, loss=loss, l2=0.1)
    assert compiles() == 0


@pytest.mark.parametrize("size", [1e150, 1e160, 1e200, 1e307])
def test_a_certificate_of_large_numbers_claims_nothing_that_overflows(size):
    for loss, y in (("logistic", Y), ("squared", R)):
        actual = certify(heads(loss), X * size, y)
        assert actual.gap > 1e290
        assert (actual.bound == "none: overflow") == np.isinf(actual.gap)


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e160, 1e200, 1e307])
def test_the_report_on_data_of_any_size(size):
    plain, actual = data_report(X, Y), data_report(X * size, Y)
    assert actual.rank == plain.rank == M
    assert_close(actual.condition, plain.condition, units=1e6 if size < 1e-300 else 64, dtype=np.float64)
    assert data_report(np.column_stack([X, X[:, 0]]) * size, Y).rank == M
    assert data_report(X * [1e-200, 1, 1e200], Y).rank == M


def test_heads_of_tiny_numbers():
    """The coefficients are 0 and the intercept is exact, without a warning."""
    actual = fit_heads(X * 1e-200, Y, l2=0.1)
    np.testing.assert_allclose(actual.value, np.log(2), rtol=1e-12)
    assert set(actual.status) == {"converged"}


def test_scores_by_weights_of_any_size():
    given: dict[str, Any] = {"l2": [0.1], "folds": 2, "scoring": "roc_auc"}
    plain = scores_of(fit_heads(X, Y, **given))
    for size in (5e-324, 1e308):
        np.testing.assert_allclose(scores_of(fit_heads(X, Y, sample_weight=np.full(N, size), **given)), plain)


@pytest.mark.skipif(np.float32 != DTYPE, reason="the range of float64 is that of the input")
def test_a_fit_that_starts_beyond_the_range_says_what_to_scale():
    for x, y in ((X, R * 1e30), (X * 1e38, R)):
        fitted = fit(LINEAR, (x, y), RULE)
        swept = sweep(LINEAR, (x, y), lambda setting: descent.gradient_descent(setting["rate"]), {"rate": [0.1]})
        for status, message in ((fitted.status, fitted.message), (swept.status[0], swept.message[0])):
            assert status == "diverged"
            assert "beyond the range of float32: scale the columns of x, y or params" in message


# -- kinds of numbers ----------------------------------------------------------------------------------------

KINDS: dict[str, tuple[Any, Any, Any]] = {
    "big-endian": (X.astype(">f8"), Y.astype(">i4"), np.ones(N, ">f4")),
    "longdouble": (X.astype(np.longdouble), Y.astype(np.longdouble), np.ones(N, np.longdouble)),
    "strided": (np.repeat(np.repeat(X, 2, 0), 2, 1)[::2, ::2], np.repeat(Y, 2)[::2], np.ones(2 * N)[::2]),
    "backwards": (X[::-1, ::-1].copy()[::-1, ::-1], Y[::-1].copy()[::-1], np.ones(N)),
    "columns first": (np.asfortranarray(X), Y, np.ones(N)),
    "lists": (X.tolist(), Y.tolist(), [1] * N),
    "booleans": (X, Y.astype(bool), np.ones(N, bool)),
}
LOCKED = tuple(np.array(part) for part in (X, Y, np.ones(N)))
for part in LOCKED:
    part.flags.writeable = False
KINDS["read-only"] = cast(Any, LOCKED)
KINDS["objects"] = OBJECTS = X.astype(object), Y.astype(object), np.ones(N, object)
KINDS["objects of many kinds"] = (
    np.array([[Fraction(float(v)) if j else np.float64(v) for j, v in enumerate(row)] for row in X], object),
    np.array([bool(v) for v in Y], object),
    np.array([np.int8(1), 1.0, True, np.float32(1)] * (N // 4), object),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_numbers_gives_the_same(kind):
    x, y, s = KINDS[kind]
    plain = fit(LOGISTIC, (X, Y, np.ones(N)), RULE, max_steps=5).params.weight
    np.testing.assert_array_equal(fit(LOGISTIC, (x, y, s), RULE, max_steps=5).params.weight, plain)
    assert certify(heads(), x, y, s) == certify(heads(), X, Y, np.ones(N))
    expected = fit_heads(X, Y, l2=0.1).coef
    np.testing.assert_array_equal(fit_heads(x, y, l2=0.1, sample_weight=s).coef, expected)


def test_arrays_of_objects_equal_lists():
    x, y, s = OBJECTS
    actual, expected = fit_heads(x, y, l2=0.1, sample_weight=s), fit_heads(X, Y, l2=0.1)
    np.testing.assert_array_equal(actual.predict(x), expected.predict(X))
    held = fit_heads(X, Y, l2=0.1, validation=(x, y, s))
    np.testing.assert_array_equal(scores_of(held), scores_of(fit_heads(X, Y, l2=0.1, validation=(X, Y))))
    assert str(data_report(x, y, s)) == str(data_report(X, Y))
    masks = np.arange(N) < np.array([[N // 2], [N - 10]])
    folds = [fit_heads(X, Y, l2=0.1, folds=table).scores for table in (masks, masks.astype(object))]
    np.testing.assert_array_equal(folds[1], folds[0])
    rows = [(np.flatnonzero(mask), np.flatnonzero(~mask)) for mask in masks]
    pairs = [tuple(part.astype(object) for part in pair) for pair in rows]
    np.testing.assert_array_equal(fit_heads(X, Y, l2=0.1, folds=pairs).scores, folds[0])
    strengths: Any = [Fraction(1, 8)], np.array([Fraction(1, 8)], object), [0.125]
    coef = [fit_heads(X, Y, l2=l2).coef for l2 in strengths]
    assert coef[0].tobytes() == coef[1].tobytes() == coef[2].tobytes()
    gaps = [
        certify(LinearHeads(zeros, half, tenth, scale=ones[0, :M]), X, Y, ones).gap
        for zeros, half, tenth, ones in (
            tuple(np.full(shape, number, kind) for shape, number in (((2, M), 0), (2, 0.5), (2, 0.1), ((2, N), 1)))
            for kind in (float, object)
        )
    ]
    np.testing.assert_array_equal(gaps[1], gaps[0])


def test_fit_and_sweep_accept_objects():
    x, y, s = OBJECTS
    given: dict[str, Any] = {"max_steps": 5}
    start = LinearParams(np.array([0.5] * M, object), np.zeros((), DTYPE))
    plain = fit(LOGISTIC, (X, Y), RULE, params=LinearParams(np.full(M, 0.5), np.zeros((), DTYPE)), **given)
    actual = fit(LOGISTIC, (x, y), RULE, params=start, **given)
    np.testing.assert_array_equal(actual.params.weight, plain.params.weight)

    def swept(data: Any, *parts: Any) -> Any:
        settings: dict[str, Any] = dict(zip(("rate", "targets", "weights"), parts, strict=True))
        return sweep(LOGISTIC, data, lambda setting: descent.gradient_descent(setting["rate"]), settings, **given)

    parts = [0.1, 0.2], np.stack([Y, 1 - Y]), np.ones((2, N))
    expected = swept((X, Y, np.ones(N)), *parts)
    actual = swept((x, y, s), *(np.array(part).astype(object) for part in parts))
    np.testing.assert_array_equal(actual.params.weight, expected.params.weight)
    assert descent.lipschitz_step(LOGISTIC, (x, y)) == descent.lipschitz_step(LOGISTIC, (X, Y))


def test_mathematics_takes_objects_too():
    """Objects are treated as the floats, integers and booleans that they hold."""
    a = X[:M].astype(DTYPE)
    b = a.astype(object)
    for call in (
        linalg.trace,
        linalg.inv,
        linalg.vector_norm,
        lambda a: linalg.matmul(a, a),
        lambda a: linalg.solve(a, a[0]),
        lambda a: losses.softmax_cross_entropy(a[0], 1),
        lambda a: LOGISTIC.value(START, (a, (a[:, 0] > 0).astype(a.dtype))),
        lambda a: calculus.gradient(lambda x: (x * x).sum())(a),
    ):
        chex.assert_trees_all_equal(call(b), call(a))
    assert linalg.add(np.array([1, 2], object), 1).dtype == linalg.add(np.array([1, 2]), 1).dtype
    for entry in (None, "0.5", 1j):
        invalid = b.copy()
        invalid[1, 2] = entry
        with pytest.raises(TypeError, match=r"^a: expected numbers, got .*\(first at index \(1, 2\)\)"):
            linalg.inv(invalid)


@pytest.mark.parametrize("entry", [None, "0.5", 1j, np.datetime64(1, "s")])
def test_an_object_that_is_no_number_is_named(entry, compiles):
    x = X.astype(object)
    x[1, 2] = entry
    for call in (
        lambda: fit_heads(x, Y, l2=0.1),
        lambda: certify(heads(), x, Y),
        lambda: data_report(x, Y),
        lambda: fit(LOGISTIC, (x, Y), RULE),
        lambda: sweep(LOGISTIC, (x, Y), lambda _: RULE, {"l2": [0.1]}),
        lambda: LOGISTIC.prepare((x, Y)),
        lambda: LOGISTIC.value(START, (x, Y)),
        lambda: descent.lipschitz_step(LOGISTIC, (x, Y)),
    ):
        with pytest.raises(TypeError, match=r"^x: expected numbers, got .*\(first at index \(1, 2\)\)"):
            call()
    assert compiles() == 0


@pytest.mark.parametrize("x", [[[10**400, 1, 1]] * N, np.full((N, M), np.longdouble("1e4000"))])
def test_dtypes_wider_than_float64(x, compiles):
    for call in (lambda: fit_heads(x, Y, l2=0.1), lambda: certify(heads(), x, Y)):
        with pytest.raises(ValueError, match=r"^x: expected numbers within the range of float64; scale them"):
            call()
    assert compiles() == 0


def test_an_objective_wraps_no_integers():
    large = np.where(X > 0, 2**40, -(2**40))
    expected = LINEAR.value_and_grad(START, (large.astype(DTYPE), R.astype(DTYPE)))
    actual = LINEAR.value_and_grad(START, (large, R.astype(DTYPE)))
    chex.assert_trees_all_equal(actual, expected)
    np.testing.assert_allclose(linalg.vector_norm(large[:, 0]), 2**40 * np.sqrt(N), rtol=1e-6)
    if np.float32 == DTYPE:
        with pytest.raises(
            ValueError, match=r"^y: expected integers within the range of int32, got 1099511627776"
        ):
            LINEAR.value(START, (X, np.full(N, 2**40)))
        with pytest.raises(
            ValueError, match=r"^a: expected integers within the range of int32, got 1099511627776"
        ):
            linalg.add(np.array([2**40]), 1)


def test_an_objective_reads_either_byte_order_and_refuses_unknown_dtypes():
    plain = LOGISTIC.value(START, (X, Y))
    np.testing.assert_array_equal(LOGISTIC.value(START, (X.astype(">f8"), Y.astype(">i8"))), plain)
    for kind in (np.longdouble, [("a", "f8")], "V4"):
        with pytest.raises(TypeError, match=r"^x: expected numbers, got dtype"):
            LOGISTIC.value(START, (np.zeros((N, M), kind), Y))


# -- what is no choice ---------------------------------------------------------------------------------------


def test_invalid_penalties_and_folds():
    with pytest.raises(TypeError, match=r"^heads.l2: expected numbers, got True"):
        certify(LinearHeads(np.zeros(M), 0.0, l2=True), X, Y)
    with pytest.raises(ValueError, match=r"^folds: expected 0/1 weights, 1 where a row trains, got 0.5"):
        fit_heads(X, Y, l2=0.1, folds=np.full((2, N), 0.5))


def test_invalid_parameters_keys_and_norms(compiles):
    for kind, message in (
        ("int32", "floating-point dtype"),
        (">f4", "dtype that JAX has"),
        ("g", "dtype that JAX"),
    ):
        params = LinearParams(np.zeros(M, kind), np.zeros((), kind))
        for call in (LOGISTIC.value, LOGISTIC.value_and_grad, lambda p, d: LOGISTIC.hvp(p, p, d)):
            with pytest.raises(TypeError, match=f"^params: expected a {message}"):
                call(params, (X.astype(DTYPE), Y))
    for call in (fit, lambda *given, **options: fit(*given, **options, batch_size=5)):
        with pytest.raises(TypeError, match=r"^key: expected one random key such as jax.random.key\(0\), got int"):
            call(LOGISTIC, (X, Y), RULE, key=cast(Any, 3))
    if np.float32 == DTYPE:
        with pytest.raises(ValueError, match=r"^params: expected numbers within the range of float32"):
            fit(LOGISTIC, (X, Y), RULE, params=LinearParams(np.full(M, 1e39), np.zeros(())))
    with pytest.raises(TypeError, match=r"^vector_norm: expected ord to be a number, got 'x'"):
        linalg.vector_norm(X.astype(DTYPE), ord=cast(Any, "x"))
    with pytest.raises(TypeError, match=r"^solve: refine: expected the dtype of the factors"):
        linalg.solve(np.eye(2, dtype=DTYPE), np.ones(2, DTYPE), refine="nope")


def test_traced_numbers_are_refused_by_heads_and_certificates():
    for call in (lambda x: fit_heads(x, Y, l2=0.1).coef, lambda x: certify(heads(), x, Y).gap):
        with pytest.raises(TypeError, match=r"^x: expected an array whose numbers are known, got .*Tracer"):
            jax.jit(call)(X)
