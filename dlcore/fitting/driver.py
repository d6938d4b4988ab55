"""`fit`: Python around the compiled loop, for progress, Ctrl-C and stopping."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore import _checks, _guards
from dlcore._status import Status
from dlcore._types import Array, Params
from dlcore.descent import lipschitz_step
from dlcore.fitting.loop import Hyper, LoopState, Record, Trace, advance, split_rule
from dlcore.fitting.start import start
from dlcore.fitting.stopping import CODES, RUNNING, sentence
from dlcore.losses import facts_of
from dlcore.objective import BlockedData, Objective

CAPACITY = 1_024
"""Most steps in one call of the compiled loop."""

RECORD_BYTES = 2**26
"""Most bytes of one call's recorded values: the capacity is lowered to keep under it."""

CALL_SECONDS = 0.2
"""What one call takes, about, where the caller set no chunk: often enough for a progress bar and Ctrl-C."""


@dataclasses.dataclass(frozen=True)
class History:
    """What happened at every step, the start included: entry k belongs to the parameters after k updates.

    Attributes:
      value: J, shape (steps + 1,).
      gradient_norm: ‖∇J‖, shape (steps + 1,).
      recorded: what `record` returned, with a leading axis (steps + 1,); None where nothing was asked.
    """

    value: np.ndarray
    gradient_norm: np.ndarray
    recorded: Any = None


class Progress(NamedTuple):
    """What the callback sees.

    Attributes:
      step: how many updates were made.
      max_steps: how many there may be.
      value, gradient_norm: J and ‖∇J‖ where they were last evaluated, at most one update before `step`.
      params: the parameters after `step` updates.
    """

    step: int
    max_steps: int
    value: float
    gradient_norm: float
    params: Params


@dataclasses.dataclass(frozen=True)
class Fit:
    """One fitted model and how it was reached, or, from `dlcore.sweep`, one of each setting along the first axis.

    Attributes:
      params: the parameters after the last update.
      value: J at `params`, a scalar array.
      gradient_norm: ‖∇J‖ at `params`, a scalar array.
      steps: how many updates were made, an integer; of a sweep, a NumPy array.
      status: why it stopped, a `Status`; of a sweep, a NumPy array of them.
      history: J and ‖∇J‖ at every step.
      message: the status as a sentence, with what to do about it; of a sweep, a tuple of them.
    """

    params: Params
    value: Array
    gradient_norm: Array
    steps: Any
    status: Any
    history: History
    message: Any


