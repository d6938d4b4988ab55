"""The programs of objectives, `fit` and `sweep`, as these verbs have them compiled."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from aot.program import Bounds, Lowered, Program
from aot.targets import Place
from dlcore import Objective, descent, losses, models
from dlcore.descent import step_size
from dlcore.fitting.fit import CAPACITY
from dlcore.fitting.initial import before_start
from dlcore.fitting.loop import Hyper, advance, split_rule
from dlcore.fitting.minibatches import Batches
from dlcore.fitting.null_value import Reference
from dlcore.fitting.stopping import Limits
from dlcore.objective.blocks import BlockedData, rows_per_block
from dlcore.sweeping import loop as sweep_loop
from dlcore.sweeping.settings import check_settings, collect_rules
from dlcore.sweeping.sweep import _before_start, _default_slots, _queue

ROWS, FEATURES, CLASSES, MODELS = 1_000_000, 128, 10, 32
"""A size at which X does not fit a cache: 512 MB. No power of two: some compilers then copy X to pad it."""
TILES = 2048 * 4 * 122
"""Nearly as many rows, on each device a multiple of 2,048."""
HOISTED = 2
"""All-reduces: one in each turn of a loop, one before it. A TPU's compiler sums the weights once for all steps."""
HIDDEN = 32
NETWORK = models.mlp((FEATURES, HIDDEN, CLASSES))

OBJECTIVES = {
    "linear": Objective(models.linear, losses.squared_error, 0.01),
    "logistic": Objective(models.logistic, losses.sigmoid_cross_entropy, 0.01),
    "softmax": Objective(models.softmax, losses.softmax_cross_entropy, 0.01),
    "network": Objective(NETWORK, losses.softmax_cross_entropy, 0.01),
}


def data_of(name: str, place: Place, *, weighted: bool = True, rows: int = ROWS) -> BlockedData:
    """What `Objective.prepare` would make of the rows there."""
    objective = OBJECTIVES[name]
    labels = np.int32 if objective.loss is losses.softmax_cross_entropy else np.float32
    x = place.rows((rows, FEATURES))
    weights = place.rows((rows,)) if weighted else None
    block = rows_per_block(x, len(place.devices))
    return BlockedData(x, place.rows((rows,), labels), weights, block, objective.loss, place.mesh)


def start_of(name: str) -> Any:
    """Parameters on this machine's CPU."""
    model = OBJECTIVES[name].model
    with jax.default_device(jax.devices("cpu")[0]):
        if name == "network":
            return model.init(jax.random.key(0))
        return model.init(None, FEATURES, *([CLASSES] if name == "softmax" else []))


def many(tree: Any, count: int) -> Any:
    """With an axis of the models in front."""
    return jax.tree.map(lambda leaf: np.zeros((count, *leaf.shape), leaf.dtype), tree)


def lowered(function: Any, data: BlockedData, place: Place, *arguments: Any, **static: Any) -> Lowered:
    """A jitted function lowered for its arguments."""
    rows = data.x.shape[0] // len(place.devices)
    return Lowered(function.trace(*arguments, **static).lower(), (rows, FEATURES), min(data.block, rows))


def evaluated(verb: str, name: str, *, weighted: bool = True, rows: int = ROWS) -> Callable[[Place], Lowered]:
    """A function of an objective."""

    def lower(place: Place) -> Lowered:
        objective, data = OBJECTIVES[name], data_of(name, place, weighted=weighted, rows=rows)
        params = start_of(name)
        given = {
            "values_and_grads": (many(params, MODELS), data, np.zeros(MODELS, np.float32)),
            "hvp": (params, params, data),
        }.get(verb, (params, data))
        arguments = [one if isinstance(one, BlockedData) else place.like(one) for one in given]
        return lowered(jax.jit(getattr(objective, verb)), data, place, *arguments)

    return lower


def predicted(name: str) -> Callable[[Place], Lowered]:
    """A model's predictions for all rows."""

    def lower(place: Place) -> Lowered:
        data = data_of(name, place)
        program = jax.jit(jax.vmap(OBJECTIVES[name].model.predict, (None, 0)))
        return lowered(program, data, place, place.like(start_of(name)), data.x)

    return lower


