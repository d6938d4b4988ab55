"""The programs of `fit_heads` and of the heads that it hands back, as they have them compiled: in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np

from aot.program import Bounds, Lowered, Program
from aot.targets import Place
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
"""Strengths that step together with their neighbours' curvature."""
WIDE = np.float64
STREAMED = row_products.ROWS_AT_MOST


def data_of(place: Place, block: Callable[[Any], int], marks: int) -> BlockedData:
    """The rows on the device, with so many marks each; of 0 one without an axis."""
    x = place.whole((ROWS, FEATURES))
    marked = place.whole((ROWS, marks) if marks else (ROWS,), np.uint32)
    return BlockedData(x, marked, place.whole((ROWS,), WIDE), block(x))


def frame_of(place: Place) -> Frame:
    """Rows about a centre, with an intercept."""
    number = place.whole((), WIDE)
    return Frame(place.whole((FEATURES,), WIDE), None, number, number)


def slots_of(place: Place, heads: int, groups: int) -> Slots:
    """So many heads of one target, of rows that a bit marks."""
    each = place.whole((heads,), WIDE)
    group = place.whole((groups,), WIDE)
    bit = place.whole((groups,), np.uint32)
    theta, steps = place.whole((heads, COLUMNS), WIDE), place.whole((heads,), np.int32)
    return Slots(theta, each, each, each, each, each, steps, group, bit)


def lowered(function: Any, data: BlockedData, *arguments: Any, **static: Any) -> Lowered:
    """A jitted function of rows, lowered for its arguments."""
    return Lowered(function.trace(*arguments, **static).lower(), data.x.shape, data.block)


def laps(method: Method, given: Callable[[Place], Any], block: Callable[[Any], int], marks: int) -> Any:
    """Passes over the rows with a move after each, until no head goes on."""

    def lower(place: Place) -> Lowered:
        data = data_of(place, block, marks)
        return lowered(_all_laps, data, given(place), data, method=method)

    return lower


def own_curvature(place: Place) -> newton.Given:
    """Anchors, each with its own."""
    slots = slots_of(place, logistic.ANCHORS, logistic.ANCHORS)
    return newton.Given(slots, frame_of(place), place.whole((), np.bool_))


def neighbours_curvature(place: Place) -> chord.Given:
    """Heads between anchors."""
    anchors = place.whole((logistic.ANCHORS, COLUMNS, COLUMNS), WIDE)
    left, share = place.whole((HEADS,), np.int32), place.whole((HEADS,), WIDE)
    return chord.Given(slots_of(place, HEADS, 1), frame_of(place), anchors, left, share)


def task_of(place: Place, heads: int) -> multinomial.Task:
    """What softmax heads minimise."""
    each, share = place.whole((heads,), WIDE), place.whole((heads, CLASSES), WIDE)
    bit, ratio = place.whole((heads,), np.uint32), place.whole((heads, FEATURES), WIDE)
    return multinomial.Task(each, ratio, bit, each, share, each, each)


def theta_of(place: Place, heads: int) -> Any:
    """Parameters of softmax heads."""
    return place.whole((heads, CLASSES, COLUMNS), WIDE)


def descended(dtype: str) -> Callable[[Place], Lowered]:
    """L-BFGS for softmax heads in a shared metric."""

    def lower(place: Place) -> Lowered:
        heads = softmax.SLOTS
        data = data_of(place, lambda x: softmax.descent_block(x, CLASSES * heads), 3)
        theta, each = theta_of(place, heads), place.whole((heads,), WIDE)
        count, yes = place.whole((heads,), np.int32), place.whole((heads,), np.bool_)
        spread = place.whole((heads, CLASSES), WIDE)
        seen = multinomial.Place(each, theta, spread, count, each)
        task = task_of(place, heads)
        state = quasi_newton.State(task, theta, seen, theta, each, each, each, count, count, yes, yes)
        ring = place.whole((softmax.PAIRS, heads, CLASSES * COLUMNS))
        memory = quasi_newton.Memory(ring, ring, place.whole((), np.int32))
        shared = metric.Metric(
            place.whole((FEATURES, FEATURES)),
            place.whole((FEATURES,), WIDE),
            place.whole((), WIDE),
            place.whole((FEATURES,), WIDE),
        )
        given = (state, memory, count, count, place.whole((), np.int32), data, shared, frame_of(place))
        return lowered(quasi_newton.descend, data, *given, sizes=softmax._sizes(heads), dtype=dtype)

    return lower


