"""Converged means the optimum also where the penalty is so strong that J hardly differs from that of no features.

There a share of J says nothing: `Certificate.gap_tol` takes the share of what the head improves.
"""

import functools

import numpy as np
import pytest
from oracles.head_oracle import Objective, optimum_of
from oracles.head_problems import LOSSES, head_cases, heads_problem
from seams import distance_of_intercept, spread_of_distance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from dlcore import LinearHeads, Status, certify, fit_heads

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]

TOL = 1e-6


def unit_rows(rng, n, m):
    """Gaussian rows of length 1."""
    x = rng.normal(size=(n, m))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def labels_of(loss, n, rng, classes=10):
    """Pure noise."""
    if loss == "squared":
        return rng.normal(size=n)
    return rng.integers(0, 2 if loss == "logistic" else classes, n)


def scores_of(heads):
    """The scores, which are there."""
    assert heads.scores is not None
    return heads.scores


def test_folds_of_noise_are_scored_by_heads_of_their_own():
    """A fold that started at the head of all rows, and stayed, would score up to 0.69 here."""
    rng = np.random.default_rng(1)
    x, y = unit_rows(rng, 500, 64), rng.integers(0, 2, 500)
    c = np.array([1e-16, 1e-12, 1e-7, 1e-6, 3e-6, 1e-5, 1e-4])
    heads = fit_heads(x, y, l2=1 / (c * 500), folds=5, scoring="roc_auc")
    assert set(heads.status) | set(heads.fold_status.ravel()) == {Status.CONVERGED}
    np.testing.assert_allclose(scores_of(heads).mean(0), 0.4876, atol=5e-5)


def test_folds_of_noise_of_ten_classes_score_alike_at_every_strong_penalty():
    rng = np.random.default_rng(1)
    x, y = unit_rows(rng, 500, 64), rng.integers(0, 10, 500)
    heads = fit_heads(x, y, loss="softmax", l2=np.geomspace(10, 1e9, 6), folds=5, scoring="roc_auc_ovr")
    assert set(heads.status) | set(heads.fold_status.ravel()) == {Status.CONVERGED}
    means = scores_of(heads).mean(0)
    np.testing.assert_allclose(means, means[0], atol=2e-3)


def test_the_chosen_strength_is_that_of_fits_made_alone():
    rng = np.random.default_rng(3)
    x = unit_rows(rng, 400, 64).astype(np.float32)
    y = (x @ rng.normal(size=64) + 0.7 * rng.normal(size=400) > 0).astype(int)
    c, folds = np.geomspace(1e-6, 1e6, 13), 4
    held = [np.arange(400) % folds == f for f in range(folds)]
    pairs = [(np.flatnonzero(~test), np.flatnonzero(test)) for test in held]
    heads = fit_heads(x, y, l2=1 / (c * 300), folds=pairs, scoring="roc_auc")
    alone = np.zeros((folds, len(c)))
    for f, (train, test) in enumerate(pairs):
        for k, strength in enumerate(c):
            model = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-10, max_iter=200)
            model.fit(x[train].astype(float), y[train])
            alone[f, k] = roc_auc_score(y[test], x[test].astype(float) @ model.coef_[0])
    np.testing.assert_allclose(scores_of(heads), alone, atol=2e-3)
    assert heads.best == alone.mean(0).argmax()


