"""Ridge heads: solved, certified and scored, fit after fit."""

import dataclasses
import functools

import numpy as np

from dlcore.certificate.rows import DataLike
from dlcore.heads.checkpoint import StageCache
from dlcore.heads.data.training_data import TrainingData
from dlcore.heads.files import (
    CERTIFICATE_ARRAYS,
    as_statuses,
    certificate_arrays,
    certificate_form,
    certificate_from_arrays,
)
from dlcore.heads.losses.squared import SQUARED
from dlcore.heads.options import FitOptions
from dlcore.heads.result import FoldHeads, Heads
from dlcore.heads.scoring.best_penalty import best_of
from dlcore.heads.scoring.held_out import held_out, name_of, scores_of, validation_scores
from dlcore.heads.scoring.leave_one_out import left_out_scores
from dlcore.heads.scoring.ridge_scores import predictions, r2_scores
from dlcore.heads.solvers.ridge.certifier import RidgeCertifier
from dlcore.heads.solvers.ridge.fit_ridge import fit_ridge
from dlcore.heads.solvers.ridge.gram import GramAccumulator
from dlcore.heads.solvers.ridge.spectrum import Parts, Spectrum
from dlcore.heads.timing import Stopwatch


def ridge_heads(
    inputs: TrainingData, x: DataLike, fit_options: FitOptions, stages: StageCache, clock: Stopwatch
) -> tuple[Heads, tuple[FoldHeads, ...]]:
    """Fit heads of the squared loss, in JAX's x64 mode.

    Return the heads of all rows, and of each fold if they are kept.
    """
    accumulator = GramAccumulator(inputs, x, fit_intercept=fit_options.fit_intercept)
    with clock.certifying():
        certifier = RidgeCertifier(inputs, fit_intercept=fit_options.fit_intercept, tol=fit_options.tol)

    def fitted(fit: int) -> dict[str, np.ndarray]:
        """Return the arrays of a fit that the result needs.

        Coefficients of a fold are dropped after certification, unless `keep_folds`.
        """
        score = (
            functools.partial(_scores, inputs, accumulator, fit_options, fit=fit)
            if inputs.test[fit].any() or fit_options.left_out
            else None
        )
        found = fit_ridge(inputs, accumulator, fit, score)
        with clock.certifying():
            certificate, ended = certifier.certify_fit(fit, found.coef, found.intercept, found.scale)
        kept = {"ended": ended.astype(str)} | certificate_arrays(certificate)
        kept |= {"coef": found.coef, "intercept": found.intercept} if not fit or fit_options.keep_folds else {}
        kept |= {} if fit or found.scale is None else {"scale": found.scale}
        return kept if found.scores is None else kept | {"scores": found.scores}

    heads = (inputs.l2.shape[1], inputs.targets)
    form = {"ended": ("Status", heads), **certificate_form(heads), "scores": ("float64", heads)}
    whole = {"coef": ("float64", (*heads, inputs.x.shape[1])), "intercept": ("float64", heads)}
    whole |= {"scale": ("float64", inputs.x.shape[1:])} if inputs.standardize else {}
    has_heads = [not fit or fit_options.keep_folds for fit in range(len(inputs.train))]
    fits = [
        stages.once(
            f"fit {fit}", functools.partial(fitted, fit), form | whole if kept else form, absent=("scores",)
        )
        for fit, kept in enumerate(has_heads)
    ]
    first, folds = fits[0], fits[1:]
    shape = first["gap"].shape

    def shaped(array: np.ndarray, axis: int) -> np.ndarray:
        """Return the array with the axis of targets in front, or without it where y has none."""
        return np.moveaxis(array, axis, 0) if inputs.has_targets else array.squeeze(axis)

    def of_folds(name: str) -> np.ndarray:
        """Return an array of all folds, shape (folds, L), with an axis of targets in front where y has one."""
        return shaped(np.array([fold[name] for fold in folds]).reshape(len(folds), *shape), 2)

    certificate = certificate_from_arrays({name: shaped(first[name], 1) for name in CERTIFICATE_ARRAYS})
    scores = [fit["scores"] for fit in fits if "scores" in fit]
    if inputs.validation is not None:
        theta = _by_target(first["coef"], first["intercept"])
        scores = [validation_scores(theta, inputs, fit_options.scoring, accumulator.device).T]
    scores = shaped(np.stack(scores), 2) if scores else None
    fold_heads = [
        FoldHeads(
            shaped(fold["coef"], 1),
            shaped(fold["intercept"], 1) * fit_options.fit_intercept,
            as_statuses(shaped(fold["ended"], 1)),
            np.ones(certificate.gap.shape, np.int64),
            certificate_from_arrays({name: shaped(fold[name], 1) for name in CERTIFICATE_ARRAYS}),
        )
        for fold in folds
        if fit_options.keep_folds
    ]
    heads = Heads(
        coef=shaped(first["coef"], 1),
        intercept=shaped(first["intercept"], 1) * fit_options.fit_intercept,
        l2=inputs.l2[0],
        loss=inputs.loss.certified_name,
        value=certificate.value,
        status=as_statuses(shaped(first["ended"], 1)),
        certificate=dataclasses.replace(certificate, heads_device=str(accumulator.device)),
        steps=np.ones(certificate.gap.shape, np.int64),
        fold_status=as_statuses(of_folds("ended")),
        fold_gap=of_folds("gap").astype(np.float64),
        scores=scores,
        scoring=name_of(fit_options.scoring),
        best=None if scores is None else best_of(scores, inputs.l2[0]),
        device=str(accumulator.device),
        scale=first.get("scale"),
        fit_intercept=fit_options.fit_intercept,
    )
    return heads, tuple(fold_heads)


def _scores(
    inputs: TrainingData,
    accumulator: GramAccumulator,
    fit_options: FitOptions,
    spectrum: Spectrum,
    l2: np.ndarray,
    parts: Parts,
    *,
    fit: int,
) -> np.ndarray:
    """Return the scores of the rows that a fold holds out, or of each row left out, shape (L, targets)."""
    if fit_options.left_out:
        return left_out_scores(inputs, accumulator, fit_options.scoring, spectrum, l2, parts)
    if fit_options.scoring == "r2":
        return r2_scores(inputs, accumulator, fit, l2, parts)
    coef, intercept = (np.concatenate(part)[: len(l2)] for part in zip(*parts, strict=True))
    linear, held = functools.partial(predictions, accumulator), held_out(inputs, fit)
    return scores_of(fit_options.scoring, SQUARED, held, l2, _by_target(coef, intercept), linear).T


def _by_target(coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """Return (L, targets, m) and (L, targets) as (targets, L, m + 1), the intercept last."""
    return np.concatenate([coef, intercept[..., None]], axis=-1).swapaxes(0, 1)