def whole_hessian(place: Place) -> full_newton.Given:
    """Softmax heads that come to no end without it."""
    few = softmax.HESSIAN // COLUMNS
    theta = place.whole((softmax.SLOTS, few, COLUMNS), WIDE)
    task = task_of(place, softmax.SLOTS)._replace(share=place.whole((softmax.SLOTS, few), WIDE))
    return full_newton.Given(task, theta, place.whole((softmax.SLOTS,), np.int32), frame_of(place))


def shared_metric(place: Place) -> Lowered:
    """The eigenbasis of the features."""
    data = data_of(place, lambda x: softmax.descent_block(x, CLASSES * softmax.SLOTS), 3)
    return lowered(metric.metric_of, data, data, frame_of(place))


def scored(place: Place) -> Lowered:
    """Softmax heads on what a fold holds out."""
    data = data_of(place, lambda x: softmax.descent_block(x, CLASSES * softmax.SLOTS), 3)
    bit = place.whole((softmax.SLOTS,), np.uint32)
    return lowered(multinomial.held_out, data, theta_of(place, softmax.SLOTS), bit, data, frame_of(place))


def standardised(place: Place) -> Lowered:
    """The deviations of the columns."""
    data = data_of(place, lambda x: rows_at_once(x, x.shape[0], SCALED_BYTES, 8 * FEATURES), 0)
    return lowered(scales.column_scales, data, data, place.whole((FITS,), WIDE))


def spectrum_of(place: Place) -> ridge.Spectrum:
    """What ridge heads are divided from, of one target and more rows than columns."""
    wide, one = place.whole((FEATURES,), WIDE), place.whole((1,), WIDE)
    basis = place.whole((FEATURES, FEATURES), WIDE)
    return ridge.Spectrum(wide, basis, place.whole((FEATURES, 1), WIDE), wide, one, wide, None)


def products_of(place: Place) -> row_products.Products:
    """Sums over rows for ridge heads of one target."""
    half, one = FEATURES // 2, place.whole((1,), WIDE)
    upper, corner = place.whole((half, FEATURES), WIDE), place.whole((FEATURES - half,) * 2, WIDE)
    middle, cross = place.whole((FEATURES,), WIDE), place.whole((FEATURES, 1), WIDE)
    return row_products.Products(place.whole((), WIDE), middle, one, upper, corner, cross, one)


def of_block(function: Any, given: Callable[[Place], tuple[Any, ...]]) -> Callable[[Place], Lowered]:
    """Of a block of rows that the host hands over: (given, x, y, weights)."""

    def lower(place: Place) -> Lowered:
        x, y = place.whole((STREAMED, FEATURES)), place.whole((STREAMED, 1))
        rows = x, y, place.whole((STREAMED,), WIDE)
        data = BlockedData(*rows, STREAMED)
        first, last = given(place)
        return lowered(function, data, *first, *rows, *last)

    return lower


def without_rows(function: Any, given: Callable[[Place], tuple[Any, ...]]) -> Callable[[Place], Lowered]:
    """Of what was summed before."""

    def lower(place: Place) -> Lowered:
        return Lowered(function.trace(*given(place)).lower(), (0, FEATURES), 0)

    return lower


def heads_of_ridge(place: Place) -> tuple[Any, Any]:
    """Weights and intercepts of 64 strengths."""
    return place.whole((HEADS, 1, FEATURES), WIDE), place.whole((HEADS, 1), WIDE)


def summed(place: Place) -> tuple[Any, ...]:
    """Products, and whether there is an intercept and a scale."""
    return products_of(place), place.whole((), WIDE), place.whole((), WIDE)


def strengths_of(place: Place) -> tuple[Any, ...]:
    """A spectrum and 64 strengths."""
    return spectrum_of(place), place.whole((HEADS,), WIDE)


