"""The certificate as a card, repr, table, rows and JSON, and the report on data."""

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.optimize

from dlcore import LinearHeads, certify, fit_heads
from dlcore.certificate import data_report
from dlcore.certificate.certify import compute_certificate
from dlcore.certificate.data_report.separation import Separation, is_separable_by
from dlcore.certificate.data_report.separation_names import QUASI_UNATTAINED, UNATTAINED
from dlcore.certificate.rows import TrainingData, scaled_weights

pytestmark = pytest.mark.any_mode


def overlapping(seed: int = 0, n: int = 200, m: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, m))
    return x, (x[:, 0] + rng.logistic(size=n) > 0).astype(int)


def linear_program(x: np.ndarray, y: np.ndarray, *, intercept: bool) -> bool:
    """Return whether sign·(xw + b) ≥ 1 has a solution, by SciPy."""
    sign = np.where(y == 1, 1.0, -1.0)
    rows = np.column_stack([x, np.ones(len(x))]) if intercept else x
    solution: Any = scipy.optimize.linprog(
        np.zeros(rows.shape[1]), -sign[:, None] * rows, -np.ones(len(x)), bounds=(None, None), method="highs"
    )
    return solution.status == 0


# -- the certificate as a value ------------------------------------------------------------------------------


def test_a_card_has_the_numbers_and_how_they_were_made():
    x, y = overlapping()
    heads = fit_heads(x, y, l2=[1e-2, 1.0])
    certificate = certify(heads, x, y)
    card = str(certificate)
    for k in range(2):
        assert f"{certificate.value[k]:.7g}" in card
        assert f"{certificate.gap[k]:.2g}" in card
    assert card.splitlines()[-1] == (
        f"computed in float64 by NumPy on the host, products in float64; the heads were fitted on {heads.device}"
    )
    assert certificate.heads_device == heads.device == heads.certificate.heads_device
    assert all(line == line.rstrip() for line in card.splitlines())


def test_a_card_of_one_head_and_of_many_is_short():
    x, y = overlapping()
    assert len(str(certify(LinearHeads(np.zeros(4), 0.0, 1.0), x, y)).splitlines()) == 3
    many = str(certify(LinearHeads(np.zeros((500, 4)), 0.0, np.geomspace(1e-3, 1, 500)), x, y))
    assert len(many.splitlines()) == 23
    assert "… 480 more; the bounds on J − J* of all 500 heads range from " in many


def test_rows_and_json_hold_every_head():
    x, y = overlapping()
    targets = np.column_stack([y, x[:, 1]])
    certificate = certify(LinearHeads(np.zeros((3, 2, 4)), 0.0, 0.1, "squared"), x, targets, report=True)
    rows = certificate.rows()
    assert [row["head"] for row in rows] == [(i, j) for i in range(3) for j in range(2)]
    for row in rows:
        assert row["gap"] == certificate.gap[row["head"]]
        assert row["bound"] == "exact"
    read = json.loads(certificate.to_json())
    assert [part["value"] for part in read["heads"]] == certificate.value.ravel().tolist()
    assert read["report"]["rank"] == 4
    assert read["report"]["separability"] is None
    none = certify(LinearHeads(np.zeros(4), 0.0, 0.0), x, y)
    read = json.loads(none.to_json(), parse_constant=pytest.fail)
    assert read["heads"][0]["gap"] is None
    assert read["heads"][0]["bound"].startswith("none")
    assert none.rows()[0]["head"] == ()


# -- columns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "offset", "rows"),
    [
        (1, 0, 300),
        (1e4, 0, 300),
        (1e8, 0, 300),
        (1e12, 0, 300),
        (1, 1e6, 300),
        (1e4, 1e6, 300),
        (1e4, 100, 400_000),
    ],
)
def test_rank_and_condition_are_those_of_the_singular_values(condition, offset, rows):
    """Tables have one block or three. Rounding is u·offset of the largest singular value."""
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.normal(size=(rows, 6)))[0] * (rows / 300) ** 0.5
    left -= left.mean(0)
    x = left @ np.diag(np.geomspace(1, 1 / condition, 6)) @ np.linalg.qr(rng.normal(size=(6, 6)))[0] + offset
    centred = (x - x.astype(np.longdouble).mean(0)).astype(float)
    values = np.linalg.svd(centred, compute_uv=False)
    report = data_report(x, loss="squared")
    assert report.rank == 6
    np.testing.assert_allclose(report.condition, values[0] / values[-1], rtol=1e-9 + 1e-15 * condition)
    assert data_report(x, loss="squared", fit_intercept=False).rank == 6


