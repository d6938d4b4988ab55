"""Programs of `fit_heads` and of its result, lowered with the arguments that these pass, in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np

from aot.program import Bounds, Jitted, Lower, Lowered, Program
from aot.targets import AbstractArray, Placement
from dlcore.heads import (
    chord,
    full_newton,
    leave_one_out,
    logistic,
    logits,
    metric,
    multinomial,
    newton,
    quasi_newton,
    ridge,
    row_products,
    scales,
    softmax,
)
from dlcore.heads.frame import Frame
from dlcore.heads.inputs import SCALED_BYTES
from dlcore.heads.laps import Method, _all_laps
from dlcore.heads.packing import rows_at_once
from dlcore.heads.slots import Slots
from dlcore.objective.blocks import BlockedData

ROWS, FEATURES, CLASSES, FITS = 1_000_000, 128, 10, 6
COLUMNS = FEATURES + 1
HEADS = 64
"""Number of heads that are solved with the curvature of their neighbours."""
WIDE = np.float64
STREAMED = row_products.ROWS_AT_MOST

Arguments = tuple[Any, ...]
"""Abstract arguments of a program: arrays and NamedTuples of them."""
BlockSize = Callable[[AbstractArray], int]
"""Function of X that returns the number of rows to read at a time."""


def data_of(placement: Placement, block: BlockSize, marks: int) -> BlockedData:
    """Return the rows on the device with `marks` integers each; 0 means one integer without an axis."""
    x = placement.replicated((ROWS, FEATURES))
    marked = placement.replicated((ROWS, marks) if marks else (ROWS,), np.uint32)
    return BlockedData(x, marked, placement.replicated((ROWS,), WIDE), block(x))


def frame_of(placement: Placement) -> Frame:
    """Return the centering of the features, with an intercept."""
    number = placement.replicated((), WIDE)
    return Frame(placement.replicated((FEATURES,), WIDE), None, number, number)


def slots_of(placement: Placement, heads: int, groups: int) -> Slots:
    """Return the state of `heads` heads of one target; a bit marks their rows."""
    per_head = placement.replicated((heads,), WIDE)
    group = placement.replicated((groups,), WIDE)
    bit = placement.replicated((groups,), np.uint32)
    theta, steps = placement.replicated((heads, COLUMNS), WIDE), placement.replicated((heads,), np.int32)
    return Slots(theta, per_head, per_head, per_head, per_head, per_head, steps, group, bit)


def lower(function: Jitted, data: BlockedData, *arguments: object, **static: object) -> Lowered:
    """Lower a jitted function of rows for its arguments."""
    return Lowered(function.trace(*arguments, **static).lower(), data.x.shape, data.block)


def solver_program(method: Method, problem: Callable[[Placement], Any], block: BlockSize, marks: int) -> Lower:
    """Return the loop of an iterative solver: passes over the rows until every head stops."""

    def lower_on(placement: Placement) -> Lowered:
        data = data_of(placement, block, marks)
        return lower(_all_laps, data, problem(placement), data, method=method)

    return lower_on


def newton_problem(placement: Placement) -> newton.Given:
    """Return anchors, each with its own Hessian."""
    slots = slots_of(placement, logistic.ANCHORS, logistic.ANCHORS)
    return newton.Given(slots, frame_of(placement), placement.replicated((), np.bool_))


def chord_problem(placement: Placement) -> chord.Given:
    """Return heads between anchors, with the Hessians of the anchors."""
    anchors = placement.replicated((logistic.ANCHORS, COLUMNS, COLUMNS), WIDE)
    left, share = placement.replicated((HEADS,), np.int32), placement.replicated((HEADS,), WIDE)
    return chord.Given(slots_of(placement, HEADS, 1), frame_of(placement), anchors, left, share)


def softmax_task(placement: Placement, heads: int) -> multinomial.Task:
    """Return the objectives of softmax heads."""
    per_head, per_class = placement.replicated((heads,), WIDE), placement.replicated((heads, CLASSES), WIDE)
    bit, ratio = placement.replicated((heads,), np.uint32), placement.replicated((heads, FEATURES), WIDE)
    return multinomial.Task(per_head, ratio, bit, per_head, per_class, per_head, per_head)


def softmax_theta(placement: Placement, heads: int) -> AbstractArray:
    """Return the parameters of softmax heads."""
    return placement.replicated((heads, CLASSES, COLUMNS), WIDE)


def lbfgs_program(dtype: str) -> Lower:
    """Return L-BFGS for softmax heads with a shared preconditioner."""

    def lower_on(placement: Placement) -> Lowered:
        heads = softmax.SLOTS
        data = data_of(placement, lambda x: softmax.descent_block(x, CLASSES * heads), 3)
        theta, per_head = softmax_theta(placement, heads), placement.replicated((heads,), WIDE)
        count, flag = placement.replicated((heads,), np.int32), placement.replicated((heads,), np.bool_)
        per_class = placement.replicated((heads, CLASSES), WIDE)
        point = multinomial.Place(per_head, theta, per_class, count, per_head)
        task = softmax_task(placement, heads)
        state = quasi_newton.State(
            task, theta, point, theta, per_head, per_head, per_head, count, count, flag, flag
        )
        pairs = placement.replicated((softmax.PAIRS, heads, CLASSES * COLUMNS))
        history = quasi_newton.Memory(pairs, pairs, placement.replicated((), np.int32))
        preconditioner = metric.Metric(
            placement.replicated((FEATURES, FEATURES)),
            placement.replicated((FEATURES,), WIDE),
            placement.replicated((), WIDE),
            placement.replicated((FEATURES,), WIDE),
        )
        number = placement.replicated((), np.int32)
        arguments = (state, history, count, count, number, data, preconditioner, frame_of(placement))
        return lower(quasi_newton.descend, data, *arguments, sizes=softmax._sizes(heads), dtype=dtype)

    return lower_on


def full_newton_problem(placement: Placement) -> full_newton.Given:
    """Return softmax heads that need the full Hessian to converge."""
    classes = softmax.HESSIAN // COLUMNS
    theta = placement.replicated((softmax.SLOTS, classes, COLUMNS), WIDE)
    share = placement.replicated((softmax.SLOTS, classes), WIDE)
    task = softmax_task(placement, softmax.SLOTS)._replace(share=share)
    count = placement.replicated((softmax.SLOTS,), np.int32)
    return full_newton.Given(task, theta, count, frame_of(placement))


def softmax_data(placement: Placement) -> BlockedData:
    """Return the rows in the blocks of softmax heads."""
    return data_of(placement, lambda x: softmax.descent_block(x, CLASSES * softmax.SLOTS), 3)


def lower_preconditioner(placement: Placement) -> Lowered:
    """Lower the eigenbasis of the features."""
    data = softmax_data(placement)
    return lower(metric.metric_of, data, data, frame_of(placement))


def lower_held_out(placement: Placement) -> Lowered:
    """Lower the scores of softmax heads on the rows that a fold holds out."""
    data = softmax_data(placement)
    bit = placement.replicated((softmax.SLOTS,), np.uint32)
    theta = softmax_theta(placement, softmax.SLOTS)
    return lower(multinomial.held_out, data, theta, bit, data, frame_of(placement))


def lower_column_scales(placement: Placement) -> Lowered:
    """Lower the standard deviations of the columns."""
    data = data_of(placement, lambda x: rows_at_once(x, x.shape[0], SCALED_BYTES, 8 * FEATURES), 0)
    return lower(scales.column_scales, data, data, placement.replicated((FITS,), WIDE))


def spectrum_of(placement: Placement) -> ridge.Spectrum:
    """Return the eigendecomposition for ridge heads of one target, with more rows than columns."""
    per_column, number = placement.replicated((FEATURES,), WIDE), placement.replicated((1,), WIDE)
    basis, cross = placement.replicated((FEATURES, FEATURES), WIDE), placement.replicated((FEATURES, 1), WIDE)
    return ridge.Spectrum(per_column, basis, cross, per_column, number, per_column, None)


def products_of(placement: Placement) -> row_products.Products:
    """Return the sums over rows for ridge heads of one target."""
    half, number = FEATURES // 2, placement.replicated((1,), WIDE)
    upper = placement.replicated((half, FEATURES), WIDE)
    corner = placement.replicated((FEATURES - half,) * 2, WIDE)
    mean, cross = placement.replicated((FEATURES,), WIDE), placement.replicated((FEATURES, 1), WIDE)
    total = placement.replicated((), WIDE)
    return row_products.Products(total, mean, number, upper, corner, cross, number)


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
    return Lowered(ridge.spectrum_of_kernel.trace(*rows, *numbers(placement, 2)).lower(), (n, m), n)


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


def gpu_bounds(passes: int, per_row: float, *, spills: int = 0) -> dict[str, Bounds]:
    """Return bounds for a GPU only: the TPU compiler replaces float64 products by rounded float32 ones."""
    return {"cuda": Bounds(passes, per_row, reduced=0, spills=spills)}


def program(name: str, lower: Lower, bounds: dict[str, Bounds], *, quick: bool = False) -> Program:
    """Return a program of `fit_heads` on one device; it converts X to float64 block by block."""
    return Program(f"fit_heads, {name}", lower, bounds, sharded=False, quick=quick, wide=True)


def _anchors_block(x: AbstractArray) -> int:
    return logistic.newton_block(x, logistic.ANCHORS)


def _heads_block(x: AbstractArray) -> int:
    return logistic.chord_block(x, HEADS, 1)


def _hessian_block(x: AbstractArray) -> int:
    return softmax.hessian_block(x, softmax.HESSIAN // COLUMNS)


PROGRAMS = [
    program(
        "logistic, Newton",
        solver_program(newton.NEWTON["float32"], newton_problem, _anchors_block, 2),
        gpu_bounds(5, 1350),
        quick=True,
    ),
    program(
        "logistic, Newton in float64",
        solver_program(newton.NEWTON["float64"], newton_problem, _anchors_block, 2),
        gpu_bounds(6, 2650),
    ),
    program(
        "logistic, shared curvature",
        solver_program(chord.CHORD, chord_problem, _heads_block, 2),
        gpu_bounds(3, 420),
    ),
    program("logistic, held out", lower_indexed_predict, gpu_bounds(2, 270)),
    program("softmax, quasi-Newton", lbfgs_program("float32"), gpu_bounds(3, 450)),
    program("softmax, quasi-Newton in float64", lbfgs_program("float64"), gpu_bounds(3, 870)),
    program(
        "softmax, damped Newton",
        solver_program(full_newton.FULL_NEWTON, full_newton_problem, _hessian_block, 3),
        gpu_bounds(7, 3300),
    ),
    program("softmax, metric", lower_preconditioner, gpu_bounds(3, 290)),
    program("softmax, held out", lower_held_out, gpu_bounds(2, 510)),
    program("standardised columns", lower_column_scales, gpu_bounds(5, 290)),
    program(
        "ridge, products of rows",
        block_program(row_products._add_rows, lambda p: (products_of(p),), lambda p: ()),
        gpu_bounds(9, 600),
        quick=True,
    ),
    program(
        "ridge, spectrum",
        program_without_rows(ridge._of_products, lambda p: (products_of(p), *numbers(p, 2))),
        gpu_bounds(0, 0),
    ),
    program("ridge, kernel of few rows", lower_kernel, gpu_bounds(12, 5400)),
    program("ridge, heads", program_without_rows(ridge.heads_of, spectrum_and_penalties), gpu_bounds(0, 0)),
    program(
        "ridge, held out",
        program_without_rows(ridge._errors, lambda p: (products_of(p), *ridge_heads(p))),
        gpu_bounds(0, 0),
    ),
    program(
        "ridge, held out row by row",
        block_program(ridge._add_errors, lambda p: (p.replicated((HEADS, 1), WIDE),), ridge_heads),
        gpu_bounds(2, 400),
    ),
    program(
        "ridge, each row left out",
        block_program(
            leave_one_out._by_leverage,
            lambda p: (*spectrum_and_penalties(p), *ridge_heads(p)),
            lambda p: numbers(p, 3),
        ),
        gpu_bounds(6, 600),
    ),
    program("predict", lower_predict, gpu_bounds(2, 270), quick=True),
]
