"""`sweep`: many fits in one compiled program, in a Python loop for progress, Ctrl-C and stopping."""

import dataclasses
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Never

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from dlcore._core import array_checks, host_checks
from dlcore._core.status import Status
from dlcore._core.types import Array, Params, PRNGKey, working_dtype
from dlcore.devices import platform_of, to_device
from dlcore.fitting.fit import CAPACITY, ChunkLength
from dlcore.fitting.initial import check_arguments, check_initial_params, init_sizes, initial_params
from dlcore.fitting.loop import StaticOptimizer
from dlcore.fitting.null_model import NullModel, null_model_of, prediction_struct
from dlcore.fitting.result import History
from dlcore.fitting.scalars import as_scalar, as_scalars
from dlcore.fitting.state import PyTree
from dlcore.fitting.stopping import CODES, FitData, stop_message
from dlcore.losses import get_loss_info
from dlcore.objective import BlockedData, Objective
from dlcore.objective.passes import pass_cost
from dlcore.objective.threads import cores_for
from dlcore.sweeping import loop
from dlcore.sweeping.loop import Queue, ResultTable, Slots, SweepHistory, SweepState
from dlcore.sweeping.result import Sweep, SweepProgress
from dlcore.sweeping.settings import MakeOptimizer, Settings, TracedOptimizer, check_settings, collect_optimizers

PREDICTION_BYTES = 2**22
"""Maximum size on a CPU of the predictions of all slots for a block of rows."""

STATE_BYTES = 2**19
"""Maximum size on a CPU of the parameters of all slots. Gradient, update and momentum need as much again each."""

ACCELERATOR_FACTOR = 2**9
"""Factor of both sizes on an accelerator, where a block holds all rows and memory is the limit."""

UNTRANSFORMED = "sweep is a Python loop around one compiled program: call it from Python, untransformed"


