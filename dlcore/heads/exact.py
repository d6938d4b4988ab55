"""Ridge heads: solved, certified and scored, fit after fit."""

import dataclasses
import functools
from typing import Any

import numpy as np

from dlcore.heads.asked import Asked
from dlcore.heads.choosing import best_of
from dlcore.heads.inputs import Inputs
from dlcore.heads.judging import Judge
from dlcore.heads.leave_one_out import left_out_scores
from dlcore.heads.losses.squared import SQUARED
from dlcore.heads.result import Heads
from dlcore.heads.ridge import Parts, Spectrum, fit_ridge, predictions, r2_scores
from dlcore.heads.row_products import Streamed
from dlcore.heads.saving import PROOF, as_statuses, form_of_proof, proof_arrays, proof_of
from dlcore.heads.scoring import held_out, name_of, scores_of
from dlcore.heads.stages import Stages
from dlcore.heads.timing import Stopwatch
from dlcore.heads.validated import validation_scores


def ridge_heads(inputs: Inputs, x: Any, asked: Asked, stages: Stages, clock: Stopwatch) -> Heads:
    """Fit heads of the squared loss, in JAX's x64 mode."""
    streamed = Streamed(inputs, x, fit_intercept=asked.fit_intercept)
    with clock.certifying():
        judge = Judge(inputs, fit_intercept=asked.fit_intercept, tol=asked.tol)

    def fitted(fit: int) -> dict[str, np.ndarray]:
        """A fold's heads go as soon as they are judged."""
        score = functools.partial(_scores, inputs, streamed, asked, fit) if fit or asked.left_out else None
        found = fit_ridge(inputs, streamed, fit, score)
        with clock.certifying():
            proof, ended = judge.judged(fit, found.coef, found.intercept, found.scale)
        kept = {"ended": ended.astype(str)} | proof_arrays(proof)
        kept |= {} if fit else {"coef": found.coef, "intercept": found.intercept}
        kept |= {} if fit or found.scale is None else {"scale": found.scale}
        return kept if found.scores is None else kept | {"scores": found.scores}

    heads = (inputs.l2.shape[1], 1 if inputs.y.ndim == 1 else inputs.y.shape[1])
    form = {"ended": ("Status", heads), **form_of_proof(heads), "scores": ("float64", heads)}
    whole = {"coef": ("float64", (*heads, inputs.x.shape[1])), "intercept": ("float64", heads)}
    whole |= {"scale": ("float64", inputs.x.shape[1:])} if inputs.standardize else {}
    fits = [
        stages.once(
            f"fit {fit}", functools.partial(fitted, fit), form if fit else form | whole, absent=("scores",)
        )
        for fit in range(len(inputs.train))
    ]
    first, folds = fits[0], fits[1:]
    shape = first["gap"].shape

    def shaped(array: np.ndarray, axis: int) -> np.ndarray:
        """Return the array with the axis of targets in front, or without it where y has none."""
        return np.moveaxis(array, axis, 0) if inputs.y.ndim == 2 else array.squeeze(axis)

    def of_folds(name: str) -> np.ndarray:
        return shaped(np.array([fold[name] for fold in folds]).reshape(len(folds), *shape), 2)

    certificate = proof_of({name: shaped(first[name], 1) for name in PROOF})
    scores = [fit["scores"] for fit in fits if "scores" in fit]
    if inputs.validation is not None:
        theta = _by_target(first["coef"], first["intercept"])
        scores = [validation_scores(theta, inputs, SQUARED, asked.scoring, streamed.device).T]
    scores = shaped(np.stack(scores), 2) if scores else None
    return Heads(
        coef=shaped(first["coef"], 1),
        intercept=shaped(first["intercept"], 1) * asked.fit_intercept,
        l2=inputs.l2[0],
        loss=asked.loss,
        value=certificate.value,
        status=as_statuses(shaped(first["ended"], 1)),
        certificate=dataclasses.replace(certificate, heads_device=str(streamed.device)),
        steps=np.ones(certificate.gap.shape, np.int64),
        fold_status=as_statuses(of_folds("ended")),
        fold_gap=of_folds("gap").astype(np.float64),
        scores=scores,
        scoring=name_of(asked.scoring),
        best=None if scores is None else best_of(scores, inputs.l2[0]),
        device=str(streamed.device),
        scale=first.get("scale"),
        fit_intercept=asked.fit_intercept,
    )


def _scores(
    inputs: Inputs,
    streamed: Streamed,
    asked: Asked,
    fit: int,
    spectrum: Spectrum,
    l2: np.ndarray,
    parts: Parts,
) -> np.ndarray:
    """Return the scores of the rows that a fold holds out, or of each row left out, shape (L, targets)."""
    if asked.left_out:
        return left_out_scores(inputs, streamed, asked.scoring, spectrum, l2, parts)
    if asked.scoring == "r2":
        return r2_scores(inputs, streamed, fit, l2, parts)
    coef, intercept = (np.concatenate(part)[: len(l2)] for part in zip(*parts, strict=True))
    linear, held = functools.partial(predictions, streamed), held_out(inputs, fit)
    return scores_of(asked.scoring, SQUARED, held, l2, _by_target(coef, intercept), linear).T


def _by_target(coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """Return (L, targets, m) and (L, targets) as (targets, L, m + 1), the intercept last."""
    return np.concatenate([coef, intercept[..., None]], axis=-1).swapaxes(0, 1)
