"""One pass over the rows for many heads, with folds as masks, against the formulas in NumPy."""

import jax
import numpy as np
import pytest
from helpers import assert_close

from dlcore.heads.data.centering import Centering
from dlcore.heads.passes import host_rows
from dlcore.heads.passes.evaluate import HeadBatch, accumulate, finalize
from dlcore.heads.passes.host_rows import HostPass, HostRows
from dlcore.objective import BlockedData

pytestmark = pytest.mark.any_mode

ROWS, FEATURES = 54, 4
ROUNDINGS = 4 * (ROWS + FEATURES)
"""Units of eps · Σ|terms|: a sum of n terms, each with the rounding of m products."""
FITS = np.array([2, 0, 1], np.int32)
SETTINGS = {
    "intercept": Centering(np.array([1.5, -0.5, 2.0, 0.25]), None, np.float64(1), np.float64(1)),
    "no intercept": Centering(np.zeros(FEATURES), None, np.float64(0), np.float64(1)),
    "units": Centering(np.array([1.5, -0.5, 2.0, 0.25]), np.array([0.5, 2, 1, 1.5]), np.float64(1), np.float64(1)),
}
WHERE = ["device", "host", "host, 3 cores"]
CASES = [*((name, "float64") for name in SETTINGS), ("units", "float32")]