def fit(
    objective: Objective,
    data: Any,
    optimizer: optax.GradientTransformation,
    *,
    params: Params = None,
    key: Array | None = None,
    tol: float = 1e-6,
    max_steps: int = 10_000,
    chunk: int | None = None,
    callback: Callable[[Progress], Any] | None = None,
    record: Record | None = None,
) -> Fit:
    r"""Minimise an objective by descent until it is flat.

    $\theta_{k+1} = \theta_k + u(\nabla J(\theta_k))$ until
    $\|\nabla J\|^2/(2\lambda) \le \mathrm{tol}\,\max(|J|, 10^{-3}|J_0|)$, or, without a penalty,
    $\|\nabla J\| \le \mathrm{tol}\,\|\nabla J_0\|$.

    One program is compiled, for the shapes of the data and the rule of descent. Another fit compiles nothing
    if only values differ: data, start, l2, tol, limits and the rates of our own rules. An Optax optimizer
    compiles once per object, and JAX keeps that program as long as the process lives. The result depends on no
    chunk, bit for bit.

    Args:
      objective: what is minimised.
      data: (x, y), (x, y, weights), or what `objective.prepare` made of them.
      optimizer: one of `dlcore.descent` or any of Optax's, unchanged. Of extra arguments it is given value,
        grad and value_fn; one that asks for others cannot be used.
      params: where to start; None takes `objective.model.init(key, ...)` in the dtype of x. Its dtype is that of
        the arithmetic, float32 for halves. A softmax regression then has as many classes as the highest label
        says, counted from 0.
      key: a JAX random key for `init`; models whose start is not random need none.
      tol: relative, ≥ 0; 0 goes on until no bit changes any more.
      max_steps: most updates, ≥ 1.
      chunk: steps between two calls of `callback`; None makes them a fifth of a second long.
      callback: sees a `Progress` after every chunk; a true answer stops the fit.
      record: a pure function of the parameters whose result is kept at every step, in `history.recorded`.
        Part of the program: pass the same function object to compile nothing new.

    Returns:
      A `Fit`. It never fails silently: `status` says how it ended and `message` what to do. Differentiable
      in forward mode (`jax.jvp`) with respect to what is data; not in reverse, and not under jit or vmap.

    Raises:
      ValueError: if a value or a shape is wrong, named with what came and what is wanted.
      TypeError: if something is not a number or an array of them.

    Source: Boyd and Vandenberghe, Convex Optimization, section 9.1.2 (the stopping rule, strong convexity λ).

    >>> from dlcore.descent import gradient_descent
    >>> from dlcore.losses import squared_error
    >>> from dlcore.models import linear
    >>> x, y = np.array([[-1.0], [0.0], [1.0]]), np.array([1.0, 2.0, 3.0])
    >>> fitted = fit(Objective(linear, squared_error), (x, y), gradient_descent(0.5))
    >>> print(fitted.status, fitted.params.weight.round(3), fitted.params.bias.round(3))
    converged [1.] 2.0
    """
    if not isinstance(objective, Objective):
        raise TypeError(f"objective: expected a dlcore.Objective, got {type(objective).__name__}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: expected a function of a Progress, got {callback!r}")
    max_steps = _checks.check_count("max_steps", max_steps)
    chunk = None if chunk is None else _checks.check_count("chunk", chunk)
    _guards.check_number("tol", tol, least=0)
    if not isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(f"optimizer: expected an Optax GradientTransformation, got {type(optimizer).__name__}")
    blocked = objective.prepare(data)
    params = start(objective, blocked, params, key)
    rule, arrays = split_rule(optimizer)
    dtype = jnp.result_type(*jax.tree.leaves(params))
    objective = dataclasses.replace(objective, l2=settled("l2", objective.l2, dtype))
    arrays = jax.tree.map(lambda number: settled("optimizer", number, dtype), arrays)
    hyper = Hyper(arrays, settled("tol", tol, dtype), settled("max_steps", np.int32(max_steps), dtype))
    state = _before_start(rule.with_arrays(arrays), params)
    kept = _nothing if record is None else record
    capacity = _capacity(kept, params)

    traces: list[Trace] = []
    step, code, stopped = 0, RUNNING, False
    steps_per_call = 1 if chunk is None else chunk
    while code == RUNNING:
        clock, first, target = time.perf_counter(), step, step + steps_per_call
        while code == RUNNING and step < target:
            before, stop = step, min(target, step + capacity)
            state, trace = advance(
                objective, blocked, hyper, state, stop, rule=rule, record=kept, capacity=capacity
            )
            step, code = _known(state.step), _known(state.code)
            # The loop's last entry belongs to a step that made no update.
            filled = step - before + (code != RUNNING)
            traces.append(_filled(trace, filled))
        if callback is not None and not stopped:
            value, norm = traces[-1].value[-1], traces[-1].gradient_norm[-1]
            stopped = bool(callback(Progress(step, max_steps, float(value), float(norm), state.params)))
            if stopped:  # one more evaluation, at the parameters as they are, and no update
                hyper = hyper._replace(max_steps=settled("max_steps", np.int32(step), dtype))
        if chunk is None:
            # At most doubled: the first call compiles, and its time says little about the next.
            pace = (time.perf_counter() - clock) / max(step - first, 1)
            steps_per_call = max(1, min(2 * steps_per_call, int(CALL_SECONDS / pace)))

    history = jax.tree.map(lambda *pieces: np.concatenate(pieces), *traces)
    status = CODES[code] or Status.STOPPED
    if stopped and status is Status.OUT_OF_STEPS:
        status = Status.STOPPED
    return Fit(
        params=state.params,
        value=state.value,
        gradient_norm=state.gradient_norm,
        steps=step,
        status=status,
        history=History(history.value, history.gradient_norm, history.recorded),
        message=_message(status, step, history, objective, blocked),
    )