def test_the_scale_of_columns_is_told_from_their_dependence():
    x, y = overlapping()
    x *= [1, 1e9, 1e-3, 1]
    report = data_report(x, y)
    assert (report.widest, report.narrowest) == (1, 2)
    assert report.condition > 1e11
    assert report.condition_scaled < 2
    np.testing.assert_allclose(report.scale_ratio, x[:, 1].std() / x[:, 2].std(), rtol=1e-12)


def test_constant_and_equal_columns_are_found_among_rows_that_weigh():
    rng = np.random.default_rng(0)
    rows, idle = 400_000, 130_000
    x = rng.normal(size=(rows, 10)).astype(np.float32)
    x[:, 9] = np.arange(rows) == idle + 10  # varies in the first block that weighs, and in no other
    x[:, 4], x[:, 7], x[:, 8] = x[:, 1], x[:, 1], x[:, 3]
    x[:, 2], x[:, 5], x[:, 6] = 0.1, 0.0, x[:, 0]
    x[-100:, 6] = np.nextafter(x[-100:, 6], np.float32(9))  # the last bit of a few numbers
    x[:idle, :9] = rng.normal(size=(idle, 9))
    weights = np.maximum(np.arange(rows) - idle + 1, 0)  # a whole block of rows weighs nothing
    report = data_report(x, loss="squared", weights=weights)
    assert report.constant == (2, 5)
    assert report.duplicates == ((1, 4, 7), (3, 8))
    assert report.rank == 5
    assert report.condition == np.inf
    assert (report.rows, report.columns, report.dtype) == (rows - idle, 10, "float32")


def test_no_column_varies():
    report = data_report(np.ones((5, 2)), [0, 1, 0, 1, 1])
    assert (report.rank, report.widest, report.constant, report.duplicates) == (0, None, (0, 1), ((0, 1),))
    assert np.isnan(report.condition)
    assert "constant columns: 0, 1" in str(report)


