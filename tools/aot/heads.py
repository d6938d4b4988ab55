"""Programs of `fit_heads` and of its result, lowered with the arguments that these pass, in float64."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from aot.program import MEGABYTE, Bounds, Jitted, Lower, Lowered, Program
from aot.targets import AbstractArray, Placement
from dlcore.heads.data import column_scales
from dlcore.heads.data.batching import rows_at_once
from dlcore.heads.data.centering import Centering
from dlcore.heads.data.training_data import SCALED_BYTES
from dlcore.heads.passes import evaluate, hessian
from dlcore.heads.scoring import leave_one_out, logits, ridge_scores
from dlcore.heads.solvers import cost_model, lbfgs_history
from dlcore.heads.solvers.preconditioner import Preconditioner
from dlcore.heads.solvers.ridge import gram, spectrum
from dlcore.objective.blocks import BlockedData

ROWS, FEATURES, CLASSES, FITS = 1_000_000, 128, 10, 6
COLUMNS = FEATURES + 1
HEADS = 64
"""Number of ridge heads."""
OUTPUTS = {"logistic": 1, "softmax": CLASSES}
"""Logits of a head."""
HESSIAN_CLASSES = cost_model.QUICK_HESSIAN // COLUMNS
"""Classes of softmax heads that Newton's method soon takes over."""
HESSIAN_HEADS = cost_model.NEWTON_HEADS
"""Number of heads that have their Hessian at a time."""
WIDE = np.float64
STREAMED = gram.ROWS_AT_MOST

Arguments = tuple[Any, ...]
"""Abstract arguments of a program: arrays and NamedTuples of them."""
BlockSize = Callable[[AbstractArray], int]
"""Function of X that returns the number of rows to read at a time."""


def data_of(placement: Placement, block: BlockSize, targets: int) -> BlockedData:
    """Return the rows on the device, for `FITS` fits and that many targets; 0 leaves the targets out."""
    x, train = placement.replicated((ROWS, FEATURES)), placement.replicated((ROWS, FITS), np.bool_)
    y = (train, placement.replicated((ROWS, targets), np.uint32)) if targets else train
    return BlockedData(x, y, placement.replicated((ROWS,), WIDE), block(x))


def centering_of(placement: Placement) -> Centering:
    """Return the centering of the features, with an intercept."""
    number = placement.replicated((), WIDE)
    return Centering(placement.replicated((FEATURES,), WIDE), None, number, number)


def lower(function: Jitted, data: BlockedData, *arguments: object, **static: object) -> Lowered:
    """Lower a jitted function of rows for its arguments."""
    return Lowered(function.trace(*arguments, **static).lower(), data.x.shape, data.block)


def batch_of(placement: Placement, heads: int, outputs: int) -> evaluate.HeadBatch:
    """Return the problem of `heads` heads of one target with `outputs` logits each."""
    per_head, spread = placement.replicated((heads,), WIDE), placement.replicated((heads, outputs), WIDE)
    fit, ratio = placement.replicated((heads,), np.int32), placement.replicated((heads, FEATURES), WIDE)
    return evaluate.HeadBatch(per_head, ratio, fit, per_head, spread, per_head, per_head)


def theta_of(placement: Placement, heads: int, outputs: int) -> AbstractArray:
    """Return the parameters of `heads` heads with `outputs` logits each."""
    return placement.replicated((heads, outputs, COLUMNS), WIDE)


def accumulate_program(loss: str, dtype: str) -> Lower:
    """Return a pass over the rows for as many heads as L-BFGS has at a time."""

    def lower_on(placement: Placement) -> Lowered:
        outputs = OUTPUTS[loss]
        heads = cost_model.LOGITS // outputs
        data = data_of(placement, lambda x: cost_model.descent_block(x, heads * outputs), 1)
        arguments = theta_of(placement, heads, outputs), batch_of(placement, heads, outputs), data
        return lower(evaluate.accumulate, data, *arguments, centering_of(placement), loss=loss, dtype=dtype)

    return lower_on


class Descent(NamedTuple):
    """State of L-BFGS for softmax heads, and what stays the same from step to step.

    Attributes:
      rings: pairs of all heads.
      point: where the heads are.
      problem: the heads, the centering of the rows and the preconditioner.
    """

    rings: lbfgs_history.Rings
    point: lbfgs_history.Point
    problem: lbfgs_history.Constants


