"""Heads of smooth losses: solved, certified, refined where the gap is too large, and scored."""

import dataclasses
import functools

import numpy as np

from dlcore._core.blas_threads import blas_threads_for
from dlcore._core.status import Status
from dlcore.certificate import Certificate, LinearHeads
from dlcore.certificate.certify import compute_certificate
from dlcore.certificate.data_report.separation import Separation, separation_of_head
from dlcore.certificate.data_report.separation_names import QUASI_UNATTAINED
from dlcore.certificate.rows import DataLike, scaled_weights
from dlcore.heads.checkpoint import StageCache
from dlcore.heads.data.training_data import DeviceRows, TrainingData, place_rows
from dlcore.heads.files import certificate_arrays, certificate_form, certificate_from_arrays, merge_certificates
from dlcore.heads.options import FitOptions
from dlcore.heads.result import FoldHeads, Heads, is_idle, statuses
from dlcore.heads.scoring.best_penalty import best_of
from dlcore.heads.scoring.held_out import held_out, name_of, scores_of, validation_scores
from dlcore.heads.scoring.logits import logits_of
from dlcore.heads.solvers.lbfgs_sweep import STATE, LBFGSSweep
from dlcore.heads.timing import Stopwatch

ROUNDS = 4
"""The most rounds of refinement of a head whose gap exceeds its tolerance."""


