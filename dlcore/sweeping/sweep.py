"""`sweep`: many fits in one compiled program, and Python around it for progress, Ctrl-C and stopping."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Never

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core import array_checks, host_checks
from dlcore._core.status import Status
from dlcore._core.types import Array, Params, working_dtype
from dlcore.devices import platform_of, to_device
from dlcore.fitting import Fit, History
from dlcore.fitting.fit import CALL_SECONDS, CAPACITY, settled
from dlcore.fitting.initial import check_start, init_sizes, start
from dlcore.fitting.null_value import Reference, outputs_of, reference_of
from dlcore.fitting.stopping import CODES, sentence
from dlcore.losses import facts_of
from dlcore.objective import BlockedData, Objective
from dlcore.objective.passes import work_of
from dlcore.objective.threads import cores_for
from dlcore.sweeping.loop import (
    Limits,
    Passed,
    Program,
    Queue,
    Slots,
    SweepState,
    Table,
    advance,
    first_params,
    fresh_state,
)
from dlcore.sweeping.settings import MakeOptimizer, Settings, check_settings, collect_rules, in_dtype

PREDICTION_BYTES = 2**22
"""Most bytes of the predictions of all slots for one block of rows on a CPU."""

STATE_BYTES = 2**19
"""Most bytes of the parameters of all slots on a CPU; gradient, update and momentum are as much again each."""

ACCELERATOR_FACTOR = 2**9
"""How many times as much both may be elsewhere, where a block is all rows and memory is what limits."""


class SweepProgress(NamedTuple):
    """What the callback of a sweep sees.

    Attributes:
      finished: how many models are done.
      settings: how many there are.
      steps: how many steps all slots have made; a model that waited in the queue has made fewer.
    """

    finished: int
    settings: int
    steps: int


def sweep(
    objective: Objective,
    data: Any,
    make_optimizer: MakeOptimizer,
    settings: dict[str, Any],
    *,
    params: Params = None,
    key: Array | None = None,
    tol: float = 1e-6,
    max_steps: int = 10_000,
    slots: int | None = None,
    chunk: int | None = None,
    callback: Callable[[SweepProgress], Any] | None = None,
    record: bool = False,
    **other: Never,
) -> Fit:
    r"""Minimise an objective for every setting at once, each model as `dlcore.fit` would.

    $\theta^{(i)}_{k+1} = \theta^{(i)}_k + u_i(\nabla J_i(\theta^{(i)}_k))$ until $J_i$ is flat, $i = 1, 2, \dots$

    The models share one copy of x: the gradients of all slots are two matrix products for each block of rows. A
    model that is done leaves its slot to the next setting. One program is compiled, for the shapes of the data,
    the slots, the number of settings rounded up to a power of two (where settings are weights or targets, that
    number itself) and the rule; the next sweep compiles nothing if only values differ. Rules of Optax's are made
    inside the program from the numbers of the setting: they compile once per `make_optimizer` object.

    Each model differs from that of `fit` by the rounding of its sums alone, which XLA may associate differently
    for another number of slots: after k steps by about k times the rounding of one gradient where the descent
    does not amplify it. No model depends on what the others do, nor on the chunk, bit for bit, at the same number
    of slots.

    Args:
      objective: what is minimised.
      data: (x, y), (x, y, weights), or what `objective.prepare` made of them.
      make_optimizer: a function of one setting, a dict of numbers by name, to one of `dlcore.descent` or any of
        Optax's, as `fit` takes it. It is called for every setting.
      settings: a dict of arrays (settings,) by name: whatever `make_optimizer` reads, and `l2`, which replaces
        the objective's, and `seed`, which is folded into `key` for the start. `weights` (settings, n) and
        `targets` (settings, n) replace those of the data. A name that nobody reads is refused.
      params: where all start; None takes `objective.model.init(key, ...)`.
      key: a JAX random key for `init`.
      tol: relative, ≥ 0; 0 goes on until no bit changes any more.
      max_steps: most updates of each model, ≥ 1.
      slots: models at work at a time; None takes as many as keep, on a CPU, the predictions of a block of rows
        within four megabytes and the parameters within half of one. Never more than the settings.
      chunk: steps between two calls of `callback`; None makes them a fifth of a second long.
      callback: sees a `SweepProgress` after every chunk; a true answer stops all models where they are.
      record: whether to keep J and ‖∇J‖ of every step.
      **other: none; one by the name of another library, such as C, is refused with the name here.

    Returns:
      A `Fit` with an axis (settings, ...) in front of everything: `status` and `steps` are NumPy arrays, `message`
      a tuple. `history` is (settings, most steps + 1), nan after the end of a model; (settings, 0) without
      `record`. A model that diverges disturbs no other. Not differentiable, and not under jit or vmap.

    Raises:
      ValueError: if a value or a shape is wrong, as `fit` has it, or a setting is read by nobody or missing; the
        setting is named by its index.
      TypeError: if something is not a number or an array of them, or `make_optimizer` makes no rule of descent;
        and under any transformation of JAX.

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
    """
    host_checks.refuse_arguments("sweep", other, " of the Objective", max_iter="max_steps")
    if not isinstance(objective, Objective):
        raise TypeError(f"objective: expected a dlcore.Objective, got {type(objective).__name__}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: expected a function of a SweepProgress, got {callback!r}")
    if not isinstance(record, bool):
        raise TypeError(f"record: expected True or False, got {record!r}")
    if any(map(array_checks.is_traced, jax.tree.leaves((objective.l2, params, key, tol)))):
        raise TypeError("sweep is a Python loop around one compiled program: call it from Python, untransformed")
    max_steps = host_checks.check_count("max_steps", max_steps)
    chunk = None if chunk is None else host_checks.check_count("chunk", chunk)
    array_checks.check_number("tol", tol, least=0)
    blocked = objective.prepare(data)
    if array_checks.is_traced(blocked.x):
        raise TypeError("sweep is a Python loop around one compiled program: call it from Python, untransformed")
    checked = check_settings(settings, objective, blocked)
    origin, sizes, one = _start(objective, blocked, checked, params, key)
    dtype = jnp.result_type(*jax.tree.leaves(one))
    rule, arrays = collect_rules(make_optimizer, checked, dtype)

    shares = _shares(checked.size, blocked, one)
    whole = checked.weights is not None or checked.targets is not None
    rows = len(shares[0]) if whole else _power_of_two(len(shares[0]))
    if slots is None:
        slots = len(shares) * _default_slots(objective, blocked, one, dtype)
    slots = min(-(-host_checks.check_count("slots", slots) // len(shares)), rows)
    references = _references(objective, blocked, checked, one, dtype)
    queues = [_queue(objective, blocked, checked, arrays, references, share, rows, dtype) for share in shares]
    program = Program(rule, sizes, CAPACITY if record else 0)
    most, tolerance = jax.device_put(np.int32(max_steps)), settled("tol", float(tol), dtype)
    limits = [Limits(jax.device_put(np.int32(len(share))), tolerance, most) for share in shares]
    objective = dataclasses.replace(objective, l2=0.0)
    states = [_before_start(rule, queue, one, slots) for queue in queues]

    pieces: list[Passed] = []
    steps, running, stopped = 0, 1, False
    steps_per_call = 1 if chunk is None else chunk
    while running:
        clock, first = time.perf_counter(), steps
        while running and steps < first + steps_per_call:
            budget = first + steps_per_call - steps
            budget = jax.device_put(np.int32(min(budget, CAPACITY if record else 2**31 - 2)))
            each = [
                (objective, blocked, queue, limit, origin, state, budget)
                for queue, limit, state in zip(queues, limits, states, strict=True)
            ]
            found = advance.on_each(each, program=program)
            states, made = [state for state, _, _ in found], [int(count) for *_, count in found]
            steps += max(made)
            running = 0
            for state, (_, passed, _), count, share in zip(states, found, made, shares, strict=True):
                running += int((np.asarray(state.slots.row) < len(share)).sum())
                if passed is not None:
                    pieces.append(_filled(passed, count, share))
        if callback is not None and not stopped:
            finished = sum(int(state.next) for state in states) - running
            stopped = bool(callback(SweepProgress(finished, checked.size, steps)))
            if stopped:  # one more evaluation of each model, where it is, and no update
                limits = [limit._replace(max_steps=jax.device_put(np.int32(0))) for limit in limits]
        if chunk is None:
            # At most doubled: the first call compiles, and its time says little about the next.
            pace = (time.perf_counter() - clock) / max(steps - first, 1)
            steps_per_call = max(1, min(2 * steps_per_call, int(CALL_SECONDS / pace), 2**30))
    table = _joined([state.table for state in states], shares)
    return _fit(table, pieces, max_steps, objective, dtype, record)


def _shares(settings: int, data: BlockedData, one: Params) -> list[range]:
    """The settings of each core, evenly; all in one where a step of all is soon made, or rows lie over devices."""
    count = 1 if data.mesh is not None else min(cores_for(settings * work_of(data, one), data.x), settings)
    each = -(-settings // count)
    return [range(first, min(first + each, settings)) for first in range(0, settings, each)]


def _start(
    objective: Objective, data: BlockedData, settings: Settings, params: Params, key: Array | None
) -> tuple[Any, tuple[int, ...] | None, Params]:
    """What the program starts from (the parameters, or a key), the sizes that `init` takes, and one start."""
    if settings.targets is not None:  # as many classes as any of the settings has
        highest = np.unravel_index(np.argmax(settings.targets), settings.targets.shape)[0]
        data = dataclasses.replace(data, y=jax.device_put(settings.targets[highest]))
    l2 = settings.numbers.get("l2", objective.l2)
    objective = dataclasses.replace(objective, l2=np.max(np.asarray(l2)))
    if "seed" not in settings.numbers:
        one = start(objective, data, params, key)
        return one, None, one
    if params is not None:
        raise ValueError("settings['seed']: a seed is of the model's own start; pass params or seeds, not both")
    if key is None:
        raise ValueError("key: expected a key such as jax.random.key(0) to fold the seeds of the settings into")
    array_checks.check_key("key", key)
    sizes = init_sizes(objective, data, key)
    one = jax.eval_shape(lambda key: first_params(objective, data.x, key, sizes, jnp.uint32(0)), key)
    check_start(objective, data, one)
    return key, sizes, one


def _power_of_two(count: int) -> int:
    """The smallest power of two of at least `count`."""
    return 1 << (count - 1).bit_length()


def _default_slots(objective: Objective, data: BlockedData, one: Params, dtype: np.dtype) -> int:
    """A power of two of models whose predictions for a block and whose parameters fit the cache."""
    example = jax.ShapeDtypeStruct(data.x.shape[1:], dtype)
    prediction = jax.eval_shape(objective.model.apply, one, example)
    outputs = sum(leaf.size for leaf in jax.tree.leaves(prediction))
    predicted = data.block * max(outputs, 1) * dtype.itemsize
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one))
    scale = 1 if platform_of(data.x) == "cpu" else ACCELERATOR_FACTOR
    most = min(scale * PREDICTION_BYTES // predicted, scale * STATE_BYTES // held)
    return 1 << max(most, 1).bit_length() - 1


def _queue(
    objective: Objective,
    data: BlockedData,
    settings: Settings,
    arrays: Any,
    references: Reference,
    share: range,
    rows: int,
    dtype: np.dtype,
) -> Queue:
    """The settings of a share on the device, padded by repeating the last."""

    def placed(array: np.ndarray) -> Array:
        array = array[share.start : share.stop]
        return jax.device_put(np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)]))

    l2 = settings.numbers.get("l2", np.full(settings.size, np.asarray(objective.l2)))
    l2 = in_dtype("settings['l2']", np.asarray(l2, np.float64), dtype)
    seed, weights, targets = settings.numbers.get("seed"), settings.weights, settings.targets
    if weights is not None:
        weights = placed(weights.astype(working_dtype(data.x.dtype)))
    if targets is not None:
        labels = targets.dtype == np.int32 and facts_of(objective.loss).classes
        targets = placed(targets if labels else in_dtype("settings['targets']", targets.astype(np.float64), dtype))
    return Queue(
        jax.tree.map(placed, arrays),
        placed(l2),
        None if seed is None else placed(seed.astype(np.uint32)),
        weights,
        targets,
        *(placed(np.asarray(number)) for number in references),
    )


def _references(
    objective: Objective, data: BlockedData, settings: Settings, one: Params, dtype: np.dtype
) -> Reference:
    """Compute what J of each setting is measured by, arrays (settings,)."""
    outputs, many = outputs_of(objective, data, one), (settings.targets, settings.weights)
    strongest = np.max(np.asarray(settings.numbers.get("l2", objective.l2)))

    def of_setting(k: int) -> Reference:
        y, weights = (
            own if each is None else each[k] for own, each in zip((data.y, data.weights), many, strict=True)
        )
        return reference_of(objective, y, weights, strongest, outputs, dtype)

    if all(each is None for each in many):
        return Reference(*(np.repeat(np.asarray(number), settings.size) for number in of_setting(0)))
    each = [of_setting(k) for k in range(settings.size)]
    return Reference(
        *(np.array([np.asarray(number) for number in numbers]) for numbers in zip(*each, strict=True))
    )


def _before_start(rule: Any, queue: Queue, one: Params, slots: int) -> SweepState:
    """The state before the first piece: shapes and dtypes; starts and rules' states are made in the program."""
    rows = queue.l2.shape[0]

    def blank(count: int, tree: Any) -> Any:
        def of(leaf: Any) -> Array:
            if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):  # random keys have no blank
                return jnp.broadcast_to(jax.random.key(to_device(np.uint32(0))), (count, *leaf.shape))
            return jax.device_put(np.zeros((count, *leaf.shape), leaf.dtype))

        return jax.tree.map(of, tree)

    setting = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape[1:], array.dtype), queue)
    model = jax.eval_shape(lambda of, params: fresh_state(rule.with_arrays(of.rule), params), setting, one)
    table = Table(model.params, model.step, model.code, model.value, model.gradient_norm, model.first_value)
    nobody = jax.device_put(np.full(slots, rows, np.int32))
    return SweepState(
        jax.device_put(np.bool_(False)),
        jax.device_put(np.int32(0)),
        blank(rows, table),
        Slots(nobody, blank(slots, setting), blank(slots, model)),
    )