def sweep(
    objective: Objective,
    data: FitData,
    make_optimizer: MakeOptimizer,
    settings: Mapping[str, npt.ArrayLike],
    *,
    params: Params = None,
    key: PRNGKey | None = None,
    tol: float = 1e-6,
    max_steps: int = 10_000,
    slots: int | None = None,
    chunk: int | None = None,
    callback: Callable[[SweepProgress], object] | None = None,
    record: bool = False,
    **unknown: Never,
) -> Sweep:
    r"""Minimize an objective for every setting at once, each model as `dlcore.fit` would.

    $\theta^{(i)}_{k+1} = \theta^{(i)}_k + u_i(\nabla J_i(\theta^{(i)}_k))$ until $J_i$ is flat, $i = 1, 2, \dots$

    The models share one copy of x. For affine models with one output, the gradients of all slots are two
    matrix products for each block of rows. A model that has ended leaves its slot to the next setting.

    A sweep compiles one program for the shapes of the data, the slots, the optimizer, and the number of settings
    rounded up to a power of two. With weights or targets as settings the number is not rounded. The next sweep
    compiles nothing if only values differ. The program makes Optax optimizers from the numbers of the setting, so
    they compile once per `make_optimizer` object.

    Each model differs from that of `fit` only by the rounding of sums, which XLA may order differently for another
    number of slots. After k steps this is about k times the rounding of a gradient, if the descent does not
    amplify it. At the same number of slots in each thread neither the other models nor the chunk change a
    bit of a model.

    Args:
      objective: the objective to minimize.
      data: (x, y), (x, y, weights), or the result of `objective.prepare`.
      make_optimizer: a function of a setting, a dict of numbers by name. It returns a rule of `dlcore.descent` or
        any Optax optimizer, as `fit` takes it, and is called for every setting. For an Optax optimizer it is
        called again inside the program, with traced numbers.
      settings: a dict of arrays by name, each of shape (settings,): all that `make_optimizer` reads, `l2`, which
        replaces the objective's, and `seed`, which is folded into `key` for the initial parameters. `weights` and
        `targets`, of shape (settings, n), replace those of the data. An unread name is refused.
      params: initial parameters of all models. None calls `objective.model.init(key, ...)`.
      key: a JAX random key for `init`.
      tol: relative tolerance, ≥ 0. With 0 the sweep continues until no bit changes.
      max_steps: maximum number of updates of each model, ≥ 1.
      slots: number of models in the loop at a time, at most the number of settings. On a CPU, None takes as many
        as keep the predictions for a block of rows within 4 MB and the parameters within 0.5 MB, for each thread.
      chunk: number of steps between two calls of `callback`. None makes a chunk a fifth of a second long.
      callback: a function of a `SweepProgress`, called after every chunk. A true result stops all models.
      record: whether to keep J and ‖∇J‖ of every step.
      **unknown: not accepted. For an argument of another library, such as C, the error names the one of dlcore.

    Returns:
      A `Sweep`, which is a `Fit` with a leading axis (settings, ...): `status` and `steps` are NumPy arrays, and
      `message` is a tuple. `history` has shape (settings, k + 1), with nan after the end of a model and k the most
      steps of a model. Without `record` it has shape (settings, 0). A model that diverges does not disturb the
      others. A sweep is not differentiable, and does not run under jit or vmap.

    Raises:
      ValueError: if a value or a shape is wrong, as in `fit`, or if a setting is missing or unread. The message
        names the index of the setting.
      TypeError: if an argument has the wrong type, or `make_optimizer` does not return an optimizer. Also under
        any transformation of JAX.

    Source: Boyd and Vandenberghe, Convex Optimization, section 9.1.2 (the stopping rule).

    >>> from dlcore.descent import gradient_descent
    >>> from dlcore.losses import squared_error
    >>> from dlcore.models import linear
    >>> x, y = np.array([[-1.0], [0.0], [1.0]]), np.array([1.0, 2.0, 3.0])
    >>> fitted = sweep(
    ...     Objective(linear, squared_error, l2=1.0), (x, y), lambda setting: gradient_descent(setting["rate"]),
    ...     {"rate": [0.1, 0.3, 9.0]})
    >>> print(*fitted.status, fitted.params.weight[:2, 0].round(2))
    converged converged diverged [0.57 0.57]
    >>> fitted
    Sweep(3 settings: 2 converged, 1 diverged, best value 0.2857 at rate=0.3)
    """
    host_checks.reject_unknown_arguments("sweep", unknown, " of the Objective", max_iter="max_steps")
    max_steps, chunk = check_arguments(objective, callback, "SweepProgress", max_steps, chunk)
    if not isinstance(record, bool):
        raise TypeError(f"record: expected True or False, got {record!r}")
    if any(map(array_checks.is_traced, jax.tree.leaves((objective.l2, params, key, tol)))):
        raise TypeError(UNTRANSFORMED)
    array_checks.check_number("tol", tol, minimum=0)
    blocked = objective.prepare(data)
    if array_checks.is_traced(blocked.x):
        raise TypeError(UNTRANSFORMED)
    checked = check_settings(settings, objective, blocked)
    start, sizes, example = _start(objective, blocked, checked, params, key)
    dtype = jnp.result_type(*jax.tree.leaves(example))
    rule, hyperparams = collect_optimizers(make_optimizer, checked, dtype)

    shards = _shard_settings(checked.size, blocked, example)
    settings_of_rows = checked.weights is not None or checked.targets is not None
    rows = len(shards[0]) if settings_of_rows else _power_of_two(len(shards[0]))
    if slots is None:
        slots = len(shards) * default_slots(objective, blocked, example, dtype)
    slots = min(-(-host_checks.check_count("slots", slots) // len(shards)), rows)
    null_models = _null_models(objective, blocked, checked, example, dtype)
    queue = make_queue(objective, blocked, checked, hyperparams, null_models, dtype)
    queues = [place_queue(queue, shard, rows) for shard in shards]
    program = loop.SweepProgram(rule, sizes, CAPACITY if record else 0)
    max_updates, tolerance = jax.device_put(np.int32(max_steps)), as_scalar("tol", float(tol), dtype)
    objective = dataclasses.replace(objective, l2=0.0)
    states = [initial_sweep_state(rule, queue, example, slots) for queue in queues]

    pieces: list[SweepHistory] = []
    steps, running, stopped = 0, 1, False
    chunk_length = ChunkLength(chunk)
    while running:
        clock, first = perf_counter(), steps
        while running and steps < first + chunk_length.steps:
            remaining = min(first + chunk_length.steps - steps, CAPACITY if record else 2**31 - 2)
            budget = jax.device_put(np.int32(remaining))
            limits = [
                loop.SweepLimits(jax.device_put(np.int32(len(shard))), tolerance, max_updates, budget)
                for shard in shards
            ]
            results = loop.advance.map_threads(
                [
                    (objective, blocked, *arguments, start, state)
                    for *arguments, state in zip(queues, limits, states, strict=True)
                ],
                program=program,
            )
            states, counts = [state for state, _, _ in results], [int(count) for *_, count in results]
            steps += max(counts)
            running = 0
            for (state, history, _), count, shard in zip(results, counts, shards, strict=True):
                running += int((np.asarray(state.slots.row) < len(shard)).sum())
                if history is not None:
                    pieces.append(_occupied_entries(history, count, shard))
        if callback is not None and not stopped:
            finished = sum(int(state.next) for state in states) - running
            stopped = bool(callback(SweepProgress(finished, checked.size, steps)))
            if stopped:  # each model is evaluated once more at its parameters, and no update follows
                max_updates = jax.device_put(np.int32(0))
        chunk_length.adapt(perf_counter() - clock, steps - first)
    table = _concatenate([state.table for state in states], shards)
    fitted = _result(table, objective, max_steps)
    history = _history(pieces, fitted.steps, dtype)
    settings_copy = {name: numbers.copy() for name, numbers in checked.numbers.items()}
    return dataclasses.replace(fitted, history=history, settings=settings_copy)


def _shard_settings(size: int, data: BlockedData, params: Params) -> list[range]:
    """Return the settings of each thread. Short sweeps and rows over several devices have one thread."""
    threads = 1 if data.mesh is not None else min(cores_for(size * pass_cost(data, params), data.x), size)
    per_thread = -(-size // threads)
    return [range(first, min(first + per_thread, size)) for first in range(0, size, per_thread)]


def _start(
    objective: Objective, data: BlockedData, settings: Settings, params: Params, key: PRNGKey | None
) -> tuple[loop.Start, tuple[int, ...] | None, Params]:
    """Return what the program starts from, the sizes that `init` takes, and the parameters of one model."""
    if settings.targets is not None:  # the setting with the most classes decides their number
        highest = np.unravel_index(np.argmax(settings.targets), settings.targets.shape)[0]
        data = dataclasses.replace(data, y=jax.device_put(settings.targets[highest]))
    l2 = settings.numbers.get("l2", objective.l2)
    objective = dataclasses.replace(objective, l2=np.max(np.asarray(l2)))
    if "seed" not in settings.numbers:
        params = initial_params(objective, data, params, key)
        return params, None, params
    if params is not None:
        raise ValueError("settings['seed']: a seed is of the model's own start; pass params or seeds, not both")
    if key is None:
        raise ValueError("key: expected a key such as jax.random.key(0) to fold the seeds of the settings into")
    array_checks.check_key("key", key)
    sizes = init_sizes(objective, data, key)
    params = jax.eval_shape(lambda key: loop.seeded_params(objective, data.x, key, sizes, jnp.uint32(0)), key)
    check_initial_params(objective, data, params)
    return key, sizes, params


def _power_of_two(count: int) -> int:
    """Return the smallest power of two that is at least `count`."""
    return 1 << (count - 1).bit_length()


def default_slots(objective: Objective, data: BlockedData, params: Params, dtype: np.dtype) -> int:
    """Return the largest power of two of models whose parameters, and predictions for a block, fit the cache."""
    example = jax.ShapeDtypeStruct(data.x.shape[1:], dtype)
    prediction = jax.eval_shape(objective.model.apply, params, example)
    outputs = sum(leaf.size for leaf in jax.tree.leaves(prediction))
    prediction_bytes = data.block * max(outputs, 1) * dtype.itemsize
    params_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    scale = 1 if platform_of(data.x) == "cpu" else ACCELERATOR_FACTOR
    capacity = min(scale * PREDICTION_BYTES // prediction_bytes, scale * STATE_BYTES // params_bytes)
    return 1 << max(capacity, 1).bit_length() - 1


def make_queue(
    objective: Objective,
    data: BlockedData,
    settings: Settings,
    hyperparams: PyTree,
    null_models: NullModel,
    dtype: np.dtype,
) -> Queue:
    """Return all settings as a queue on the host, in the dtypes of the program."""
    l2 = settings.numbers.get("l2", np.full(settings.size, np.asarray(objective.l2)))
    seed, weights, targets = settings.numbers.get("seed"), settings.weights, settings.targets
    if targets is not None and not (targets.dtype == np.int32 and get_loss_info(objective.loss).classes):
        targets = as_scalars("settings['targets']", targets.astype(np.float64), dtype)
    return Queue(
        hyperparams,
        as_scalars("settings['l2']", np.asarray(l2, np.float64), dtype),
        None if seed is None else seed.astype(np.uint32),
        None if weights is None else weights.astype(working_dtype(data.x.dtype)),
        targets,
        null_models,
    )


def place_queue(queue: Queue, shard: range, rows: int) -> Queue:
    """Return the settings of a shard on the device, padded to `rows` rows with copies of the last."""

    def place(array: np.ndarray) -> Array:
        array = array[shard.start : shard.stop]
        return jax.device_put(np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)]))

    return jax.tree.map(place, queue)


def _null_models(
    objective: Objective, data: BlockedData, settings: Settings, params: Params, dtype: np.dtype
) -> NullModel:
    """Return the null model of each setting, as arrays of shape (settings,)."""
    outputs = prediction_struct(objective, data, params)
    max_l2 = np.max(np.asarray(settings.numbers.get("l2", objective.l2)))

    def null_model(i: int) -> NullModel:
        y = data.y if settings.targets is None else settings.targets[i]
        weights = data.weights if settings.weights is None else settings.weights[i]
        return null_model_of(objective, y, weights, max_l2, outputs, dtype)

    if settings.targets is None and settings.weights is None:
        return NullModel(*(np.repeat(np.asarray(number), settings.size) for number in null_model(0)))
    models = [null_model(i) for i in range(settings.size)]
    return NullModel(
        *(np.array([np.asarray(number) for number in numbers]) for numbers in zip(*models, strict=True))
    )


def initial_sweep_state(
    rule: StaticOptimizer | TracedOptimizer, queue: Queue, params: Params, slots: int
) -> SweepState:
    """Return the state before the first piece: zeros of the right shapes, which the program replaces."""
    rows = queue.l2.shape[0]

    def zeros(count: int, tree: PyTree) -> PyTree:
        def place(leaf: jax.ShapeDtypeStruct) -> Array:
            if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):  # random keys have no zeros
                return jnp.broadcast_to(jax.random.key(to_device(np.uint32(0))), (count, *leaf.shape))
            return jax.device_put(np.zeros((count, *leaf.shape), leaf.dtype))

        return jax.tree.map(place, tree)

    setting = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape[1:], array.dtype), queue)
    model = jax.eval_shape(
        lambda setting, params: loop.traced_initial_state(rule.combine(setting.hyperparams), params),
        setting,
        params,
    )
    return SweepState(
        jax.device_put(np.bool_(False)),
        jax.device_put(np.int32(0)),
        zeros(rows, loop.results_of(model)),
        Slots(jax.device_put(np.full(slots, rows, np.int32)), zeros(slots, setting), zeros(slots, model)),
    )


