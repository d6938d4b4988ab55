"""`fit_heads`: many linear heads over one copy of the features, each with its proof."""

import functools
import os
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore import _archive, _checks
from dlcore.certificate import Certificate, LinearHeads, certify
from dlcore.heads import logistic, softmax
from dlcore.heads.choosing import best_of, warn_at_the_edge
from dlcore.heads.inputs import Inputs, place, read_inputs
from dlcore.heads.judging import Judge
from dlcore.heads.leave_one_out import NAME, check_leave_one_out, left_out_scores
from dlcore.heads.logits import logits_of
from dlcore.heads.result import Heads, statuses
from dlcore.heads.ridge import Parts, Spectrum, fit_ridge, predictions, r2_scores
from dlcore.heads.row_products import Streamed
from dlcore.heads.saving import PROOF, as_statuses, proof_arrays, proof_of
from dlcore.heads.scoring import SUMS, Scoring, check_held_out, name_of, read_scoring, scores_of, weight_scale
from dlcore.heads.stages import Stages, problem_of

MAX_STEPS = {"logistic": 100, "softmax": 1000, "squared": 1}
SWEEPS = {"logistic": (logistic.Sweep, logistic.STATE), "softmax": (softmax.SoftmaxSweep, softmax.STATE)}
ROUNDS = 3
"""So often a head whose certificate is not good enough is taken further."""