def _filled(passed: Passed, made: int, share: range) -> Passed:
    """The entries of models at work, flat, on the host, in memory of their own; rows counted over all shares."""
    host = jax.tree.map(lambda buffer: np.asarray(buffer)[:made], passed)
    live = host.row < len(share)
    flat = jax.tree.map(lambda buffer: buffer[live], host)
    return flat._replace(row=flat.row + share.start)


def _joined(tables: list[Table], shares: list[range]) -> Table:
    """The rows of all shares without their padding."""

    def joined(*parts: Array) -> Array:
        if len(parts) == 1 and len(parts[0]) == len(shares[0]):
            return parts[0]
        cut = [np.asarray(part)[: len(share)] for part, share in zip(parts, shares, strict=True)]
        return jax.device_put(np.concatenate(cut))

    return jax.tree.map(joined, *tables)


def _history(pieces: list[Passed], steps: np.ndarray, dtype: np.dtype) -> History:
    """Every model's entries in its own row, nan after its end."""
    if not pieces:
        nothing = np.zeros((len(steps), 0), dtype)
        return History(nothing, nothing)
    shape = (len(steps), int(steps.max()) + 1)
    value, norm = np.full(shape, np.nan, dtype), np.full(shape, np.nan, dtype)
    for piece in pieces:
        value[piece.row, piece.step] = piece.value
        norm[piece.row, piece.step] = piece.gradient_norm
    return History(value, norm)


def _fit(
    table: Table,
    pieces: list[Passed],
    max_steps: int,
    objective: Objective,
    dtype: np.dtype,
    record: bool,
) -> Fit:
    """The results of the settings."""
    host = jax.tree.map(lambda array: np.array(np.asarray(array)), table._replace(params=()))
    status = np.array([CODES[code] for code in host.code], object)
    cut_short = (status == Status.OUT_OF_STEPS) & (host.steps < max_steps)
    status[cut_short] = Status.STOPPED
    advice = "try a smaller rate"
    if objective.model.affine and facts_of(objective.loss).curvature is not None:
        advice += "; for gradient descent dlcore.descent.lipschitz_step gives one that would not"
        advice += "; where it is nan, scale the columns of x"
    rows = zip(status, host.steps.tolist(), host.first_value, host.value, host.gradient_norm, strict=True)
    return Fit(
        params=table.params,
        value=table.value,
        gradient_norm=table.gradient_norm,
        steps=host.steps,
        status=status,
        history=_history(pieces if record else [], host.steps, dtype),
        message=tuple(sentence(*row, advice) for row in rows),
    )