def descent_of(placement: Placement) -> Descent:
    """Return L-BFGS for as many softmax heads as it has at a time, with a shared eigenbasis."""
    heads, size = cost_model.LOGITS // CLASSES, CLASSES * COLUMNS
    pairs = min(cost_model.PAIRS, cost_model.HISTORY_BYTES // (cost_model.PAIR_BYTES * heads * size))
    ring, theta = placement.replicated((heads, pairs, size)), theta_of(placement, heads, CLASSES)
    per_column, number = placement.replicated((FEATURES,), WIDE), placement.replicated((), WIDE)
    basis = placement.replicated((FEATURES, FEATURES))
    preconditioner = Preconditioner(basis, per_column, number, per_column)
    batch = batch_of(placement, heads, CLASSES)
    problem = lbfgs_history.Constants(batch, centering_of(placement), preconditioner)
    return Descent(lbfgs_history.Rings(*[ring] * 3), lbfgs_history.Point(*[theta] * 5), problem)


def observation(placement: Placement) -> Arguments:
    """Return what L-BFGS looks at after a pass over rows that are in one shard."""
    rings, point, problem = descent_of(placement)
    heads = len(problem.batch.l2)
    sums = evaluate.Sums(
        placement.replicated((heads,), WIDE),
        placement.replicated((heads * CLASSES, FEATURES), WIDE),
        placement.replicated((heads, CLASSES), WIDE),
        placement.replicated((heads,), np.int32),
    )
    return rings, point, [sums], problem, placement.replicated((heads, 4), WIDE)


def next_step(placement: Placement) -> Arguments:
    """Return what L-BFGS makes the next direction and trial point of."""
    rings, point, problem = descent_of(placement)
    heads, pairs, _ = rings.s.shape
    combination = placement.replicated((heads, 2 * pairs + 5), WIDE)  # packed
    return rings, point, lbfgs_history.Gradient(point.gradient, point.preconditioned), combination, problem


def hessian_program(loss: str, outputs: int) -> Lower:
    """Return a pass with the Hessians of as many heads as Newton's method has at a time."""

    def lower_on(placement: Placement) -> Lowered:
        data = data_of(placement, lambda x: cost_model.hessian_block(x, outputs), 1)
        batch, theta = batch_of(placement, HESSIAN_HEADS, outputs), theta_of(placement, HESSIAN_HEADS, outputs)
        program = hessian.accumulate_with_hessian
        return lower(program, data, theta, batch, data, centering_of(placement), loss=loss)

    return lower_on


def lower_column_scales(placement: Placement) -> Lowered:
    """Lower the standard deviations of the columns."""
    data = data_of(placement, lambda x: rows_at_once(x, x.shape[0], SCALED_BYTES, 8 * FEATURES), 0)
    return lower(column_scales.column_scales, data, data, placement.replicated((FITS,), WIDE))


def spectrum_of(placement: Placement) -> spectrum.Spectrum:
    """Return the eigendecomposition for ridge heads of one target, with more rows than columns."""
    per_column, number = placement.replicated((FEATURES,), WIDE), placement.replicated((1,), WIDE)
    basis, cross = placement.replicated((FEATURES, FEATURES), WIDE), placement.replicated((FEATURES, 1), WIDE)
    return spectrum.Spectrum(per_column, basis, cross, per_column, number, per_column, None)


def products_of(placement: Placement) -> gram.Products:
    """Return the sums over rows for ridge heads of one target."""
    half, number = FEATURES // 2, placement.replicated((1,), WIDE)
    upper = placement.replicated((half, FEATURES), WIDE)
    corner = placement.replicated((FEATURES - half,) * 2, WIDE)
    mean, cross = placement.replicated((FEATURES,), WIDE), placement.replicated((FEATURES, 1), WIDE)
    total = placement.replicated((), WIDE)
    return gram.Products(total, mean, number, upper, corner, cross, number)


def block_program(
    function: Jitted, before: Callable[[Placement], Arguments], after: Callable[[Placement], Arguments]
) -> Lower:
    """Return a program of a block of rows from the host: (*before, x, y, weights, *after)."""

    def lower_on(placement: Placement) -> Lowered:
        x, y = placement.replicated((STREAMED, FEATURES)), placement.replicated((STREAMED, 1))
        rows = x, y, placement.replicated((STREAMED,), WIDE)
        data = BlockedData(*rows, STREAMED)
        return lower(function, data, *before(placement), *rows, *after(placement))

    return lower_on


def program_without_rows(function: Jitted, arguments: Callable[[Placement], Arguments]) -> Lower:
    """Return a program of sums over rows that does not read the rows."""

    def lower_on(placement: Placement) -> Lowered:
        return Lowered(function.trace(*arguments(placement)).lower(), (0, FEATURES), 0)

    return lower_on


def ridge_heads(placement: Placement) -> Arguments:
    """Return the coefficients and intercepts of 64 penalties."""
    return placement.replicated((HEADS, 1, FEATURES), WIDE), placement.replicated((HEADS, 1), WIDE)


def numbers(placement: Placement, count: int) -> Arguments:
    """Return `count` scalars."""
    return (placement.replicated((), WIDE),) * count


def spectrum_and_penalties(placement: Placement) -> Arguments:
    """Return an eigendecomposition and 64 penalties."""
    return spectrum_of(placement), placement.replicated((HEADS,), WIDE)


def lower_kernel(placement: Placement) -> Lowered:
    """Lower ridge with fewer rows than columns."""
    n, m = 512, 2048
    rows = placement.replicated((n, m)), placement.replicated((n, 1)), placement.replicated((n,), WIDE)
    return Lowered(spectrum.spectrum_of_kernel.trace(*rows, *numbers(placement, 2)).lower(), (n, m), n)


def lower_leverages(placement: Placement) -> Lowered:
    """Lower the errors of rows that are left out, for a block of rows."""
    x, y = placement.replicated((STREAMED, FEATURES)), placement.replicated((STREAMED, 1))
    block = x, y, placement.replicated((STREAMED,), WIDE)
    factored, l2 = spectrum_and_penalties(placement)
    piece = l2, *ridge_heads(placement)
    data = BlockedData(*block, STREAMED)
    return lower(leave_one_out._by_leverage, data, factored, piece, block, *numbers(placement, 3))


def lower_predict(placement: Placement) -> Lowered:
    """Lower `Heads.predict` for one block of rows."""
    rows = logits.ROWS_BYTES // (8 * (HEADS + COLUMNS))
    x, theta = placement.replicated((rows, FEATURES)), placement.replicated((HEADS, COLUMNS), WIDE)
    return Lowered(logits.logits_of_block.trace(x, theta).lower(), x.shape, rows)


def lower_indexed_predict(placement: Placement) -> Lowered:
    """Lower the logits of the rows that a fold holds out."""
    x, rows = placement.replicated((ROWS, FEATURES)), ROWS // logits.PARTS
    theta, index = placement.replicated((HEADS, COLUMNS), WIDE), placement.replicated((rows,), np.int32)
    return Lowered(logits._logits.trace(x, theta, index).lower(), x.shape, rows)


def gpu_bounds(passes: int, per_row: float, *, fixed: int = MEGABYTE, spills: int = 0) -> dict[str, Bounds]:
    """Return bounds for a GPU only: the TPU compiler replaces float64 products by rounded float32 ones."""
    return {"cuda": Bounds(passes, per_row, fixed=fixed, reduced=0, spills=spills)}


def program(name: str, lower: Lower, bounds: dict[str, Bounds], *, quick: bool = False) -> Program:
    """Return a program of `fit_heads` on one device; it converts X to float64 block by block."""
    return Program(f"fit_heads, {name}", lower, bounds, sharded=False, quick=quick, wide=True)


PROGRAMS = [
    program("held out", lower_indexed_predict, gpu_bounds(2, 270)),
    program("logistic, L-BFGS pass", accumulate_program("logistic", "float32"), gpu_bounds(3, 2030), quick=True),
    program("logistic, L-BFGS pass in float64", accumulate_program("logistic", "float64"), gpu_bounds(3, 3240)),
    program("softmax, L-BFGS pass", accumulate_program("softmax", "float32"), gpu_bounds(3, 1300)),
    program("softmax, L-BFGS pass in float64", accumulate_program("softmax", "float64"), gpu_bounds(3, 2530)),
    program(
        "softmax, L-BFGS products",
        program_without_rows(lbfgs_history.observe, observation),
        gpu_bounds(0, 0, fixed=4 * MEGABYTE, spills=8),
    ),
    program(
        "softmax, L-BFGS direction",
        program_without_rows(lbfgs_history.advance, next_step),
        gpu_bounds(0, 0, fixed=4 * MEGABYTE, spills=8),
    ),
    program("logistic, Hessians", hessian_program("logistic", 1), gpu_bounds(7, 3500)),
    program("softmax, Hessians", hessian_program("softmax", HESSIAN_CLASSES), gpu_bounds(7, 3300)),
    program("standardised columns", lower_column_scales, gpu_bounds(5, 290)),
    program(
        "ridge, products of rows",
        block_program(gram._add_rows, lambda p: (products_of(p),), lambda p: ()),
        gpu_bounds(9, 600),
        quick=True,
    ),
    program(
        "ridge, spectrum",
        program_without_rows(spectrum._of_products, lambda p: (products_of(p), *numbers(p, 2))),
        gpu_bounds(0, 0),
    ),
    program("ridge, kernel of few rows", lower_kernel, gpu_bounds(12, 5400)),
    program("ridge, heads", program_without_rows(spectrum.heads_of, spectrum_and_penalties), gpu_bounds(0, 0)),
    program(
        "ridge, held out",
        program_without_rows(ridge_scores._errors, lambda p: (products_of(p), *ridge_heads(p))),
        gpu_bounds(0, 0),
    ),
    program(
        "ridge, held out row by row",
        block_program(ridge_scores._add_errors, lambda p: (p.replicated((HEADS, 1), WIDE),), ridge_heads),
        gpu_bounds(2, 400),
    ),
    program(
        "ridge, each row left out",
        lower_leverages,
        gpu_bounds(6, 600),
    ),
    program("predict", lower_predict, gpu_bounds(2, 270), quick=True),
]
