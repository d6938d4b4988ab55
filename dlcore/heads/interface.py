"""`fit_heads`: many linear heads over one copy of the features, each with its proof."""

from typing import Any

import jax
import numpy as np

from dlcore import _checks
from dlcore._status import Status
from dlcore.certificate import Certificate, LinearHeads, certify
from dlcore.heads.inputs import Inputs, place, read_inputs
from dlcore.heads.judging import Judge
from dlcore.heads.logistic import Sweep
from dlcore.heads.placing import shared
from dlcore.heads.result import Heads, statuses
from dlcore.heads.ridge import fit_ridge
from dlcore.heads.row_products import Streamed
from dlcore.heads.softmax import SoftmaxSweep
from dlcore.heads.validated import validation_scores

SCORINGS = {"logistic": ("log_loss", "accuracy"), "softmax": ("log_loss", "accuracy"), "squared": ("r2",)}
MAX_STEPS = {"logistic": 100, "softmax": 1000, "squared": 1}
ROUNDS = 3
"""So often a head whose certificate is not good enough is taken further."""


def fit_heads(
    x: Any,
    y: Any,
    *,
    loss: str = "logistic",
    l2: Any,
    folds: Any = None,
    scoring: str | None = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    validation: Any = None,
    fit_intercept: bool = True,
    standardize: bool = False,
    tol: float = 1e-6,
    max_steps: int | None = None,
) -> Heads:
    r"""Linear heads of every strength, and of every fold, over one copy of the features, each certified.

    Head k minimises $J(w, b) = \frac1S\sum_i s_i\ell_i + \frac{\lambda_k}2\|w\|^2$, $S = \sum_i s_i$; the
    intercept is not penalised. It has converged where its certificate proves
    $J - J^* \le \mathrm{tol}\cdot\max(J, 10^{-3}J_0)$, $J_0$ the objective of the best intercept alone. The
    squared loss is solved exactly from one factorisation per fold, the logistic by Newton's method with curvature
    shared between neighbouring strengths and between folds, the softmax by L-BFGS in a shared metric; all in
    compiled programs that know neither strengths nor folds, whose last gradients are float64 where float32 is not
    enough, whatever JAX's x64 mode. Another sweep of as many strengths and folds over data of the same shape
    compiles nothing, but for a program that only what float32 cannot solve, or scores that round too much, ask
    for: the first time it is needed.

    Args:
      x: shape (n, m), any real dtype, kept as it is and read block by block in float64: NumPy, also on disk, JAX,
        torch or whatever lends its memory; or a sparse table of SciPy's, which is dense on the device alone.
      y: shape (n,) or (n, targets): labels 0 and 1 for "logistic", any numbers for "squared"; for "softmax" shape
        (n,), the numbers of classes 0, 1, ….
      loss: "logistic", "softmax" or "squared".
      l2: λ, a number or several, at least 0. scikit-learn: C = 1/(λ·S), Ridge's alpha = λ·S/2. Or a table
        (folds, l2) with strengths for each fold; those on all rows then keep C: λ·S is the mean of λ_f·S_f.
      folds: None; an integer, scikit-learn's StratifiedKFold (KFold for numbers or many targets), not shuffled;
        0/1 weights of shape (folds, n), 1 where a row trains, scored on the others; a splitter of scikit-learn,
        or pairs (rows that train, rows that are scored). At most 31.
      scoring: of the folds: "log_loss" (the default, negative) or "accuracy", "r2" for the squared loss; rows
        count with their weight.
      sample_weight: shape (n,), s; None weighs every row 1.
      class_weight: what the rows of a class weigh besides, in every J but in no score: a dictionary with a
        positive number for every label; or "balanced", S/(K·S_k) for class k of K, over all rows and for each
        target, as scikit-learn has it. S then counts them too, and `certify` takes s times them as weights.
      validation: in place of folds, (x, y) or (x, y, weights): the heads are fitted on all rows and scored here.
      fit_intercept: whether b is fitted; else it is 0.
      standardize: whether the penalty is of the weights of standardised columns, $\frac{\lambda_k}2\sum_j
        (\sigma_jw_j)^2$, σ the deviations that s gives over the rows that train the fit or fold, 1 for a constant
        column. Weights and `certify` stay those of the columns as given; without an intercept none is centred.
      tol: see above.
      max_steps: the most passes over all rows for one head: by default 100 (logistic) or 1000 (softmax).

    Returns:
      `Heads`, float64 NumPy, in the order of `l2`, with an axis of targets in front where y has one. No head is
      returned without its certificate: a status other than converged says why it proves less, or that no row of a
      fold trains one of the classes, to which its softmax head gives the probability 0. At l2 = 0 the
      cross-entropies have no bound: `separable` where the head puts every row on its side, so that no optimum
      exists, else `unproven`. Not differentiable.

    Raises:
      ValueError: if shapes do not fit, a value is not finite, labels are not 0 and 1, a fold trains on one class,
        or without an intercept not on all, a class has no weight or is unknown, or a choice is unknown.
      TypeError: if something is not an array of real numbers.

    Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, sections 3.4.1 and 4.4.1;
    Nocedal and Wright, Numerical Optimization, section 3.3 (Newton with line search).

    >>> x = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> heads = fit_heads(x, np.array([0, 0, 1, 0, 1, 1]), l2=[0.01, 0.1, 1.0], folds=2)
    >>> print(heads.coef.shape, heads.scores.shape, *heads.status)
    (3, 1) (2, 3) converged converged converged
    >>> ridge = fit_heads(x, 2 * x[:, 0] + 1, loss="squared", l2=0.0)
    >>> print(ridge.coef.round(6), ridge.intercept.round(6))
    [[2.]] [1.]
    """
    x = shared(x)
    inputs = read_inputs(
        x, y, loss, l2, folds, sample_weight, class_weight, validation, standardize, fit_intercept
    )
    scoring = SCORINGS[loss][0] if scoring is None else scoring
    if scoring not in SCORINGS[loss]:
        expected = " or ".join(map(repr, SCORINGS[loss]))
        raise ValueError(f"scoring: expected {expected} for loss {loss!r}, got {scoring!r}")
    _checks.check_number("tol", tol, above=0)
    max_steps = MAX_STEPS[loss] if max_steps is None else _checks.check_count("max_steps", max_steps)
    with jax.enable_x64(True):
        if loss == "squared":
            return _squared(inputs, x, scoring, bool(fit_intercept), float(tol))
        rows = place(inputs, x)
        device = next(iter(rows.x.devices()))
        kind = Sweep if loss == "logistic" else SoftmaxSweep
        sweep = kind(inputs, rows, fit_intercept=bool(fit_intercept), tol=float(tol), max_steps=max_steps)
        return _entropic(
            sweep, inputs, rows.scale, loss, scoring, bool(fit_intercept), float(tol), max_steps, device
        )