def _occupied_entries(history: SweepHistory, count: int, shard: range) -> SweepHistory:
    """Return the entries of occupied slots, flat and on the host, with rows counted over all shards."""
    host = jax.tree.map(lambda buffer: np.asarray(buffer)[:count], history)
    occupied = host.row < len(shard)
    entries = jax.tree.map(lambda buffer: buffer[occupied], host)
    return entries._replace(row=entries.row + shard.start)


def _concatenate(tables: list[ResultTable], shards: list[range]) -> ResultTable:
    """Return the rows of all shards without their padding."""

    def concatenate(*arrays: Array) -> Array:
        if len(arrays) == 1 and len(arrays[0]) == len(shards[0]):
            return arrays[0]
        unpadded = [np.asarray(array)[: len(shard)] for array, shard in zip(arrays, shards, strict=True)]
        return jax.device_put(np.concatenate(unpadded))

    return jax.tree.map(concatenate, *tables)


def _history(pieces: list[SweepHistory], steps: np.ndarray, dtype: np.dtype) -> History:
    """Return the history with a row for each model, which is nan after the end of the model."""
    shape = (len(steps), int(steps.max()) + 1 if pieces else 0)
    value, norm = np.full(shape, np.nan, dtype), np.full(shape, np.nan, dtype)
    for piece in pieces:
        value[piece.row, piece.step] = piece.value
        norm[piece.row, piece.step] = piece.gradient_norm
    return History(value, norm)


def _result(table: ResultTable, objective: Objective, max_steps: int) -> Sweep:
    """Return the results of the settings, without their history."""
    host = jax.tree.map(lambda array: np.array(np.asarray(array)), table._replace(params=()))
    status = np.array([CODES[code] for code in host.code], object)
    status[(status == Status.OUT_OF_STEPS) & (host.steps < max_steps)] = Status.STOPPED
    advice = "try a smaller rate"
    if objective.model.affine and get_loss_info(objective.loss).curvature is not None:
        advice += "; for gradient descent dlcore.descent.lipschitz_step gives one that would not"
        advice += "; where it is nan, scale the columns of x"
    models = zip(status, host.steps.tolist(), host.first_value, host.value, host.gradient_norm, strict=True)
    return Sweep(
        params=table.params,
        value=table.value,
        gradient_norm=table.gradient_norm,
        steps=host.steps,
        status=status,
        history=History(np.zeros(0), np.zeros(0)),
        message=tuple(stop_message(*model, advice) for model in models),
    )