@pytest.mark.parametrize(("classes", "columns", "c"), [(20, 64, 1e-8), (100, 256, 1e-6)])
def test_no_softmax_head_is_zero(classes, columns, c):
    """Classes of one size have equal intercepts, and the smallest coefficients tell the rows apart."""
    rng = np.random.default_rng(0)
    y = np.arange(1000) % classes
    x = rng.normal(size=(classes, columns))[y] + 0.5 * rng.normal(size=(1000, columns))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    heads = fit_heads(x, y, loss="softmax", l2=[1 / (c * 1000)])
    assert heads.status[0] == Status.CONVERGED
    assert (heads.predict(x)[0] == y).mean() > 0.99


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("c", [1e-12, 1e-9, 1e-6])
def test_coefficients_are_those_of_first_order(c, fit_intercept):
    """w = −∇J(null)/λ up to a share of max‖x‖²/λ."""
    rng = np.random.default_rng(0)
    x = unit_rows(rng, 400, 80)
    y = (x @ rng.normal(size=80) > 0.05).astype(int)
    l2 = 1 / (c * 400)
    p = y.mean() if fit_intercept else 0.5
    for loss, slope in (("logistic", p - y), ("softmax", p - y), ("squared", 2 * (p * fit_intercept - y))):
        heads = fit_heads(x, y, loss=loss, l2=[l2], fit_intercept=fit_intercept)
        expected = -(slope @ (x - x.mean(0) * fit_intercept)) / 400 / l2
        coef = heads.coef[0] if loss != "softmax" else heads.coef[0, 1]
        assert np.linalg.norm(coef - expected) <= (1e-3 + 2 / l2) * np.linalg.norm(expected)
        assert heads.status[0] == Status.CONVERGED