def _entropic(
    sweep: Sweep | SoftmaxSweep,
    inputs: Inputs,
    scale: np.ndarray | None,
    loss: str,
    scoring: str,
    fit_intercept: bool,
    tol: float,
    max_steps: int,
    device: Any,
) -> Heads:
    sweep.run()
    theta = sweep.heads()
    targets = len(theta) // len(inputs.train)  # a problem is a fit of a target, fit after fit
    l2 = inputs.l2.repeat(targets, axis=0)

    def certified(p: int) -> Certificate:
        fit = p // targets
        of_fit = None if scale is None else scale[fit]
        return _certified(inputs, theta[p], of_fit, fit, p % targets, fit_intercept, loss)

    proofs = [certified(p) for p in range(len(theta))]
    for _ in range(ROUNDS):
        gap, allowed = _gaps(proofs), tol * _scale(proofs, sweep.entropy)
        short = [(int(p), int(k)) for p, k in np.argwhere((gap > allowed) & (l2 > 0))]
        closer = np.clip(0.1 * allowed / gap, 1e-4, 0.1)
        if not short or not sweep.again(short, closer):
            break
        theta = sweep.heads()
        for p in {p for p, _ in short}:
            proofs[p] = certified(p)
    gap = _gaps(proofs)
    exhausted = sweep.steps >= max_steps
    ended = statuses(gap, tol * _scale(proofs, sweep.entropy), l2, sweep.separates, exhausted)
    absent = np.isneginf(theta).any(tuple(range(2, theta.ndim)))
    ended[absent & (ended == Status.CONVERGED)] = Status.CLASS_ABSENT

    def of_all_rows(array: np.ndarray) -> np.ndarray:
        """The fits on all rows, with an axis of targets where y has one."""
        return array[:targets] if inputs.y.ndim == 2 else array[0]

    def of_folds(array: np.ndarray) -> np.ndarray:
        """Shape (folds, L), with that axis in front where y has it."""
        array = array.reshape(-1, targets, array.shape[-1])
        return array.swapaxes(0, 1) if inputs.y.ndim == 2 else array[:, 0]

    scores = None
    if len(inputs.train) > 1:
        lost, right = sweep.scores()
        mass = np.where(inputs.test[1:], inputs.scored, 0).sum(1).repeat(targets)[:, None]
        scores = of_folds(-lost / mass if scoring == "log_loss" else right / mass)
    elif inputs.validation is not None:
        scores = validation_scores(theta, inputs.validation, loss, scoring, device)
        scores = of_folds(scores)
    certificate = _together(proofs[:targets]) if inputs.y.ndim == 2 else proofs[0]
    return Heads(
        coef=of_all_rows(theta[..., :-1]),
        intercept=of_all_rows(theta[..., -1]),
        l2=inputs.l2[0],
        loss=loss,
        value=certificate.value,
        status=of_all_rows(ended),
        certificate=certificate,
        steps=of_all_rows(sweep.steps),
        fold_status=of_folds(ended[targets:]),
        fold_gap=of_folds(gap[targets:]),
        scores=scores,
        scoring=scoring,
        best=None if scores is None else _best(scores, inputs.l2[0]),
        device=str(device),
        scale=None if scale is None else scale[0],
    )