def settled(name: str, number: Any, dtype: np.dtype) -> Any:
    """A number as an array, a real one in the dtype of the arithmetic: equal types, and so one program."""
    if _guards.is_traced(number):
        return number
    array = np.asarray(number)
    if array.ndim:
        raise ValueError(f"{name}: expected one number, got an array of shape {array.shape}")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return jax.device_put(np.array(array, jax.dtypes.canonicalize_dtype(array.dtype)))
    with np.errstate(over="ignore", under="ignore"):
        settled = np.array(array, dtype)
    if not np.isfinite(settled) or (array != 0 and abs(settled) < np.finfo(dtype).tiny):
        raise ValueError(f"{name}: expected a number within the range of {dtype}, got {float(array):g}")
    return jax.device_put(settled)


def _before_start(optimizer: optax.GradientTransformationExtraArgs, params: Params) -> LoopState:
    """The state of the loop before its first step: shapes and dtypes, the rule's own state still blank."""
    shapes = jax.eval_shape(optimizer.init, params)
    if any(jnp.issubdtype(leaf.dtype, jax.dtypes.extended) for leaf in jax.tree.leaves(shapes)):
        blank = optimizer.init(params)  # random keys have no blank
    else:
        blank = jax.tree.map(lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype)), shapes)
    dtype = jnp.result_type(*jax.tree.leaves(params))
    nothing = jax.device_put(np.zeros((), dtype))
    zero = jax.device_put(np.int32(0))
    return LoopState(zero, zero, params, blank, nothing, nothing, nothing, nothing)


def _nothing(params: Params) -> None:
    """Records nothing."""
    del params


def _capacity(record: Record, params: Params) -> int:
    """How many steps' records one call may hold."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(record, params)))
    return max(1, min(CAPACITY, RECORD_BYTES // max(size, 1)))


def _filled(trace: Trace, count: int) -> Trace:
    """The first `count` entries of a trace, on the host, in memory of their own."""
    return jax.tree.map(lambda buffer: np.array(np.asarray(buffer)[:count]), trace)


def _known(number: Array) -> int:
    """A number that steers the Python loop."""
    try:
        return int(number)
    except jax.errors.ConcretizationTypeError:
        raise TypeError(
            "fit is a Python loop around one compiled program and cannot run under jit or vmap: call it from "
            "Python, or use objective.value_and_grad and the (init, update) pair in a loop of your own"
        ) from None


def _message(status: Status, steps: int, history: Trace, objective: Objective, data: BlockedData) -> str:
    """The status as a sentence."""
    advice = _advice(objective, data, history.value.dtype) if status is Status.DIVERGED else ""
    first, last, norm = history.value[0], history.value[-1], history.gradient_norm[-1]
    return sentence(status, steps, first, last, norm, advice)


def _advice(objective: Objective, data: BlockedData, dtype: np.dtype) -> str:
    """What to do about divergence."""
    if not objective.model.affine or facts_of(objective.loss).curvature is None:
        return "try a smaller rate"
    safe = float(jax.lax.stop_gradient(lipschitz_step(objective, data)))
    if not 0 < safe < np.inf:
        return f"1/L itself is beyond the range of {dtype}; scale the columns of x"
    return f"gradient descent at a rate of {safe:.6g} (1/L, dlcore.descent.lipschitz_step) would not"
