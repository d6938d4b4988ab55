"""Programs of objectives, `fit` and `sweep`, lowered with the arguments that these functions pass."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax

from aot.program import Bounds, Jitted, Lower, Lowered, Program
from aot.targets import Placement
from dlcore import Objective, descent, losses, models
from dlcore._core.types import Params
from dlcore.descent import step_size
from dlcore.fitting.fit import CAPACITY
from dlcore.fitting.initial import initial_state
from dlcore.fitting.loop import LoopArguments, advance, split_optimizer
from dlcore.fitting.minibatches import Batches
from dlcore.fitting.null_model import NullModel
from dlcore.fitting.stopping import StopLimits
from dlcore.objective.blocks import BlockedData, rows_per_block
from dlcore.sweeping import loop as sweep_loop
from dlcore.sweeping.settings import check_settings, collect_optimizers
from dlcore.sweeping.sweep import default_slots, initial_sweep_state, make_queue, place_queue

ROWS, FEATURES, CLASSES, MODELS = 1_000_000, 128, 10, 32
"""Size at which X, 512 MB, does not fit a cache. It is no power of two: some compilers then pad a copy of X."""
TILES = 2048 * 4 * 122
"""Nearly the same number of rows; on each device it is a multiple of 2,048."""
HOISTED = 2
"""All-reduces of a loop: one in its body, one before. The TPU compiler sums the weights once for all steps."""
HIDDEN = 32
NETWORK = models.mlp((FEATURES, HIDDEN, CLASSES))

OBJECTIVES = {
    "linear": Objective(models.linear, losses.squared_error, 0.01),
    "logistic": Objective(models.logistic, losses.sigmoid_cross_entropy, 0.01),
    "softmax": Objective(models.softmax, losses.softmax_cross_entropy, 0.01),
    "network": Objective(NETWORK, losses.softmax_cross_entropy, 0.01),
}


def data_of(name: str, placement: Placement, *, weighted: bool = True, rows: int = ROWS) -> BlockedData:
    """Return abstract data with the layout that `Objective.prepare` would choose."""
    objective = OBJECTIVES[name]
    labels = np.int32 if objective.loss is losses.softmax_cross_entropy else np.float32
    x = placement.rows((rows, FEATURES))
    weights = placement.rows((rows,)) if weighted else None
    block = rows_per_block(x, len(placement.devices))
    return BlockedData(x, placement.rows((rows,), labels), weights, block, objective.loss, placement.mesh)


def initial_params(name: str) -> Params:
    """Return initial parameters, on this machine's CPU."""
    model = OBJECTIVES[name].model
    with jax.default_device(jax.devices("cpu")[0]):
        if name == "network":
            return model.init(jax.random.key(0))
        return model.init(None, FEATURES, *([CLASSES] if name == "softmax" else []))


def stack_zeros(tree: Params, count: int) -> Params:
    """Return zeros with the shapes of a tree and a leading axis of `count` models."""
    return jax.tree.map(lambda leaf: np.zeros((count, *leaf.shape), leaf.dtype), tree)


def lower(
    function: Jitted, data: BlockedData, placement: Placement, *arguments: object, **static: object
) -> Lowered:
    """Lower a jitted function for its arguments."""
    rows = data.x.shape[0] // len(placement.devices)
    return Lowered(function.trace(*arguments, **static).lower(), (rows, FEATURES), min(data.block, rows))


def place_input(argument: object, placement: Placement) -> object:
    """Return the abstract arrays of an argument; data have them already."""
    return argument if isinstance(argument, BlockedData) else placement.like(argument)


def objective_program(method: str, name: str, *, weighted: bool = True, rows: int = ROWS) -> Lower:
    """Return the program of a method of an objective."""

    def lower_on(placement: Placement) -> Lowered:
        objective, data = OBJECTIVES[name], data_of(name, placement, weighted=weighted, rows=rows)
        params = initial_params(name)
        inputs = {
            "values_and_grads": (stack_zeros(params, MODELS), data, np.zeros(MODELS, np.float32)),
            "hvp": (params, params, data),
        }.get(method, (params, data))
        arguments = [place_input(argument, placement) for argument in inputs]
        return lower(jax.jit(getattr(objective, method)), data, placement, *arguments)

    return lower_on


def predict_program(name: str) -> Lower:
    """Return the program of a model's predictions for all rows."""

    def lower_on(placement: Placement) -> Lowered:
        data = data_of(name, placement)
        program = jax.jit(jax.vmap(OBJECTIVES[name].model.predict, (None, 0)))
        return lower(program, data, placement, placement.like(initial_params(name)), data.x)

    return lower_on