def left_out(place: Place) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What stands before the rows, and behind them."""
    return (*strengths_of(place), *heads_of_ridge(place)), (place.whole((), WIDE),) * 3


def kernel_rows(place: Place) -> Lowered:
    """Ridge with fewer rows than columns."""
    n, m = 512, 2048
    number = place.whole((), WIDE)
    rows = place.whole((n, m)), place.whole((n, 1)), place.whole((n,), WIDE)
    return Lowered(ridge.spectrum_of_kernel.trace(*rows, number, number).lower(), (n, m), n)


def predicted(place: Place) -> Lowered:
    """`Heads.predict` of as many rows as it takes at a time."""
    rows = logits.ROWS_BYTES // (8 * (HEADS + COLUMNS))
    x = place.whole((rows, FEATURES))
    return Lowered(logits.logits_of_block.trace(x, place.whole((HEADS, COLUMNS), WIDE)).lower(), x.shape, rows)


def indexed(place: Place) -> Lowered:
    """What heads say of rows that a fold holds out."""
    x, some = place.whole((ROWS, FEATURES)), ROWS // logits.PARTS
    index = place.whole((some,), np.int32)
    return Lowered(logits._logits.trace(x, place.whole((HEADS, COLUMNS), WIDE), index).lower(), x.shape, some)


def bounded(passes: int, per_row: float, *, spills: int = 0) -> dict[str, Bounds]:
    """For a GPU: of float64 a TPU's compiler makes rounded float32."""
    return {"cuda": Bounds(passes, per_row, reduced=0, spills=spills)}


def program(
    name: str, lower: Callable[[Place], Lowered], bounds: dict[str, Bounds], *, quick: bool = False
) -> Program:
    """One of `fit_heads`: on one device, in float64. Its rows are copied, a block at a time, in float64."""
    return Program(f"fit_heads, {name}", lower, bounds, sharded=False, quick=quick, wide=True)


def _anchors_block(x: Any) -> int:
    return logistic.newton_block(x, logistic.ANCHORS)


def _heads_block(x: Any) -> int:
    return logistic.chord_block(x, HEADS, 1)


def _hessian_block(x: Any) -> int:
    return softmax.hessian_block(x, softmax.HESSIAN // COLUMNS)


PROGRAMS = [
    program(
        "logistic, Newton",
        laps(newton.NEWTON["float32"], own_curvature, _anchors_block, 2),
        bounded(5, 1350),
        quick=True,
    ),
    program(
        "logistic, Newton in float64",
        laps(newton.NEWTON["float64"], own_curvature, _anchors_block, 2),
        bounded(6, 2650),
    ),
    program(
        "logistic, shared curvature", laps(chord.CHORD, neighbours_curvature, _heads_block, 2), bounded(3, 420)
    ),
    program("logistic, held out", indexed, bounded(2, 270)),
    program("softmax, quasi-Newton", descended("float32"), bounded(3, 450)),
    program("softmax, quasi-Newton in float64", descended("float64"), bounded(3, 870)),
    program(
        "softmax, damped Newton",
        laps(full_newton.FULL_NEWTON, whole_hessian, _hessian_block, 3),
        bounded(7, 3300),
    ),
    program("softmax, metric", shared_metric, bounded(3, 290)),
    program("softmax, held out", scored, bounded(2, 510)),
    program("standardised columns", standardised, bounded(5, 290)),
    program(
        "ridge, products of rows",
        of_block(row_products._add_rows, lambda place: ((products_of(place),), ())),
        bounded(9, 600),
        quick=True,
    ),
    program("ridge, spectrum", without_rows(ridge._of_products, summed), bounded(0, 0)),
    program("ridge, kernel of few rows", kernel_rows, bounded(12, 5400)),
    program("ridge, heads", without_rows(ridge.heads_of, strengths_of), bounded(0, 0)),
    program(
        "ridge, held out",
        without_rows(ridge._errors, lambda place: (products_of(place), *heads_of_ridge(place))),
        bounded(0, 0),
    ),
    program(
        "ridge, held out row by row",
        of_block(ridge._add_errors, lambda place: ((place.whole((HEADS, 1), WIDE),), heads_of_ridge(place))),
        bounded(2, 400),
    ),
    program("ridge, each row left out", of_block(leave_one_out._by_leverage, left_out), bounded(6, 600)),
    program("predict", predicted, bounded(2, 270), quick=True),
]