@pytest.mark.parametrize("loss", LOSSES)
def test_a_gap_is_as_large_as_the_error_at_every_strength(loss):
    """Coefficients that are off by 1e-3 of themselves: 1e-6 of E, and no rounding beside it."""
    rng = np.random.default_rng(5)
    x = unit_rows(rng, 300, 20)
    y = labels_of(loss, 300, rng)
    l2 = 1 / (np.geomspace(1e-16, 1e-2, 8) * 300)
    heads = fit_heads(x, y, loss=loss, l2=l2)
    moved = heads.coef * 1.001
    proof = certify(LinearHeads(moved, heads.intercept, l2, loss), x, y)
    ratio = proof.gap / proof.improvement
    assert (ratio >= 0.9e-6).all()
    assert (ratio <= 2.5e-6).all()
    assert (proof.rounding <= 0.1 * proof.gap).all()
    assert (proof.gap > proof.gap_tol(0.5e-6)).all()
    assert (proof.gap <= proof.gap_tol(4e-6)).all()


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_value_without_features(loss, fit_intercept):
    rng = np.random.default_rng(2)
    x, s = rng.normal(size=(50, 3)), rng.uniform(0.1, 2, 50)
    y = labels_of(loss, 50, rng, classes=4)
    heads = fit_heads(x, y, loss=loss, l2=[1.0], sample_weight=s, fit_intercept=fit_intercept)
    s = s / s.sum()
    if loss == "squared":
        expected = s @ (y - s @ y * fit_intercept) ** 2
    else:
        share = np.bincount(y, s)
        expected = -(share @ np.log(share)) if fit_intercept else np.log(len(share))
    assert heads.certificate.null_value[0] == pytest.approx(expected, rel=1e-14)
    penalty = (heads.coef**2).sum() / 2
    better = max(expected - heads.value[0], penalty)
    assert heads.certificate.improvement[0] == pytest.approx(better, rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_head_without_a_signal_is_the_null_head(loss):
    """Each row stands once for each label, so that no coefficient helps."""
    rng = np.random.default_rng(4)
    classes = 2 if loss == "logistic" else 3
    x = np.tile(rng.normal(size=(20, 3)), (classes, 1))
    y = np.repeat(np.arange(classes), 20) * (0.3 if loss == "squared" else 1)
    heads = fit_heads(x, y, loss=loss, l2=[1e-6, 1.0, 1e9], folds=2)
    assert set(heads.status) == {Status.CONVERGED}
    assert not heads.coef.any()
    assert (heads.certificate.improvement == 0).all()


def test_a_gap_of_rounding_alone_is_not_converged_where_there_is_a_signal():
    """Zero heads: of a signal beyond rounding the gap is all of E*; their own E is 0."""
    rng = np.random.default_rng(6)
    x = unit_rows(rng, 60, 5)
    for loss in LOSSES:
        y = labels_of(loss, 60, rng, classes=3)
        heads = fit_heads(x, y, loss=loss, l2=np.geomspace(1, 1e12, 4))
        intercept = np.zeros_like(heads.intercept)
        if loss == "squared":
            intercept += y.mean()
        else:
            share = np.bincount(y) / 60
            intercept += np.log(share) if loss == "softmax" else np.log(share[1] / share[0])
        proof = certify(LinearHeads(np.zeros_like(heads.coef), intercept, heads.l2, loss), x, y)
        assert (proof.improvement == 0).all()
        assert (proof.gap > proof.gap_tol(TOL)).all()


def strong_problem(seed):
    """A random problem of `heads_problem` with strengths over 12 decades about the rows' own curvature."""
    problem = heads_problem(seed)
    rng = np.random.default_rng([seed, 17])
    size = np.sqrt(((problem.x - problem.x.mean(0) * problem.intercept) ** 2).sum(1).max())
    return problem._replace(l2=size**2 * 10.0 ** rng.uniform(-6, 6, 3))


def check(seed):
    """‖σ(w − w*)‖ is within what the gap proves, and small beside ‖σw*‖ where the penalty is felt."""
    problem = strong_problem(seed)
    heads = fit_heads(problem.x, problem.y, standardize=seed % 4 == 3, tol=TOL, **problem.arguments)
    scale = np.ones(problem.x.shape[1]) if heads.scale is None else heads.scale
    for asked in head_cases(problem):
        if asked.fit:
            continue
        k, objective = asked.strength, asked.objective
        objective = objective._replace(x=objective.x / scale)
        coef, gap = heads.coef[k] * scale, float(heads.certificate.gap[k])
        if objective.loss == "squared":
            optimum, null, least = least_squares(objective)
            off = 0.0
        else:
            theta, _, found = optimum_of(objective)
            optimum = theta[:, :-1].astype(float)
            null, least = float(heads.certificate.null_value[k]), float(found.value)
            off = float(np.sqrt(2 * float(found.error) / objective.l2))  # of the oracle itself
        away, length = np.linalg.norm(coef - optimum.reshape(coef.shape)), np.linalg.norm(optimum)
        rounding = 1e-13 * length + off
        assert away <= np.sqrt(2 * gap / objective.l2) + rounding
        assert heads.status[k] == Status.CONVERGED
        if objective.l2 / 2 * length**2 >= (null - least) / 4:
            assert away <= 2 * np.sqrt(TOL) * length + rounding


def check_folds(seed):
    """Each fold predicts and scores what a fit of its rows alone does, solved as far as float64 goes."""
    problem = strong_problem(seed)
    if problem.train is None:
        return
    pairs = [(np.flatnonzero(train), np.flatnonzero(~train)) for train in np.asarray(problem.train, bool)]
    predictions = []

    def kept(y, prediction, weights):
        predictions.append(prediction)
        return 0.0

    arguments = {**problem.arguments, "folds": pairs}
    heads = fit_heads(problem.x, problem.y, **arguments)
    fit_heads(problem.x, problem.y, scoring=kept, **arguments)
    for f, (train, test) in enumerate(pairs):
        if len(np.unique(problem.y[train])) < len(np.unique(problem.y)) and problem.loss != "squared":
            continue
        # Rows of weight 0 count nothing, and all fits are of one shape.
        weights = np.zeros(len(problem.x))
        weights[train] = problem.s[train]
        given = {**problem.arguments, "folds": None, "sample_weight": weights}
        alone = fit_heads(problem.x, problem.y, tol=1e-12, **given)
        expected = score_of(alone, problem.x[test], problem.y[test], problem.s[test])
        known = problem.l2 > 0
        difference = np.abs(scores_of(heads)[f] - expected)[known]
        assert (difference <= 2e-3 * np.maximum(1, np.abs(expected[known]))).all()
        scored = test[problem.s[test] > 0]
        for k in np.flatnonzero(known) if problem.loss != "squared" else ():
            exact = alone.predict_proba(problem.x[scored])[k]
            found = predictions[f * len(problem.l2) + k]
            found = found if problem.loss == "softmax" else np.column_stack([1 - found, found])
            check_ranks(found, exact, problem.y[scored].astype(int))


def check_targets(seed):
    """Each of two targets has the head that it has alone, as near as both gaps prove."""
    problem = strong_problem(seed)
    other = problem.y[::-1]
    if problem.loss == "softmax" or len(np.unique(other[problem.s > 0])) < 2:
        return
    arguments = {**problem.arguments, "folds": None, "standardize": seed % 4 == 3}
    both = fit_heads(problem.x, np.column_stack([problem.y, other]), **arguments)
    assert set(both.status.ravel()) == {Status.CONVERGED}
    for t, y in enumerate((problem.y, other)):
        alone = fit_heads(problem.x, y, **arguments)
        scale = np.ones(problem.x.shape[1]) if alone.scale is None else alone.scale
        away = np.linalg.norm((both.coef[t] - alone.coef) * scale, axis=1)
        gaps = np.sqrt(2 * both.certificate.gap[t] / problem.l2) + np.sqrt(2 * alone.certificate.gap / problem.l2)
        assert (away <= gaps + 1e-13 * np.linalg.norm(alone.coef * scale, axis=1)).all()


def check_ranks(found, exact, y):
    """Labels and ranks are the exact ones, but in rows and pairs that the exact head does not tell apart.

    A head within 2√tol of the exact one moves a logit by that part of what logits vary by, on either side.
    """
    classes = exact.shape[1]
    with np.errstate(divide="ignore"):
        z, near = np.log(exact), np.log(found)
    usable = np.isfinite(z).all() and np.isfinite(near).all()
    spread = 4 * np.sqrt(TOL) * np.ptp(z - z.mean(1, keepdims=True), axis=0).max() + 1e-12
    ordered = np.sort(z, axis=1)
    sure = ordered[:, -1] - ordered[:, -2] > spread
    assert (found.argmax(1) == exact.argmax(1))[sure].all()
    for k in range(1 if classes == 2 else 0, classes) if usable else ():
        if not 0 < (y == k).sum() < len(y):
            continue
        score, other = z[:, k], near[:, k]
        apart = score[y == k][:, None] - score[y != k]
        unsure = (np.abs(apart) <= spread).mean()
        assert abs(roc_auc_score(y == k, other) - roc_auc_score(y == k, score)) <= 2e-3 + unsure


def score_of(heads, x, y, s):
    """R², or minus the log loss, of every head: shape (l2,)."""
    if heads.loss == "squared":
        mean = np.average(y, weights=s)
        return 1 - (s * (heads.predict(x) - y) ** 2).sum(1) / (s * (y - mean) ** 2).sum()
    z = x @ np.moveaxis(heads.coef, -1, -2) + heads.intercept[:, None] if heads.loss == "softmax" else None
    if z is None:
        margin = (2 * y - 1) * (heads.coef @ x.T + heads.intercept[:, None])
        losses = np.logaddexp(0, -margin)
    else:
        losses = np.logaddexp.reduce(z, -1) - z[:, np.arange(len(y)), y.astype(int)]
    return -(s * losses).sum(1) / s.sum()


def least_squares(objective: Objective):
    """Coefficients, J of the best constant, and J*, by SciPy-free normal equations in extended precision."""
    s = (objective.s / objective.s.sum()).astype(np.longdouble)
    x, y = objective.x.astype(np.longdouble), objective.y.astype(np.longdouble)
    if objective.intercept:
        x, y = x - s @ x, y - s @ y
    root = np.sqrt(2 * s)[:, None]
    q, r = _orthogonal(np.concatenate([root * x, np.sqrt(np.longdouble(objective.l2)) * np.eye(x.shape[1])]))
    w = _back(r, q.T @ np.concatenate([root[:, 0] * y, np.zeros(x.shape[1])]))
    null = s @ y**2
    return w.astype(float), float(null), float(s @ (x @ w - y) ** 2 + objective.l2 / 2 * (w @ w))


def _orthogonal(a):
    """QR by modified Gram-Schmidt, twice, in extended precision."""
    q, r = a.copy(), np.eye(a.shape[1], dtype=np.longdouble)
    for _ in range(2):
        step = np.zeros_like(r)
        for j in range(a.shape[1]):
            step[j, j] = np.sqrt((q[:, j] ** 2).sum())
            q[:, j] /= step[j, j]
            step[j, j + 1 :] = q[:, j] @ q[:, j + 1 :]
            q[:, j + 1 :] -= np.outer(q[:, j], step[j, j + 1 :])
        r = step @ r
    return q, r


def _back(r, b):
    """Solve the triangular system in extended precision."""
    x = np.zeros_like(b)
    for j in range(len(b))[::-1]:
        x[j] = (b[j] - r[j, j + 1 :] @ x[j + 1 :]) / r[j, j]
    return x


@pytest.mark.parametrize("seed", range(9))
def test_coefficients_are_as_near_as_proven(seed):
    check(seed)
    check_folds(seed)
    check_targets(seed)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_coefficients_of_a_hundred_problems_are_as_near_as_proven(part):
    for seed in range(9 + 10 * part, 19 + 10 * part):
        check(seed)
        check_folds(seed)
        check_targets(seed)


SCORINGS = [
    ("logistic", "log_loss"),
    ("logistic", "accuracy"),
    ("logistic", "roc_auc"),
    ("softmax", "log_loss"),
    ("softmax", "accuracy"),
    ("softmax", "roc_auc_ovr"),
    ("squared", "r2"),
]


@pytest.mark.parametrize(("loss", "scoring"), SCORINGS)
def test_a_fold_scores_as_a_fit_made_alone(loss, scoring):
    """A real signal, weights and standardised columns, from almost no penalty to almost nothing else."""
    rng = np.random.default_rng(8)
    x, s = rng.normal(size=(120, 9)) * np.geomspace(0.1, 10, 9), rng.uniform(0.2, 2, 120)
    logits = (x / x.std(0)) @ rng.normal(size=(9, 3)) + rng.gumbel(size=(120, 3))
    y = {"squared": logits[:, 0], "logistic": (logits[:, 0] > 0).astype(int), "softmax": logits.argmax(1)}[loss]
    odd = np.arange(120) % 2 == 1
    pairs = [(np.flatnonzero(odd == f), np.flatnonzero(odd != f)) for f in range(2)]
    ask = functools.partial(fit_heads, loss=loss, l2=np.geomspace(1e-6, 1e9, 6), standardize=True)
    together = scores_of(ask(x, y, sample_weight=s, folds=pairs, scoring=scoring))
    for f, (train, test) in enumerate(pairs):
        alone = ask(x[train], y[train], sample_weight=s[train], tol=1e-12)
        if scoring in ("log_loss", "r2"):
            expected = score_of(alone, x[test], y[test], s[test])
        elif scoring == "accuracy":
            expected = ((alone.predict(x[test]) == y[test]) * s[test]).sum(1) / s[test].sum()
        elif scoring == "roc_auc":
            expected = [roc_auc_score(y[test], x[test] @ coef, sample_weight=s[test]) for coef in alone.coef]
        else:
            p = alone.predict_proba(x[test])
            expected = [
                np.mean([roc_auc_score(y[test] == k, one[:, k], sample_weight=s[test]) for k in range(3)])
                for one in p
            ]
        # Of a strong penalty the classes' intercepts alone decide a prediction, by less than any bound.
        strong = 4 if scoring == "accuracy" else 6
        np.testing.assert_allclose(together[f][:strong], expected[:strong], atol=2e-3)


def test_a_ridge_head_whose_gap_is_rounding_stays_what_it_is():
    """A column of 10⁶ times the others: the certificate's rounding is large, and the null head far worse."""
    rng = np.random.default_rng(0)
    columns = [np.eye(5)[rng.integers(0, 5, 2000)], rng.normal(size=(2000, 4)), 1e6 * rng.normal(size=(2000, 1))]
    x = np.concatenate(columns, axis=1)
    y = x[:, 0] + x[:, 5] + rng.normal(size=2000)
    heads = fit_heads(x, y, loss="squared", l2=[1e-4, 1e-7, 1e-9, 1e-12])
    assert (heads.value < 1.1).all()
    assert (heads.value < 0.7 * y.var()).all()
    assert (heads.coef[:, 5] > 0.8).all()


def test_nothing_is_converged_without_a_finite_gap():
    rng = np.random.default_rng(1)
    a, z = rng.normal(size=(2, 50))
    x = np.column_stack([a, a + 1e-9 * z])
    proof = certify(LinearHeads(np.zeros(2), z.mean(), 0.0, "squared"), x, z)
    assert proof.gap == np.inf
    assert proof.gap_tol(TOL) <= TOL * proof.value
    assert fit_heads(x, z, loss="squared", l2=0.0).status[0] != Status.CONVERGED
    balanced = np.tile(rng.normal(size=(20, 3)), (2, 1))
    y = np.repeat([0, 1], 20)
    heads = fit_heads(balanced, y, l2=[1e-25, 1e-30])
    proof = heads.certificate
    assert (proof.gap <= TOL * proof.value)[heads.status == Status.CONVERGED].all()


def test_what_a_rare_class_improves_is_no_rounding():
    """E is no more than the penalty's part where rows weigh 1e-8 and a penalty leaves 1e-21 to gain."""
    rng = np.random.default_rng(2)
    x, y = unit_rows(rng, 40, 3), (np.arange(40) % 4 == 0).astype(int)
    s = np.where(y == 1, 1e-8, 1.0)
    for loss in ("logistic", "softmax"):
        coef = np.full((2, 3) if loss == "softmax" else 3, 1e-18)
        share = s @ y / s.sum()
        intercept = np.log([1 - share, share]) if loss == "softmax" else np.log(share) - np.log1p(-share)
        proof = certify(LinearHeads(coef, intercept, 1e16, loss), x, y, s)
        assert proof.improvement == pytest.approx(1e16 / 2 * (coef**2).sum(), rel=1e-12)


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
@pytest.mark.parametrize("moved", ["coefficients", "intercept"])
def test_no_intercept_is_further_from_the_optimum_than_is_proven(loss, moved):
    """Coefficients that are off move the best intercept with them, or it is off alone."""
    rng = np.random.default_rng(9)
    x = rng.normal(size=(80, 2)) * 0.1 + 1
    y = labels_of(loss, 80, rng, classes=3)
    l2 = np.array([1e-2, 1.0, 1e2])
    heads = fit_heads(x, y, loss=loss, l2=l2, tol=1e-12)
    length = np.linalg.norm(x, axis=1).max()
    for size in (1e-2, 1e-4):
        coef, intercept = heads.coef.copy(), heads.intercept.copy()
        if moved == "coefficients":
            direction = np.ones(2) if loss == "logistic" else np.outer([1, 0, -1], np.ones(2))
            coef += size * direction
            intercept -= size * 2 * (1 if loss == "logistic" else np.array([1, 0, -1]))
        else:
            intercept += size * (1 if loss == "logistic" else np.array([1, 0, -1]))
        gap = certify(LinearHeads(coef, intercept, l2, loss), x, y).gap
        z = np.moveaxis(x @ np.moveaxis(coef, -1, 0).reshape(2, -1), 0, -1).reshape(*intercept.shape, -1)
        z = z + intercept[..., None]
        longest = np.full(3, length)
        if loss == "logistic":
            p = 1 / (1 + np.exp(-z))
            uneven, steepness = np.abs((p - y).mean(-1)), (p * (1 - p)).mean(-1)
            away, bound = (
                np.abs(intercept - heads.intercept),
                distance_of_intercept(gap, l2, longest, uneven, steepness),
            )
        else:
            p = np.exp(z - np.logaddexp.reduce(z, 1, keepdims=True))
            share = np.bincount(y) / 80
            uneven = np.maximum(p.mean(-1) - share, 0).sum(-1)
            steepness = (p.min(1) ** 2).mean(-1)
            away = np.ptp(intercept - heads.intercept, axis=-1)
            bound = spread_of_distance(gap, l2, longest, uneven, steepness, 3)
        assert (away <= bound * (1 + 1e-6)).all()
        assert (away > 0).all()
