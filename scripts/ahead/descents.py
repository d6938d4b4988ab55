"""The programs of objectives, `fit` and `sweep`, as these verbs have them compiled."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ahead.program import Bounds, Lowered, Program
from ahead.targets import Place
from dlcore import Objective, descent, losses, models
from dlcore.descent import step_size
from dlcore.fitting import driver as fitting
from dlcore.fitting.batches import Batches
from dlcore.fitting.loop import Hyper, advance, split_rule
from dlcore.fitting.start import before_start
from dlcore.models import Model
from dlcore.objective.blocks import BlockedData, rows_per_block
from dlcore.sweeping import driver as sweeping
from dlcore.sweeping import loop as sweep_loop
from dlcore.sweeping.settings import check_settings, collect_rules

ROWS, FEATURES, CLASSES, MODELS = 1_000_000, 128, 10, 32
"""A size at which X does not fit a cache: 512 MB. No power of two: some compilers then copy X to pad it."""
HIDDEN = 32
NETWORK = models.mlp((FEATURES, HIDDEN, CLASSES))

OBJECTIVES = {
    "linear": Objective(models.linear, losses.squared_error, 0.01),
    "logistic": Objective(models.logistic, losses.sigmoid_cross_entropy, 0.01),
    "softmax": Objective(models.softmax, losses.softmax_cross_entropy, 0.01),
    "network": Objective(NETWORK, losses.softmax_cross_entropy, 0.01),
}


def data_of(name: str, place: Place, *, weighted: bool = True) -> BlockedData:
    """What `Objective.prepare` would make of the rows there."""
    objective = OBJECTIVES[name]
    labels = np.int32 if objective.loss is losses.softmax_cross_entropy else np.float32
    x = place.rows((ROWS, FEATURES))
    weights = place.rows((ROWS,)) if weighted else None
    block = rows_per_block(x, len(place.devices))
    return BlockedData(x, place.rows((ROWS,), labels), weights, block, objective.loss, place.mesh)


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
    rows = ROWS // len(place.devices)
    return Lowered(function.trace(*arguments, **static).lower(), (rows, FEATURES), min(data.block, rows))


def evaluated(verb: str, name: str, *, weighted: bool = True) -> Callable[[Place], Lowered]:
    """A function of an objective."""

    def lower(place: Place) -> Lowered:
        objective, data = OBJECTIVES[name], data_of(name, place, weighted=weighted)
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
        hyper = Hyper(arrays, np.float32(0), np.int32(0), key if batches else None)
        objective = dataclasses.replace(OBJECTIVES[name], l2=np.float32(0.01))
        arguments = place.like(objective), data, place.like(hyper), place.like(state), place.like(np.int32(0))
        static = {"rule": split, "record": _nothing, "capacity": fitting.CAPACITY, "batches": batches}
        return lowered(advance, data, place, *arguments, **static)

    return lower


def swept(name: str, settings: dict[str, Any], *, each: str = "") -> Callable[[Place], Lowered]:
    """The loop of `sweep`, for rates or for weights or targets of each model's own."""

    def lower(place: Place) -> Lowered:
        objective, data, params = OBJECTIVES[name], data_of(name, place), start_of(name)
        slots = sweeping._default_slots(objective, data, params, np.dtype(np.float32))
        with jax.default_device(jax.devices("cpu")[0]):
            checked = check_settings(settings, objective, data)
            rule, arrays = collect_rules(_nesterov, checked, np.dtype(np.float32))
            rows = range(checked.size)
            queue = sweeping._queue(objective, data, checked, arrays, rows, checked.size, np.dtype(np.float32))
            state = sweeping._before_start(rule, queue, params, min(slots, checked.size))
        limits = sweep_loop.Limits(np.int32(0), np.float32(0), np.int32(0))
        program = sweep_loop.Program(rule, None, 0)
        objective = dataclasses.replace(objective, l2=0.0)
        given = (objective, data, queue, limits, params, state, np.int32(0))
        arguments = [one if isinstance(one, BlockedData) else place.like(one) for one in given]
        return lowered(sweep_loop.advance._jitted, data, place, *arguments, program=program)

    return lower


def _nesterov(setting: dict[str, Any]) -> optax.GradientTransformation:
    return descent.nesterov(setting["rate"])


def _nothing(params: Any) -> None:
    del params


def bounded(passes: int, per_row: float, *, fixed: int = 2**20, reduced: int = 1) -> dict[str, Bounds]:
    """The same for both targets."""
    return dict.fromkeys(("cuda", "tpu"), Bounds(passes, per_row, fixed, reduced))


RATES = {"rate": np.full(MODELS, 0.1), "l2": np.full(MODELS, 0.1)}

PROGRAMS = [
    Program("value, logistic", evaluated("value", "logistic"), bounded(1, 3)),
    Program("value and gradient, linear", evaluated("value_and_grad", "linear"), bounded(2, 3)),
    Program("value and gradient, logistic", evaluated("value_and_grad", "logistic"), bounded(2, 3), quick=True),
    Program("value and gradient, without weights", evaluated("value_and_grad", "logistic", weighted=False), bounded(2, 3)),
    Program("value and gradient, softmax", evaluated("value_and_grad", "softmax"), bounded(2, 3)),
    Program("value and gradient, network", evaluated("value_and_grad", "network"), bounded(2, 3)),
    Program("values and gradients, 32 logistic", evaluated("values_and_grads", "logistic"), bounded(2, 3)),
    Program("values and gradients, 32 softmax", evaluated("values_and_grads", "softmax"), bounded(2, 3)),
    Program("Hessian product, logistic", evaluated("hvp", "logistic"), bounded(2, 3)),
    Program("Hessian, logistic", evaluated("hessian", "logistic"), bounded(2, 3)),
    Program("lipschitz_step, logistic", stepped("logistic"), bounded(2, 3)),
    Program("predict, logistic", predicted("logistic"), bounded(1, 3)),
    Program("predict, softmax", predicted("softmax"), bounded(1, 3)),
    Program("predict, network", predicted("network"), bounded(1, 3)),
    Program("fit, linear, momentum", fitted("linear", lambda: descent.momentum(0.1)), bounded(2, 3)),
    Program("fit, logistic, nesterov", fitted("logistic", lambda: descent.nesterov(0.1)), bounded(2, 3), quick=True),
    Program("fit, logistic, accelerated", fitted("logistic", lambda: descent.accelerated(0.1)), bounded(2, 3)),
    Program("fit, logistic, in batches", fitted("logistic", lambda: descent.gradient_descent(0.1), batch=4096), bounded(2, 3)),
    Program("fit, logistic, optax.lbfgs", fitted("logistic", functools.partial(optax.lbfgs)), bounded(2, 3)),
    Program("fit, softmax, adam", fitted("softmax", lambda: descent.adam(0.1)), bounded(2, 3)),
    Program("fit, network, adam", fitted("network", lambda: descent.adam(0.1)), bounded(2, 3)),
    Program("fit, network, adam in batches", fitted("network", lambda: descent.adam(0.1), batch=4096), bounded(2, 3)),
    Program("sweep, 32 logistic", swept("logistic", RATES), bounded(2, 3), quick=True),
    Program("sweep, 32 softmax", swept("softmax", RATES), bounded(2, 3)),
]