def iterative_heads(
    inputs: TrainingData, x: DataLike, fit_options: FitOptions, stages: StageCache, clock: Stopwatch
) -> tuple[Heads, tuple[FoldHeads, ...]]:
    """Fit heads by L-BFGS and Newton's method, in JAX's x64 mode.

    Return the heads of all rows, and of each fold if they are kept.
    """
    rows = place_rows(inputs, x)
    # Stage names begin with the method, so that certificates of an older method are not read from a checkpoint.
    name = "L-BFGS, "
    reporter = stages.reporter
    sweep = LBFGSSweep(
        inputs,
        rows,
        loss=inputs.loss.name,
        fit_intercept=fit_options.fit_intercept,
        tol=fit_options.tol,
        max_steps=fit_options.max_steps,
        reporter=reporter,
    )
    sweep.run(stages)
    theta = sweep.heads()
    targets = inputs.targets  # problem p is target p % targets of fit p // targets
    l2 = inputs.l2.repeat(targets, axis=0)

    @functools.cache
    def witness_of(target: int) -> Separation | None:
        """Return a direction that quasi-separates all rows, or None.

        The direction usually quasi-separates the rows of a fold too.
        """
        quasi = np.char.startswith(np.array(certificates[target].bound), QUASI_UNATTAINED)
        if not quasi.any():
            return None
        head, y = theta[target, quasi.argmax()], inputs.y[:, target] if inputs.has_targets else inputs.y
        bias = head[..., -1] if fit_options.fit_intercept else None
        weights = scaled_weights(inputs.weights(0, target)[None])
        with np.errstate(over="ignore", invalid="ignore"):
            return separation_of_head(head[..., :-1], bias, inputs.x, y, weights)

    def certified(p: int, times: int) -> Certificate:
        """Return the certificate of the heads of a problem in a round, from the checkpoint if it has it."""

        def made() -> dict[str, np.ndarray]:
            scale = None if rows.scale is None else rows.scale[p // targets]
            witness = witness_of(p % targets) if p >= targets else None
            with clock.certifying():
                certificate = certificate_of(
                    inputs,
                    theta[p],
                    fit_options,
                    fit=p // targets,
                    target=p % targets,
                    scale=scale,
                    witness=witness,
                )
            return certificate_arrays(certificate)

        return certificate_from_arrays(
            stages.once(f"{name}proof {times} of {p}", made, certificate_form((theta.shape[1],)))
        )

    if reporter is not None:
        reporter.begin("certify")
    # The fits on all rows are certified first: folds use their direction of separation.
    certificates = [certified(p, 0) for p in range(targets)]
    certificates += [certified(p, 0) for p in range(targets, len(theta))]
    for times in range(1, ROUNDS + 1):
        gap, allowed = _gaps(certificates, fit_options.tol)
        short = np.argwhere((gap > allowed) & np.isfinite(gap))
        closer = np.clip(0.1 * allowed / np.maximum(gap, np.finfo(float).tiny), 1e-4, 0.1)
        if not len(short):
            break
        if reporter is not None:
            reporter.begin("refine", gap.size - len(short))
        heads = [(int(p), int(k)) for p, k in short]
        make = functools.partial(_refine, sweep, heads, closer, times)
        if not stages.on(f"{name}round {times}", sweep, STATE, tuple(short.T), make, ("bool", ())):
            break
        theta = sweep.heads()
        for p in np.unique(short[:, 0]):
            certificates[p] = certified(int(p), times)
    idle = np.stack([is_idle(certificate, fit_options.tol) for certificate in certificates]) & (l2 > 0)
    if idle.any():  # The gap is rounding alone. Try the null head; keep it if it converges.
        before, previous = sweep.theta.copy(), list(certificates)
        sweep.reset(idle)
        theta = sweep.heads()
        for p in np.flatnonzero(idle.any(1)):
            certificates[p] = certified(int(p), ROUNDS + 1)
            better = certificates[p].gap <= certificates[p].gap_tol(fit_options.tol)
            sweep.theta[p, ~better] = before[p, ~better]
            certificates[p] = merge_certificates(better, certificates[p], previous[p])
        theta = sweep.heads()
    gap, allowed = _gaps(certificates, fit_options.tol)
    exhausted = sweep.steps >= fit_options.max_steps
    names = np.array([certificate.bound for certificate in certificates])
    ended = statuses(gap, allowed, l2, names, exhausted)
    absent = np.isneginf(theta).any(tuple(range(2, theta.ndim)))
    ended[absent & (ended == Status.CONVERGED)] = Status.CLASS_ABSENT

    def of_fit(array: np.ndarray, fit: int = 0) -> np.ndarray:
        """Return the part of one fit, by default of that on all rows, with an axis of targets where y has one."""
        return array[fit * targets : (fit + 1) * targets] if inputs.has_targets else array[fit]

    def of_folds(array: np.ndarray) -> np.ndarray:
        """Return the part of the folds, shape (folds, L), with an axis of targets in front where y has one."""
        array = array.reshape(-1, targets, array.shape[-1])
        return array.swapaxes(0, 1) if inputs.has_targets else array[:, 0]

    found = _scores(inputs, rows, theta, fit_options)
    scores = None if found is None else of_folds(found)
    certificates_of_fits = [
        _stack_certificates(certificates[start : start + targets]) if inputs.has_targets else certificates[start]
        for start in range(0, len(certificates), targets)
    ]
    certificate = certificates_of_fits[0]
    device = str(rows.device)
    folds = [
        FoldHeads(
            of_fit(theta[..., :-1], fit),
            of_fit(theta[..., -1], fit),
            of_fit(ended, fit),
            of_fit(sweep.steps, fit),
            certificates_of_fits[fit],
        )
        for fit in range(1, len(inputs.train))
        if fit_options.keep_folds
    ]
    heads = Heads(
        coef=of_fit(theta[..., :-1]),
        intercept=of_fit(theta[..., -1]),
        l2=inputs.l2[0],
        loss=inputs.loss.certified_name,
        value=certificate.value,
        status=of_fit(ended),
        certificate=dataclasses.replace(certificate, heads_device=device),
        steps=of_fit(sweep.steps),
        fold_status=of_folds(ended[targets:]),
        fold_gap=of_folds(gap[targets:]),
        scores=scores,
        scoring=name_of(fit_options.scoring),
        best=None if scores is None else best_of(scores, inputs.l2[0]),
        device=device,
        scale=None if rows.scale is None else rows.scale[0],
        fit_intercept=fit_options.fit_intercept,
    )
    return heads, tuple(folds)


def _scores(
    inputs: TrainingData, rows: DeviceRows, theta: np.ndarray, fit_options: FitOptions
) -> np.ndarray | None:
    """Return the scores of every fold and target, or of the validation set, (problems, L); None without either."""
    scoring, fits = fit_options.scoring, len(inputs.train)
    if inputs.validation is not None:
        return validation_scores(theta, inputs, scoring, rows.device)
    if not inputs.test.any():
        return None
    of_fits = theta.reshape(fits, -1, *theta.shape[1:])
    linear = functools.partial(logits_of, inputs.x if rows.device.platform == "cpu" else rows.x)
    return np.concatenate(
        [
            scores_of(scoring, inputs.loss, held_out(inputs, fit), inputs.l2[fit], of_fits[fit], linear)
            for fit in range(1, fits)
        ]
    )


def certificate_of(
    inputs: TrainingData,
    theta: np.ndarray,
    fit_options: FitOptions,
    *,
    fit: int,
    target: int,
    scale: np.ndarray | None,
    witness: Separation | None = None,
) -> Certificate:
    """Return the certificate of the heads of all strengths of one fit and target.

    Args:
      inputs: the checked arguments.
      theta: coefficients and, last, intercepts, shape (L, …, m + 1).
      fit_options: the options.
      fit: the number of the fit.
      target: the number of the target.
      scale: divisors of the columns, shape (m,), if they are standardised.
      witness: a direction that quasi-separates all rows.
    """
    weights = inputs.weights(fit, target)
    y = inputs.y[:, target] if inputs.has_targets else inputs.y
    if np.isneginf(theta).any():  # A class has no rows. Certify the heads of the remaining classes.
        present = np.isfinite(theta[0, :, -1])
        theta, y = theta[:, present], np.where(present, np.cumsum(present) - 1, 0)[y.astype(np.intp)]
    bias = theta[..., -1] if fit_options.fit_intercept else None
    heads = LinearHeads(theta[..., :-1], bias, inputs.l2[fit], inputs.loss.certified_name, scale)
    sample_weight = None if (weights == weights[0]).all() else weights
    with blas_threads_for(len(inputs.x) * theta.size):
        return compute_certificate(heads, inputs.x, y, sample_weight, tol=fit_options.tol, witness=witness)


def _stack_certificates(certificates: list[Certificate]) -> Certificate:
    """Return the certificates of several targets as one, with arrays of shape (targets, L)."""
    arrays = [certificate_arrays(certificate) for certificate in certificates]
    return certificate_from_arrays({name: np.stack([part[name] for part in arrays]) for name in arrays[0]})


def _refine(sweep: LBFGSSweep, heads: list[tuple[int, int]], closer: np.ndarray, times: int) -> np.bool_:
    """Refine heads, and return whether anything was done.

    The first round fits the intercepts of softmax heads alone, on a CPU. Otherwise L-BFGS or Newton's method
    continues.
    """
    return np.bool_((times == 1 and sweep.fit_intercepts(heads)) or sweep.again(heads, closer))


def _gaps(certificates: list[Certificate], tol: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the gap of each head, and the largest gap at which it is converged."""
    gaps = np.stack([certificate.gap for certificate in certificates])
    return gaps, np.stack([certificate.gap_tol(tol) for certificate in certificates])