def lipschitz_step_program(name: str) -> Lower:
    """Return the program of `lipschitz_step`."""

    def lower_on(placement: Placement) -> Lowered:
        data = data_of(name, placement)
        return lower(
            step_size._step, data, placement, placement.like(OBJECTIVES[name]), data, placement.like(np.float32(1))
        )

    return lower_on


def fit_program(name: str, rule: Callable[[], optax.GradientTransformation], *, batch: int = 0) -> Lower:
    """Return the loop of `fit`."""

    def lower_on(placement: Placement) -> Lowered:
        data, params, rows = data_of(name, placement), initial_params(name), ROWS // len(placement.devices)
        with jax.default_device(jax.devices("cpu")[0]):
            split, arrays = split_optimizer(rule())
            state = initial_state(split.combine(arrays), params)
            key = jax.random.key(0)
        batches = Batches(batch, -(-rows // batch)) if batch else None
        if batches:
            state = state._replace(order=np.zeros(batches.per_epoch, np.int32))
        arrays = jax.tree.map(np.float32, arrays)
        zero = np.float32(0)
        hyper = LoopArguments(
            arrays, StopLimits(zero, np.int32(0), NullModel(zero, zero, zero)), key if batches else None
        )
        objective = dataclasses.replace(OBJECTIVES[name], l2=np.float32(0.01))
        arguments = (
            placement.like(objective),
            data,
            placement.like(hyper),
            placement.like(state),
            placement.like(np.int32(0)),
        )
        static = {"static_optimizer": split, "record": _record_nothing, "capacity": CAPACITY, "batches": batches}
        return lower(advance, data, placement, *arguments, **static)

    return lower_on


def sweep_program(name: str, settings: dict[str, np.ndarray]) -> Lower:
    """Return the loop of `sweep`, with every model in a slot."""

    def lower_on(placement: Placement) -> Lowered:
        objective, data, params = OBJECTIVES[name], data_of(name, placement), initial_params(name)
        slots = default_slots(objective, data, params, np.dtype(np.float32))
        with jax.default_device(jax.devices("cpu")[0]):
            checked = check_settings(settings, objective, data)
            rule, arrays = collect_optimizers(_nesterov, checked, np.dtype(np.float32))
            rows = range(checked.size)
            dtype = np.dtype(np.float32)
            references = NullModel(*np.zeros((3, checked.size), dtype))
            queue = make_queue(objective, data, checked, arrays, references, dtype)
            queue = place_queue(queue, rows, checked.size)
            state = initial_sweep_state(rule, queue, params, min(slots, checked.size))
        numbers: Any = np.int32(0), np.float32(0), np.int32(0), np.int32(0)
        limits = sweep_loop.SweepLimits(*numbers)
        program = sweep_loop.SweepProgram(rule, None, 0)
        objective = dataclasses.replace(objective, l2=0.0)
        inputs = (objective, data, queue, limits, params, state)
        arguments = [place_input(argument, placement) for argument in inputs]
        return lower(sweep_loop.advance.jitted, data, placement, *arguments, program=program)

    return lower_on


def _nesterov(setting: Mapping[str, Any]) -> optax.GradientTransformation:
    return descent.nesterov(setting["rate"])


def _record_nothing(params: Params) -> None:
    del params


def both_bounds(
    passes: int,
    per_row: float,
    *,
    cuda: Bounds | None = None,
    reduced: int = 1,
    tpu_reduced: int | None = None,
    tpu_copy: float = 0,
) -> dict[str, Bounds]:
    """Return the bounds of both targets.

    Args:
      passes: reads of X.
      per_row: temporaries for each row.
      cuda: bounds of an H100; by default the same.
      reduced: all-reduces.
      tpu_reduced: all-reduces on a TPU; by default `reduced`.
      tpu_copy: size of a row of a copy of X that a TPU makes, 0 without a copy.
    """
    both = Bounds(passes, per_row, reduced=reduced)
    reduced = reduced if tpu_reduced is None else tpu_reduced
    tpu = Bounds(passes + bool(tpu_copy), per_row + tpu_copy, reduced=reduced)
    return {"cuda": cuda or both, "tpu": tpu}


def padded_bounds(per_row: float, *, passes: int = 3, reduced: int = 1, spills: int = 0) -> Bounds:
    """Return the bounds of an H100 when XLA pads a copy of X: X is read, the copy is written and read."""
    return Bounds(passes, per_row, reduced=reduced, spills=spills)


RATES = {"rate": np.full(MODELS, 0.1), "l2": np.full(MODELS, 0.1)}
SPILLED = 512
"""Bytes that the product of X and ten gradients spills with XLA's default tiles, which no autotuning improves."""

PROGRAMS = [
    Program("value, logistic", objective_program("value", "logistic"), both_bounds(1, 1.5)),
    Program("value and gradient, linear", objective_program("value_and_grad", "linear"), both_bounds(2, 2.5)),
    Program(
        "value and gradient, logistic",
        objective_program("value_and_grad", "logistic"),
        both_bounds(2, 2.5),
        quick=True,
    ),
    Program(
        "value and gradient, logistic, without weights",
        objective_program("value_and_grad", "logistic", weighted=False),
        both_bounds(2, 2.5),
    ),
    Program(
        "value and gradient, softmax",
        objective_program("value_and_grad", "softmax"),
        both_bounds(2, 12, cuda=padded_bounds(160, spills=SPILLED)),
    ),
    Program(
        "value and gradient, network",
        objective_program("value_and_grad", "network"),
        both_bounds(2, 80, cuda=padded_bounds(220, spills=SPILLED)),
    ),
    Program(
        "values and gradients, 32 logistic",
        objective_program("values_and_grads", "logistic"),
        both_bounds(2, 66, cuda=padded_bounds(170)),
    ),
    Program(
        "values and gradients, 32 logistic, whole tiles",
        objective_program("values_and_grads", "logistic", rows=TILES),
        both_bounds(2, 68),
    ),
    Program(
        "values and gradients, 32 softmax",
        objective_program("values_and_grads", "softmax"),
        both_bounds(2, 650, cuda=padded_bounds(850)),
    ),
    Program("Hessian product, logistic", objective_program("hvp", "logistic"), both_bounds(2, 3.5)),
    Program(
        "Hessian, logistic", objective_program("hessian", "logistic"), both_bounds(2, 2.5, cuda=padded_bounds(270))
    ),
    Program(
        "lipschitz_step, logistic", lipschitz_step_program("logistic"), both_bounds(1, 1, cuda=padded_bounds(270))
    ),
    Program("predict, logistic", predict_program("logistic"), both_bounds(1, 0.1, reduced=0)),
    Program("predict, softmax", predict_program("softmax"), both_bounds(1, 11, reduced=0)),
    Program("predict, network", predict_program("network"), both_bounds(1, 34, reduced=0)),
    Program(
        "fit, linear, momentum",
        fit_program("linear", lambda: descent.momentum(0.1)),
        both_bounds(2, 2.5, tpu_reduced=HOISTED),
    ),
    Program(
        "fit, logistic, nesterov",
        fit_program("logistic", lambda: descent.nesterov(0.1)),
        both_bounds(2, 2.5, tpu_reduced=HOISTED),
        quick=True,
    ),
    Program(
        "fit, logistic, accelerated",
        fit_program("logistic", lambda: descent.accelerated(0.1)),
        both_bounds(2, 2.5, tpu_reduced=HOISTED),
    ),
    Program(
        "fit, logistic, in batches",
        fit_program("logistic", lambda: descent.gradient_descent(0.1), batch=4096),
        both_bounds(4, 2.5, reduced=3),
    ),
    Program(
        "fit, logistic, optax.lbfgs",
        fit_program("logistic", functools.partial(optax.lbfgs)),
        both_bounds(6, 6.5, reduced=7, tpu_reduced=8),
    ),
    Program(
        "fit, softmax, adam",
        fit_program("softmax", lambda: descent.adam(0.1)),
        both_bounds(2, 12, cuda=padded_bounds(160, spills=SPILLED), tpu_reduced=HOISTED),
    ),
    Program(
        "fit, network, adam",
        fit_program("network", lambda: descent.adam(0.1)),
        both_bounds(2, 80, cuda=padded_bounds(220, spills=SPILLED), tpu_reduced=HOISTED),
    ),
    Program(
        "fit, network, adam in batches",
        fit_program("network", lambda: descent.adam(0.1), batch=4096),
        both_bounds(4, 80, cuda=padded_bounds(220, passes=4, spills=SPILLED, reduced=3), reduced=3),
    ),
    Program(
        "sweep, 32 logistic",
        sweep_program("logistic", RATES),
        both_bounds(2, 66, cuda=padded_bounds(170), tpu_reduced=HOISTED, tpu_copy=FEATURES),
        quick=True,
    ),
    Program(
        "sweep, 32 softmax",
        sweep_program("softmax", RATES),
        both_bounds(2, 650, cuda=padded_bounds(850), tpu_reduced=HOISTED),
    ),
]