def test_a_table_on_disk_is_never_copied(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600_000, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", rows)
    y = (rows[:, 0] + rng.logistic(size=len(rows)) > 0).astype(np.uint8)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    del rows
    tracemalloc.start()
    report = data_report(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.separability == "not separable"
    assert peak < 12 * 2**23 + 8 * len(x) * 4  # blocks of 8 MiB, and a few numbers for each row


# -- separability --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_separability_is_that_of_a_linear_program(seed, intercept):
    """Rows are random, nearly separable, far from 0 and of several scales. A verdict is never wrong."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(8, 40)), int(rng.integers(2, 9))
    x = rng.normal(size=(n, m)) * 10.0 ** rng.integers(-3, 4, m) + (seed % 3 == 0) * 1e5
    score = (x - x.mean(0)) / x.std(0) @ rng.normal(size=m)
    y = (score + (seed % 2) * rng.logistic(size=n) > 0).astype(int)
    y[:2] = 0, 1
    report = data_report(x, y, fit_intercept=intercept)
    truth = linear_program(x, y, intercept=intercept)
    assert report.separability in {"separable" if truth else "not separable", "not known"}
    if seed % 3 or intercept:
        assert report.separability != "not known"
    if report.separability == "separable":
        assert report.direction is not None
        assert report.direction_intercept is not None
        logit: Any = x.astype(np.longdouble) @ report.direction
        margin = np.where(y == 1, 1, -1) * (logit + report.direction_intercept)
        assert (margin > 0).all()
        assert intercept or report.direction_intercept == 0


def test_classes_that_touch_are_quasi_separable():
    """No hyperplane has every row on the right side, and no minimum exists either."""
    x = np.array([[-1.0], [0.0], [0.0], [1.0]])
    report = data_report(x, [0, 0, 1, 1])
    assert report.separability == "quasi-separable"
    assert (report.direction, report.direction_intercept) == (0.5, 0)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_several_classes(classes):
    rng = np.random.default_rng(classes)
    x = rng.normal(size=(150, 3))
    score = x @ rng.normal(size=(3, classes)) + rng.normal(size=classes) / 3
    y = np.unique(score.argmax(1), return_inverse=True)[1]
    report = data_report(x, y, loss="softmax")
    assert report.separability == "separable"
    assert report.direction is not None
    logits: Any = x @ report.direction.T
    assert ((logits + report.direction_intercept).argmax(1) == y).all()
    noisy = (score + rng.gumbel(size=score.shape)).argmax(1)
    noisy[:classes] = range(classes)
    assert data_report(x, noisy, loss="softmax").separability == "not separable"


def test_equal_and_constant_columns_do_not_hide_a_minimum():
    x, y = overlapping()
    x = np.column_stack([x, x[:, 0], np.full(len(x), 3.0), np.zeros(len(x))])
    for intercept in (True, False):
        assert data_report(x, y, fit_intercept=intercept).separability == "not separable"


def test_heads_that_separate_are_the_witness():
    x, y = overlapping()
    y = (x[:, 0] > 0).astype(int)
    heads = LinearHeads(np.array([[0.0, 0, 0, 0], [5.0, 0, 0, 0]]), 0.0, np.array([0.0, 0.1]))
    certificate = certify(heads, x, y, report=True)
    assert certificate.report is not None
    np.testing.assert_array_equal(certificate.report.direction, [5, 0, 0, 0])
    assert certificate.bound == ("none: separable, the infimum 0 is not attained", "duality")
    assert certificate.gap[0] == np.inf
    several = LinearHeads(np.array([[-5.0, 0, 0, 0], [5.0, 0, 0, 0]]), 0.0, 0.0, "softmax")
    assert certify(several, x, y, report=True).bound == "none: separable, the infimum 0 is not attained"


def test_a_direction_that_touches_all_rows_may_separate_some_of_them():
    """Quasi-separation of all rows is strict in a fold without the rows that touch. The infimum there is 0."""
    x, y = np.array([[-1.0], [0.0], [0.0], [1.0]]), np.array([0, 0, 1, 1])
    witness = Separation("quasi-separable", np.array([1.0]), np.array(0.0))
    heads = LinearHeads(coef=[[0.0]] * 2, intercept=[0.0] * 2, l2=0.0)
    weights = np.array([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    separable, touching = compute_certificate(heads, x, y, weights, tol=1e-6, witness=witness).bound
    assert separable == UNATTAINED
    assert touching == f"{QUASI_UNATTAINED} column 0"


def test_a_margin_of_rounding_is_no_witness():
    x = np.array([[1.0, 1.0], [-1.0, -1.0]])
    data = TrainingData(x, np.array([1, 0]), scaled_weights(np.ones((1, 2))))
    coef = np.array([[1.0, -1.0 + 2.0**-53]])
    assert not is_separable_by(coef, np.zeros(1), data)
    assert is_separable_by(np.array([[1.0, -0.9]]), np.zeros(1), data)


# -- what is refused -----------------------------------------------------------------------------------------


def test_wrong_input_is_refused_by_name():
    x, y = overlapping()
    with pytest.raises(TypeError, match="report: expected True or False"):
        certify(LinearHeads(np.zeros(4), 0.0, 1.0), x, y, report=1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="fit_intercept: expected True or False"):
        data_report(x, y, fit_intercept=0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="loss: expected"):
        data_report(x, y, loss="hinge")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="y: expected an array, got None"):
        data_report(x)
    with pytest.raises(ValueError, match="y: "):
        data_report(x, y + 0.5, loss="softmax")
    with pytest.raises(ValueError, match="y: "):
        data_report(x, y - 1, loss="softmax")
    with pytest.raises(ValueError, match="weights: "):
        data_report(x, y, -np.ones(len(x)))
    with pytest.raises(ValueError, match="x: expected finite"):
        data_report(np.where(x > 2, np.nan, x), y)