def evaluate(theta, batch, table, centering, *, loss, dtype, where):
    """Return the evaluation of two shards of the rows, each in blocks of which the last begins early.

    On the host the shards are those of cores, and float32 rows are read without centering.
    """
    x, train, targets, weight = table
    if where != "device":
        rows = HostRows(x, train, targets, weight, centering)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(host_rows, "BLOCK_BYTES", 4 * 10 * max(FEATURES, theta[..., 0].size))
            patch.setattr(host_rows, "core_count", lambda: 3 if "3" in where else 1)
            patch.setattr(host_rows, "LEAST_NUMBERS", 1)
            sums = HostPass(rows, batch, loss, dtype)(theta)
        return finalize(theta, batch, [sums], centering, np)
    parts = slice(ROWS // 2), slice(ROWS // 2, None)
    with jax.enable_x64(True):
        shards = [
            BlockedData(x, (train, targets), weight, 10)
            for x, train, targets, weight in (jax.device_put([array[part] for array in table]) for part in parts)
        ]
        sums = [accumulate(theta, batch, shard, centering, loss=loss, dtype=dtype) for shard in shards]
        return jax.device_get(jax.jit(finalize)(theta, batch, sums, centering))


def rows_and_folds(seed, labels):
    """Return x, labels, weights of which some are 0, and the rows that train each of three fits."""
    rng = np.random.default_rng(seed)
    x, weight = rng.normal(size=(ROWS, FEATURES)) + 1, rng.uniform(0.1, 1, ROWS)
    weight[::7] = 0
    train = np.array([np.ones(ROWS), rng.integers(0, 2, ROWS), rng.integers(0, 2, ROWS)], bool)
    return x, rng.integers(0, *labels), weight, train


def penalties(seed, heads):
    """Return λ and the factors of the columns."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.1, 1, heads), rng.uniform(0.5, 2, (heads, FEATURES))


def check(seen, theta, head, expected, *, dtype):
    """Compare a head with its sums: losses and gradients of the rows with weight, and the penalty."""
    value, gradient, penalty, misclassified = expected
    part = (penalty * theta[head] ** 2).sum() / 2
    assert_close(seen.penalty[head], part, units=8, dtype="float64")
    total = value.sum() + part
    assert_close(seen.value[head], total, scale=abs(value).sum() + part, units=ROUNDINGS, dtype=dtype)
    size = abs(gradient).sum(0) + abs(penalty * theta[head])
    assert_close(
        seen.gradient[head],
        gradient.sum(0) + penalty * theta[head],
        scale=size.max(),
        units=ROUNDINGS,
        dtype=dtype,
    )
    assert seen.misclassified[head] == misclassified


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(("setting", "dtype"), CASES)
def test_a_pass_gives_each_logistic_head_its_own_sums(setting, dtype, where):
    """Each head has its fold, its target, its balance of the classes, its λ and its factors of the columns."""
    centering, heads = SETTINGS[setting], 3
    x, labels, weight, train = rows_and_folds(0, (2, (ROWS, 2)))
    target, balance = np.array([1, 0, 1], np.int32), np.array([[0.5, 3.0], [1.0, 1.0], [2.0, 0.25]])
    theta = np.random.default_rng(1).normal(size=(heads, 1, FEATURES + 1))
    l2, ratio = penalties(2, heads)
    own = labels[:, target].T
    scale = weight * train[FITS] * np.where(own == 1, balance[:, 1:], balance[:, :1])
    total, nothing = scale.sum(1), np.zeros(heads)
    batch = HeadBatch(l2, ratio, FITS, total, np.full((heads, 1), 0.25), nothing, nothing, target, balance)
    table = x, train.T, labels.astype(np.uint32), weight
    seen = evaluate(theta, batch, table, centering, loss="logistic", dtype=dtype, where=where)

    rows = (x - centering.centre) * (1 if centering.unit is None else centering.unit)
    rows = np.column_stack([rows, np.full(ROWS, centering.has_intercept)])
    for b in range(heads):
        z = rows @ theta[b, 0]
        value = np.log(1 + np.exp(z)) - own[b] * z
        residual = 1 / (1 + np.exp(-z)) - own[b]
        part = scale[b] / total[b]
        wrong = (scale[b] > 0) & ((z > 0) != (own[b] == 1))
        assert 0 < wrong.sum() < (scale[b] > 0).sum()
        gradient = (part * residual)[:, None, None] * rows[:, None]
        penalty = np.append(l2[b] * ratio[b], 0)[None]
        check(seen, theta, b, (part * value, gradient, penalty, wrong.sum()), dtype=dtype)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(("setting", "dtype"), CASES)
def test_a_pass_gives_each_poisson_head_its_own_sums(setting, dtype, where):
    """Targets are counts or rates, and no row is ever right."""
    centering, heads = SETTINGS[setting], 3
    x, counts, weight, train = rows_and_folds(6, (9, (ROWS, 2)))
    targets, target = counts / 2, np.array([1, 0, 1], np.int32)
    theta = np.random.default_rng(7).normal(size=(heads, 1, FEATURES + 1)) / 2
    l2, ratio = penalties(8, heads)
    scale = weight * train[FITS]
    total, nothing = scale.sum(1), np.zeros(heads)
    batch = HeadBatch(l2, ratio, FITS, total, np.ones((heads, 1)), nothing, nothing, target)
    seen = evaluate(
        theta, batch, (x, train.T, targets, weight), centering, loss="poisson", dtype=dtype, where=where
    )

    rows = (x - centering.centre) * (1 if centering.unit is None else centering.unit)
    rows = np.column_stack([rows, np.full(ROWS, centering.has_intercept)])
    for b in range(heads):
        z, y = rows @ theta[b, 0], targets[:, target[b]]
        assert (y == 0).any()
        value = np.exp(z) - y * z - y + y * np.log(np.where(y > 0, y, 1))
        part = scale[b] / total[b]
        gradient = (part * (np.exp(z) - y))[:, None, None] * rows[:, None]
        penalty = np.append(l2[b] * ratio[b], 0)[None]
        check(seen, theta, b, (part * value, gradient, penalty, (scale[b] > 0).sum()), dtype=dtype)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(("setting", "dtype"), CASES)
def test_a_pass_gives_each_softmax_head_its_own_sums(setting, dtype, where):
    """Class 4 is absent from fit 2, of head 0: its probability there is 0, whatever its coefficients are."""
    centering, heads, classes = SETTINGS[setting], 3, 5
    x, y, weight, train = rows_and_folds(3, (classes, ROWS))
    train[2] &= y != 4
    theta = np.random.default_rng(4).normal(size=(heads, classes, FEATURES + 1)) / 2
    rows = (x - centering.centre) * (1 if centering.unit is None else centering.unit)
    rows = np.column_stack([rows, np.full(ROWS, centering.has_intercept)])
    y = np.where((np.arange(ROWS) % 3 > 0) & (y != 4), (rows @ theta[:, :4].mean(0).T).argmax(1), y)
    l2, ratio = penalties(5, heads)
    scale = weight * train[FITS]
    total, nothing = scale.sum(1), np.zeros(heads)
    share = np.stack([(scale * (y == k)).sum(1) for k in range(classes)], axis=1) / total[:, None]
    assert ((share == 0) == np.array([[0] * 4 + [1], [0] * 5, [0] * 5])).all()
    batch = HeadBatch(l2, ratio, FITS, total, share, nothing, nothing)
    table = x, train.T, y[:, None].astype(np.uint32), weight
    seen = evaluate(theta, batch, table, centering, loss="softmax", dtype=dtype, where=where)

    for b in range(heads):
        power = np.exp(rows @ theta[b].T) * (share[b] > 0)
        p = power / power.sum(1, keepdims=True)
        train_gram = scale[b] > 0
        own = np.where(train_gram, p[np.arange(ROWS), y], 1)
        part = scale[b] / total[b]
        wrong = train_gram & (own <= 0.5)
        assert (own[wrong] > 1 / 3).any()  # the most probable class of all, and another is as probable together
        assert wrong.sum() < train_gram.sum()
        residual = part[:, None] * (p - np.eye(classes)[y])
        penalty = np.append(l2[b] * ratio[b], 0)[None]
        check(
            seen,
            theta,
            b,
            (-part * np.log(own), residual[..., None] * rows[:, None], penalty, wrong.sum()),
            dtype=dtype,
        )
    absent = np.append(l2[0] * ratio[0], 0) * theta[0, 4]
    np.testing.assert_allclose(seen.gradient[0, 4], absent, rtol=1e-15)  # the penalty's alone


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(("loss", "outputs"), [("logistic", 1), ("softmax", 2)])
def test_where_classes_are_equally_probable_every_row_of_positive_weight_is_misclassified(loss, outputs, where):
    x, y, weight, train = rows_and_folds(6, (2, ROWS))
    theta, share = np.zeros((1, outputs, FEATURES + 1)), np.full((1, outputs), 0.5)
    one = np.ones(1)
    batch = HeadBatch(one, np.ones((1, FEATURES)), FITS[2:], one, share, one, one)
    table = x, train.T, y[:, None].astype(np.uint32), weight
    seen = evaluate(theta, batch, table, SETTINGS["intercept"], loss=loss, dtype="float32", where=where)
    assert seen.misclassified[0] == (train[1] & (weight > 0)).sum()


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
@pytest.mark.parametrize("unit", [None, np.array([0.5, 2, 1, 1.5])])
def test_rows_that_are_read_in_place_give_the_sums_of_centered_rows(loss, unit, monkeypatch):
    """The products of float32 round by the size of the rows as they are, not about their centre."""
    rng = np.random.default_rng(8)
    x, y, weight, train = rows_and_folds(9, (2, ROWS))
    x, outputs, heads = x.astype(np.float32), 1 if loss == "logistic" else 2, 3
    centering = Centering(
        x.mean(0).astype(np.float32).astype(float), unit, np.float64(1), np.float64(1), np.float64(2)
    )
    theta, one = rng.normal(size=(heads, outputs, FEATURES + 1)), np.ones(heads)
    batch = HeadBatch(one, np.ones((heads, FEATURES)), FITS, 8 * one, np.full((heads, outputs), 0.5), one, one)
    table = train.T, y[:, None].astype(np.uint32), weight, centering
    expected = HostPass(HostRows(x, *table), batch, loss, "float64")(theta)
    monkeypatch.setattr(host_rows, "COPIED", 0)
    monkeypatch.setattr(host_rows, "BLOCK_BYTES", 160)
    in_place = HostRows(x, *table)
    assert in_place.is_read_in_place
    found = HostPass(in_place, batch, loss, "float32")(theta)
    size = ROWS * (1 + abs(x).max() * abs(theta).max() * FEATURES) * abs(x).max()
    for name in ("value", "grad_coef", "grad_intercept"):
        assert_close(
            getattr(found, name), getattr(expected, name), scale=size, units=4 * FEATURES, dtype="float32"
        )
    np.testing.assert_array_equal(found.misclassified, expected.misclassified)


@pytest.mark.parametrize(
    ("x", "offset", "is_read_in_place"),
    [
        (np.ones((8, 2), np.float32), 4.0, True),
        (np.ones((8, 2), np.float32), 4.1, False),
        (np.ones((8, 2)), 0.0, False),
        (np.ones((2, 8), np.float32).T, 0.0, False),
    ],
    ids=["near 0", "far from 0", "float64", "columns"],
)
def test_large_tables_are_read_in_place_where_float32_loses_nothing(x, offset, is_read_in_place, monkeypatch):
    centering = Centering(np.ones(2), None, np.float64(1), np.float64(1), np.float64(offset))
    rest = np.ones((8, 1), bool), np.zeros((8, 1), np.uint32), np.ones(8), centering
    assert not HostRows(x, *rest).is_read_in_place  # small: it has a centered copy
    monkeypatch.setattr(host_rows, "COPIED", 15)
    rows = HostRows(x, *rest)
    rows.prepare("float64")
    assert rows.is_read_in_place == is_read_in_place
    np.testing.assert_array_equal(rows.block(slice(3), "float32"), x[:3] - (not is_read_in_place))
    np.testing.assert_array_equal(rows.block(slice(3), "float64"), np.zeros((3, 2)))