def _squared(inputs: Inputs, x: Any, scoring: str, fit_intercept: bool, tol: float) -> Heads:
    streamed = Streamed(inputs, x, fit_intercept=fit_intercept)
    judge = Judge(inputs, fit_intercept=fit_intercept, tol=tol)
    fits = fit_ridge(inputs, streamed)
    first = next(fits)
    proof, ended = judge.judged(0, first.coef, first.intercept, first.scale)
    fold_gap, fold_status, fold_scores = [], [], []
    for fit, fitted in enumerate(fits, 1):  # a fold's heads go as soon as they are judged
        found, end = judge.judged(fit, fitted.coef, fitted.intercept, fitted.scale)
        fold_gap.append(found.gap)
        fold_status.append(end)
        fold_scores.append(fitted.scores)
    folds = (len(fold_gap), *proof.gap.shape)
    scores = np.stack(fold_scores) if fold_scores else None
    if inputs.validation is not None:
        theta = np.concatenate([first.coef, first.intercept[..., None]], axis=-1).swapaxes(0, 1)
        scores = validation_scores(theta, inputs.validation, "squared", scoring, streamed.device).T[None]

    def shaped(array: np.ndarray, axis: int) -> np.ndarray:
        """Without the axis of targets where y has none, else with that axis in front."""
        return np.moveaxis(array, axis, 0) if inputs.y.ndim == 2 else array.squeeze(axis)

    bound = shaped(np.array(proof.bound, object).reshape(proof.gap.shape), 1)
    certificate = Certificate(
        value=shaped(proof.value, 1),
        gradient_norm=shaped(proof.gradient_norm, 1),
        gap=shaped(proof.gap, 1),
        rounding=shaped(proof.rounding, 1),
        bound=tuple(bound.ravel()),
    )
    scores = None if scores is None else shaped(scores, -1)
    return Heads(
        coef=shaped(first.coef, 1),
        intercept=shaped(first.intercept, 1) * fit_intercept,
        l2=inputs.l2[0],
        loss="squared",
        value=certificate.value,
        status=shaped(ended, 1),
        certificate=certificate,
        steps=np.ones(certificate.gap.shape, np.int64),
        fold_status=shaped(np.array(fold_status, object).reshape(folds), 2),
        fold_gap=shaped(np.array(fold_gap).reshape(folds), 2),
        scores=scores,
        scoring=scoring,
        best=None if scores is None else _best(scores, inputs.l2[0]),
        device=str(streamed.device),
        scale=first.scale,
    )


def _certified(
    inputs: Inputs,
    theta: np.ndarray,
    scale: np.ndarray | None,
    fit: int,
    target: int,
    fit_intercept: bool,
    loss: str,
) -> Certificate:
    """Of the heads of all strengths of one fit and target."""
    weights = inputs.weights(fit, target)
    y = inputs.y if inputs.y.ndim == 1 else inputs.y[:, target]
    if np.isneginf(theta).any():  # of a class without rows: what is left are heads of the others
        present = np.isfinite(theta[0, :, -1])
        theta, y = theta[:, present], np.where(present, np.cumsum(present) - 1, 0)[y.astype(np.intp)]
    heads = LinearHeads(theta[..., :-1], theta[..., -1] if fit_intercept else None, inputs.l2[fit], loss, scale)
    return certify(heads, inputs.x, y, None if (weights == weights[0]).all() else weights)


def _together(proofs: list[Certificate]) -> Certificate:
    """Of several targets, shape (targets, L)."""
    value, gradient_norm, gap, rounding = (
        np.stack([getattr(proof, name) for proof in proofs])
        for name in ("value", "gradient_norm", "gap", "rounding")
    )
    bound = tuple(name for proof in proofs for name in proof.bound)
    return Certificate(value, gradient_norm, gap, rounding, bound)


def _gaps(proofs: list[Certificate]) -> np.ndarray:
    return np.stack([proof.gap for proof in proofs])


def _scale(proofs: list[Certificate], start: np.ndarray) -> np.ndarray:
    """max(J, 1e-3·J₀), J₀ of each fit (and target)."""
    return np.maximum(np.stack([proof.value for proof in proofs]), 1e-3 * np.expand_dims(start, 1))


def _best(scores: np.ndarray, l2: np.ndarray) -> Any:
    """The index of the best mean score; the strongest penalty where several are equal."""
    order = np.argsort(-l2, kind="stable")
    best = order[scores.mean(-2)[..., order].argmax(-1)]
    return int(best) if np.ndim(best) == 0 else best