def fit_heads(
    x: Any,
    y: Any,
    *,
    loss: str = "logistic",
    l2: Any,
    folds: Any = None,
    scoring: Scoring | None = None,
    sample_weight: Any = None,
    fit_intercept: bool = True,
    tol: float = 1e-6,
    max_steps: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Heads:
    r"""Linear heads of every strength, and of every fold, over one copy of the features, each certified.

    Head k minimises $J(w, b) = \frac1S\sum_i s_i\ell_i + \frac{\lambda_k}2\|w\|^2$, $S = \sum_i s_i$; the
    intercept is not penalised. It has converged where its certificate proves
    $J - J^* \le \mathrm{tol}\cdot\max(J, 10^{-3}J_0)$, $J_0$ the objective of the best intercept alone. The
    squared loss is solved exactly from one factorisation per fold, the logistic by Newton's method with curvature
    shared between neighbouring strengths and between folds, the softmax by L-BFGS in a shared metric; all in
    compiled programs that know neither strengths nor folds, whose last gradients are float64 where float32 is not
    enough, whatever JAX's x64 mode. Another sweep of as many strengths and folds over data of the same shape
    compiles nothing.

    Args:
      x: shape (n, m): NumPy or JAX, any real dtype, kept as it is and read block by block in float64.
      y: shape (n,) or (n, targets): labels 0 and 1 for "logistic", any numbers for "squared"; for "softmax" shape
        (n,), the numbers of classes 0, 1, ….
      loss: "logistic", "softmax" or "squared".
      l2: λ, a number or several, at least 0. scikit-learn: C = 1/(λ·S), Ridge's alpha = λ·S/2.
      folds: None; an integer, scikit-learn's StratifiedKFold (KFold for numbers or many targets), not shuffled;
        0/1 weights of shape (folds, n), 1 where a row trains, scored on the others; a splitter of scikit-learn,
        or pairs (rows that train, rows that are scored). At most 31. "leave-one-out" for the squared loss: every
        row by the others, from the one factorisation of all rows, at the alpha of all rows as RidgeCV has it: the
        others' λ is λ·S/(S − sᵢ). One row of scores is of all rows together, −inf where at λ = 0 the others do
        not determine a row; there are no fits of folds to certify.
      scoring: of the folds, larger is better; rows count with their weight. "log_loss" (the default, negative),
        "accuracy"; "roc_auc" of the logistic loss, "roc_auc_ovr" of the softmax, the mean over the classes of each
        against the others; "r2", the default of the squared loss. Or a function of (y, prediction, weights) of the
        rows of positive weight that a fold holds out, for every fold, strength and target: float64 NumPy, (n,)
        each; the prediction is the probability of class 1, of all classes (n, classes), or the number; the weights
        are as given, or 1. It answers a finite number.
      sample_weight: shape (n,), s; None weighs every row 1.
      fit_intercept: whether b is fitted; else it is 0.
      tol: see above.
      max_steps: the most passes over all rows for one head: by default 100 (logistic) or 1000 (softmax).
      checkpoint: the path of a file. It is written as stages are done, taking at most a twentieth of the time, and
        when the call is broken off; called again with the same arguments, fit_heads goes on behind the last stage
        that is in it: the anchors, the fits on all rows and those of the folds of some targets (logistic), some
        strengths (softmax), a fold (squared), and the certificates. The result has the bits of an unbroken call on
        the same machine and versions. It is kept at the end.

    Returns:
      `Heads`, float64 NumPy, in the order of `l2`, with an axis of targets in front where y has one. No head is
      returned without its certificate: a status other than converged says why it proves less. At l2 = 0 the
      cross-entropies have no bound: `separable` where the head puts every row on its side, so that no optimum
      exists, else `unproven`. Not differentiable.

    Raises:
      ValueError: if shapes do not fit, a value is not finite, labels are not 0 and 1, a fold trains on one class
        or, to be ranked, is scored on one, a choice is unknown, a function's score is not finite, or a checkpoint
        is damaged or of other arguments.
      TypeError: if something is not an array of real numbers, a function's score no real number, or a path none.

    Warns:
      GridEdgeWarning: if the best of three strengths or more is the weakest, and not 0, or the strongest.

    Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, sections 3.4.1 and 4.4.1;
    Nocedal and Wright, Numerical Optimization, section 3.3 (Newton with line search).

    >>> x = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> heads = fit_heads(x, np.array([0, 0, 1, 0, 1, 1]), l2=[0.01, 0.1, 1.0, 10.0], folds=2)
    >>> print(heads.coef.shape, heads.scores.shape, *heads.status)
    (4, 1) (2, 4) converged converged converged converged
    >>> ridge = fit_heads(x, 2 * x[:, 0] + 1, loss="squared", l2=0.0)
    >>> print(ridge.coef.round(6), ridge.intercept.round(6))
    [[2.]] [1.]
    """
    left_out = isinstance(folds, str) and folds == NAME
    inputs = read_inputs(x, y, loss, l2, None if left_out else folds, sample_weight)
    if left_out:
        check_leave_one_out(inputs, loss)
    scoring = read_scoring(scoring, loss)
    check_held_out(scoring, inputs)
    if not isinstance(fit_intercept, bool | np.bool_):
        raise TypeError(f"fit_intercept: expected True or False, got {fit_intercept!r}")
    _checks.check_number("tol", tol, above=0)
    max_steps = MAX_STEPS[loss] if max_steps is None else _checks.check_count("max_steps", max_steps)
    path = None if checkpoint is None else _archive.check_path("checkpoint", checkpoint)
    asked = Asked(loss, scoring, left_out, bool(fit_intercept), float(tol), max_steps, weight_scale(sample_weight))
    problem = {} if path is None else problem_of(inputs, **asked.problem())
    with jax.enable_x64(True), Stages(path, problem) as stages:
        heads = (_squared if loss == "squared" else _entropic)(inputs, x, asked, stages)
    if heads.best is not None:
        warn_at_the_edge(heads.best, heads.l2, stacklevel=2)
    return heads


class Asked(NamedTuple):
    """The choices of a call, checked; `scale` is what the weights were divided by."""

    loss: str
    scoring: Scoring
    left_out: bool
    fit_intercept: bool
    tol: float
    max_steps: int
    scale: float

    def problem(self) -> dict[str, Any]:
        """What stages depend on. The scores of ridge heads are among them, those of others are made at the end."""
        choices = {name: getattr(self, name) for name in ("loss", "left_out", "fit_intercept", "tol", "max_steps")}
        return choices | ({"scoring": name_of(self.scoring)} if self.loss == "squared" else {})


def _entropic(inputs: Inputs, x: Any, asked: Asked, stages: Stages) -> Heads:
    loss, tol, scoring = asked.loss, asked.tol, asked.scoring
    rows = place(inputs, x)
    kind, state = SWEEPS[loss]
    sweep = kind(inputs, rows, fit_intercept=asked.fit_intercept, tol=tol, max_steps=asked.max_steps)
    sweep.run(stages)
    theta = sweep.heads()
    targets = len(theta) // len(inputs.train)  # a problem is a fit of a target, fit after fit

    def certified(p: int, times: int) -> Certificate:
        def made() -> dict[str, np.ndarray]:
            return proof_arrays(_certified(inputs, theta[p], p // targets, p % targets, asked.fit_intercept, loss))

        return proof_of(stages.once(f"proof {times} of {p}", made))

    proofs = [certified(p, 0) for p in range(len(theta))]
    for times in range(1, ROUNDS + 1):
        gap, allowed = _gaps(proofs), tol * _scale(proofs, sweep.entropy)
        short = np.argwhere((gap > allowed) & (inputs.l2 > 0))
        closer = np.clip(0.1 * allowed / gap, 1e-4, 0.1)
        if not len(short):
            break
        heads = [(int(p), int(k)) for p, k in short]
        make = functools.partial(lambda *now: np.bool_(sweep.again(*now)), heads, closer)
        if not stages.on(f"round {times}", sweep, state, tuple(short.T), make):
            break
        theta = sweep.heads()
        for p in np.unique(short[:, 0]):
            proofs[p] = certified(int(p), times)
    gap = _gaps(proofs)
    l2 = np.broadcast_to(inputs.l2, gap.shape)
    exhausted = sweep.steps >= asked.max_steps
    ended = statuses(gap, tol * _scale(proofs, sweep.entropy), l2, sweep.separates, exhausted)

    def of_all_rows(array: np.ndarray) -> np.ndarray:
        """The fits on all rows, with an axis of targets where y has one."""
        return array[:targets] if inputs.y.ndim == 2 else array[0]

    def of_folds(array: np.ndarray) -> np.ndarray:
        """Shape (folds, L), with that axis in front where y has it."""
        array = array.reshape(-1, targets, array.shape[-1])
        return array.swapaxes(0, 1) if inputs.y.ndim == 2 else array[:, 0]

    scores = best = None
    if len(inputs.train) > 1:
        if scoring in SUMS:
            lost, right = sweep.scores()
            mass = np.where(inputs.test[1:], inputs.weight, 0).sum(1).repeat(targets)[:, None]
            found = -lost / mass if scoring == "log_loss" else right / mass
        else:
            linear = functools.partial(logits_of, rows.x)
            of_fits = enumerate(theta.reshape(-1, targets, *theta.shape[1:]))
            found = np.concatenate(
                [scores_of(scoring, loss, inputs, f, heads, asked.scale, linear) for f, heads in of_fits if f]
            )
        scores = of_folds(found)
        best = best_of(scores, inputs.l2)
    certificate = _together(proofs[:targets]) if inputs.y.ndim == 2 else proofs[0]
    return Heads(
        coef=of_all_rows(theta[..., :-1]),
        intercept=of_all_rows(theta[..., -1]),
        l2=inputs.l2,
        loss=loss,
        value=certificate.value,
        status=of_all_rows(ended),
        certificate=certificate,
        steps=of_all_rows(sweep.steps),
        fold_status=of_folds(ended[targets:]),
        fold_gap=of_folds(gap[targets:]),
        scores=scores,
        scoring=name_of(scoring),
        best=best,
        device=str(next(iter(rows.x.devices()))),
    )


def _squared(inputs: Inputs, x: Any, asked: Asked, stages: Stages) -> Heads:
    streamed = Streamed(inputs, x, fit_intercept=asked.fit_intercept)
    judge = Judge(inputs, fit_intercept=asked.fit_intercept, tol=asked.tol)
    scored = functools.partial(_ridge_scores, inputs, streamed, asked)

    def fitted(fit: int) -> dict[str, np.ndarray]:
        """A fold's heads go as soon as they are judged."""
        score = functools.partial(scored, fit) if fit or asked.left_out else None
        found = fit_ridge(inputs, streamed, fit, score)
        proof, ended = judge.judged(fit, found.coef, found.intercept)
        kept = {"ended": ended.astype(str)} | proof_arrays(proof)
        kept |= {} if fit else {"coef": found.coef, "intercept": found.intercept}
        return kept if found.scores is None else kept | {"scores": found.scores}

    fits = [stages.once(f"fit {fit}", functools.partial(fitted, fit)) for fit in range(len(inputs.train))]
    first, folds = fits[0], fits[1:]
    shape = first["gap"].shape

    def shaped(array: np.ndarray, axis: int) -> np.ndarray:
        """Without the axis of targets where y has none, else with that axis in front."""
        return np.moveaxis(array, axis, 0) if inputs.y.ndim == 2 else array.squeeze(axis)

    def of_folds(name: str) -> np.ndarray:
        return shaped(np.array([fold[name] for fold in folds]).reshape(len(folds), *shape), 2)

    certificate = proof_of({name: shaped(first[name], 1) for name in PROOF})
    scores = [fit["scores"] for fit in fits if "scores" in fit]
    scores = shaped(np.stack(scores), 2) if scores else None
    return Heads(
        coef=shaped(first["coef"], 1),
        intercept=shaped(first["intercept"], 1) * asked.fit_intercept,
        l2=inputs.l2,
        loss="squared",
        value=certificate.value,
        status=as_statuses(shaped(first["ended"], 1)),
        certificate=certificate,
        steps=np.ones(certificate.gap.shape, np.int64),
        fold_status=as_statuses(of_folds("ended")),
        fold_gap=of_folds("gap").astype(np.float64),
        scores=scores,
        scoring=name_of(asked.scoring),
        best=None if scores is None else best_of(scores, inputs.l2),
        device=str(streamed.device),
    )


def _ridge_scores(
    inputs: Inputs, streamed: Streamed, asked: Asked, fit: int, spectrum: Spectrum, parts: Parts
) -> np.ndarray:
    """Of the rows that a fold holds out, or of each row left out: shape (L, targets)."""
    if asked.left_out:
        return left_out_scores(inputs, streamed, asked.scoring, asked.scale, spectrum, parts)
    if asked.scoring == "r2":
        return r2_scores(inputs, streamed, fit, parts)
    coef, intercept = (np.concatenate(part)[: len(inputs.l2)] for part in zip(*parts, strict=True))
    theta = np.concatenate([coef, intercept[..., None]], axis=-1).swapaxes(0, 1)
    linear = functools.partial(predictions, streamed)
    return scores_of(asked.scoring, "squared", inputs, fit, theta, asked.scale, linear).T


def _certified(
    inputs: Inputs, theta: np.ndarray, fit: int, target: int, fit_intercept: bool, loss: str
) -> Certificate:
    """Of the heads of all strengths of one fit and target."""
    chosen = inputs.train[fit]
    heads = LinearHeads(theta[..., :-1], theta[..., -1] if fit_intercept else None, inputs.l2, loss)
    weights = np.where(chosen, inputs.weight, 0)
    y = inputs.y if inputs.y.ndim == 1 else inputs.y[:, target]
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