def stepped(name: str) -> Callable[[Place], Lowered]:
    """`lipschitz_step`."""

    def lower(place: Place) -> Lowered:
        data = data_of(name, place)
        return lowered(step_size._step, data, place, place.like(OBJECTIVES[name]), data, place.like(np.float32(1)))

    return lower


def fitted(
    name: str, rule: Callable[[], optax.GradientTransformation], *, batch: int = 0
) -> Callable[[Place], Lowered]:
    """The loop of `fit`."""

    def lower(place: Place) -> Lowered:
        data, params, each = data_of(name, place), start_of(name), ROWS // len(place.devices)
        with jax.default_device(jax.devices("cpu")[0]):
            split, arrays = split_rule(rule())
            state = before_start(split.with_arrays(arrays), params)
            key = jax.random.key(0)
        batches = Batches(batch, -(-each // batch)) if batch else None
        if batches:
            state = state._replace(order=np.zeros(batches.per_epoch, np.int32))
        arrays = jax.tree.map(np.float32, arrays)
        zero = np.float32(0)
        hyper = Hyper(arrays, Limits(zero, np.int32(0), zero, zero, zero), key if batches else None)
        objective = dataclasses.replace(OBJECTIVES[name], l2=np.float32(0.01))
        arguments = place.like(objective), data, place.like(hyper), place.like(state), place.like(np.int32(0))
        static = {"rule": split, "record": _nothing, "capacity": CAPACITY, "batches": batches}
        return lowered(advance, data, place, *arguments, **static)

    return lower


def swept(name: str, settings: dict[str, Any]) -> Callable[[Place], Lowered]:
    """The loop of `sweep`, all models at work at a time."""

    def lower(place: Place) -> Lowered:
        objective, data, params = OBJECTIVES[name], data_of(name, place), start_of(name)
        slots = _default_slots(objective, data, params, np.dtype(np.float32))
        with jax.default_device(jax.devices("cpu")[0]):
            checked = check_settings(settings, objective, data)
            rule, arrays = collect_rules(_nesterov, checked, np.dtype(np.float32))
            rows = range(checked.size)
            dtype = np.dtype(np.float32)
            references = Reference(*np.zeros((3, checked.size), dtype))
            queue = _queue(objective, data, checked, arrays, references, rows, checked.size, dtype)
            state = _before_start(rule, queue, params, min(slots, checked.size))
        numbers: Any = np.int32(0), np.float32(0), np.int32(0)
        limits = sweep_loop.Limits(*numbers)
        program = sweep_loop.Program(rule, None, 0)
        objective = dataclasses.replace(objective, l2=0.0)
        given = (objective, data, queue, limits, params, state, np.int32(0))
        arguments = [one if isinstance(one, BlockedData) else place.like(one) for one in given]
        return lowered(sweep_loop.advance.jitted, data, place, *arguments, program=program)

    return lower


def _nesterov(setting: dict[str, Any]) -> optax.GradientTransformation:
    return descent.nesterov(setting["rate"])


def _nothing(params: Any) -> None:
    del params


def bounded(
    passes: int,
    per_row: float,
    *,
    cuda: Bounds | None = None,
    reduced: int = 1,
    tpu_reduced: int | None = None,
    tpu_copy: float = 0,
) -> dict[str, Bounds]:
    """Of both targets where `cuda` does not say what else an H100 needs, `tpu_copy` the size of a row's copy."""
    both = Bounds(passes, per_row, reduced=reduced)
    reduced = reduced if tpu_reduced is None else tpu_reduced
    tpu = Bounds(passes + bool(tpu_copy), per_row + tpu_copy, reduced=reduced)
    return {"cuda": cuda or both, "tpu": tpu}


def padded(per_row: float, *, passes: int = 3, reduced: int = 1, spills: int = 0) -> Bounds:
    """Where XLA pads a copy of X for a product over the rows of an H100: X is read, the copy written and read."""
    return Bounds(passes, per_row, reduced=reduced, spills=spills)


RATES = {"rate": np.full(MODELS, 0.1), "l2": np.full(MODELS, 0.1)}
SPILLED = 512
"""Bytes that the product of X and ten slopes spills with the tiles that XLA takes where it does not time any."""

PROGRAMS = [
    Program("value, logistic", evaluated("value", "logistic"), bounded(1, 1.5)),
    Program("value and gradient, linear", evaluated("value_and_grad", "linear"), bounded(2, 2.5)),
    Program("value and gradient, logistic", evaluated("value_and_grad", "logistic"), bounded(2, 2.5), quick=True),
    Program(
        "value and gradient, logistic, without weights",
        evaluated("value_and_grad", "logistic", weighted=False),
        bounded(2, 2.5),
    ),
    Program(
        "value and gradient, softmax",
        evaluated("value_and_grad", "softmax"),
        bounded(2, 12, cuda=padded(160, spills=SPILLED)),
    ),
    Program(
        "value and gradient, network",
        evaluated("value_and_grad", "network"),
        bounded(2, 80, cuda=padded(220, spills=SPILLED)),
    ),
    Program(
        "values and gradients, 32 logistic",
        evaluated("values_and_grads", "logistic"),
        bounded(2, 66, cuda=padded(170)),
    ),
    Program(
        "values and gradients, 32 logistic, whole tiles",
        evaluated("values_and_grads", "logistic", rows=TILES),
        bounded(2, 68),
    ),
    Program(
        "values and gradients, 32 softmax",
        evaluated("values_and_grads", "softmax"),
        bounded(2, 650, cuda=padded(850)),
    ),
    Program("Hessian product, logistic", evaluated("hvp", "logistic"), bounded(2, 3.5)),
    Program("Hessian, logistic", evaluated("hessian", "logistic"), bounded(2, 2.5, cuda=padded(270))),
    Program("lipschitz_step, logistic", stepped("logistic"), bounded(1, 1, cuda=padded(270))),
    Program("predict, logistic", predicted("logistic"), bounded(1, 0.1, reduced=0)),
    Program("predict, softmax", predicted("softmax"), bounded(1, 11, reduced=0)),
    Program("predict, network", predicted("network"), bounded(1, 34, reduced=0)),
    Program(
        "fit, linear, momentum",
        fitted("linear", lambda: descent.momentum(0.1)),
        bounded(2, 2.5, tpu_reduced=HOISTED),
    ),
    Program(
        "fit, logistic, nesterov",
        fitted("logistic", lambda: descent.nesterov(0.1)),
        bounded(2, 2.5, tpu_reduced=HOISTED),
        quick=True,
    ),
    Program(
        "fit, logistic, accelerated",
        fitted("logistic", lambda: descent.accelerated(0.1)),
        bounded(2, 2.5, tpu_reduced=HOISTED),
    ),
    Program(
        "fit, logistic, in batches",
        fitted("logistic", lambda: descent.gradient_descent(0.1), batch=4096),
        bounded(4, 2.5, reduced=3),
    ),
    Program(
        "fit, logistic, optax.lbfgs",
        fitted("logistic", functools.partial(optax.lbfgs)),
        bounded(6, 6.5, reduced=7, tpu_reduced=8),
    ),
    Program(
        "fit, softmax, adam",
        fitted("softmax", lambda: descent.adam(0.1)),
        bounded(2, 12, cuda=padded(160, spills=SPILLED), tpu_reduced=HOISTED),
    ),
    Program(
        "fit, network, adam",
        fitted("network", lambda: descent.adam(0.1)),
        bounded(2, 80, cuda=padded(220, spills=SPILLED), tpu_reduced=HOISTED),
    ),
    Program(
        "fit, network, adam in batches",
        fitted("network", lambda: descent.adam(0.1), batch=4096),
        bounded(4, 80, cuda=padded(220, passes=4, spills=SPILLED, reduced=3), reduced=3),
    ),
    Program(
        "sweep, 32 logistic",
        swept("logistic", RATES),
        bounded(2, 66, cuda=padded(170), tpu_reduced=HOISTED, tpu_copy=FEATURES),
        quick=True,
    ),
    Program(
        "sweep, 32 softmax",
        swept("softmax", RATES),
        bounded(2, 650, cuda=padded(850), tpu_reduced=HOISTED),
    ),
]
