"""`fit`: Python around the compiled loop, for progress, Ctrl-C and stopping."""

import dataclasses
import functools
import os
import time
from collections.abc import Callable
from typing import Any, Literal, Never

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core import archive, array_checks, host_checks
from dlcore._core.files import check_path
from dlcore._core.status import Status
from dlcore._core.types import Array, Params
from dlcore.descent import lipschitz_step
from dlcore.descent.base import Optimizer, as_transformation
from dlcore.devices import to_device
from dlcore.fitting import checkpoint as checkpoints
from dlcore.fitting.certified_stop import aim_below, certifiable
from dlcore.fitting.initial import before_start, start
from dlcore.fitting.loop import Hyper, LoopState, Record, Rule, Trace, advance, evaluations, split_rule
from dlcore.fitting.minibatches import Batches, check_batches
from dlcore.fitting.null_value import outputs_of, reference_of
from dlcore.fitting.progress import (
    Reached,
    blank_of,
    check_saved,
    filled_part,
    reopened,
    resumed,
    saved_as,
    whole,
)
from dlcore.fitting.result import Fit, History, Progress
from dlcore.fitting.stopping import CODES, CONVERGED, DIVERGED, PRECISION_FLOOR, RUNNING, Limits, sentence
from dlcore.fitting.threads import advance_on_cores, parts_of_fit
from dlcore.losses import facts_of
from dlcore.objective import BlockedData, Objective, run_program
from dlcore.objective.sharding import replicated

CAPACITY = 1_024
"""Most steps in one call of the compiled loop."""

RECORD_BYTES = 2**26
"""Most bytes of one call's recorded values: the capacity is lowered to keep under it."""

CHECKPOINT_SECONDS = 30.0
"""Least time between two checkpoints, but for that of the end."""

CALL_SECONDS = 0.2
"""What one call takes, about, where the caller set no chunk: often enough for a progress bar and Ctrl-C."""


def fit(
    objective: Objective,
    data: Any,
    optimizer: Optimizer,
    *,
    params: Params = None,
    key: Array | None = None,
    tol: float = 1e-6,
    max_steps: int = 10_000,
    chunk: int | None = None,
    callback: Callable[[Progress], Any] | None = None,
    record: Record | None = None,
    batch_size: int | None = None,
    devices: Any = None,
    stop: Literal["flat", "certificate"] = "flat",
    checkpoint: str | os.PathLike[str] | None = None,
    **other: Never,
) -> Fit:
    r"""Minimise an objective by descent until it is flat, or proven to be near its minimum.

    $\theta_{k+1} = \theta_k + u(\nabla J(\theta_k))$ until
    $\|\nabla J\|^2/(2\lambda) \le \mathrm{tol}\,\min(\max(J, 10^{-3}J_0), E)$ with $J_0$ of the best constant
    prediction and $E = \max(J_0 - J, \frac\lambda2\|w\|^2)$, or, without a penalty, until ‖∇J‖ is tol of that at
    the start. J counts from the least that the loss can be, which is 0 unless the loss states another.

    One program is compiled, for the shapes of the data and the rule of descent. Another fit compiles nothing
    if only values differ: data, start, l2, tol, limits and the rates of our own rules. An Optax optimizer
    compiles once per object. The programs of the 32 shapes and rules called last are kept. The result depends on
    no chunk, bit for bit.

    Where a pass over the rows is long, on a CPU, it is two: each core makes the pass over its own rows, and the
    second program is all else of a step. The number of cores then changes results by rounding. With batches, under
    `jax.jvp`, and for a rule that evaluates J itself, as a line search does, it stays one on one core.

    With `batch_size` an update follows $\nabla J_B$ instead, where
    $J_B = \frac{M}{S}\sum_{i \in B} s_i\,\ell_i + \frac\lambda2\|w\|^2$ is of one of M batches of neighbouring
    rows, read where they lie. Each epoch takes every batch once, in an order of its own; the mean of $J_B$ over an
    epoch at one point is J, weights and a shorter last batch included. Neighbours stay neighbours: rows that come
    sorted, say by class, should be shuffled once before. J itself is evaluated, and judged, at the beginning of
    every epoch and at the end.

    Args:
      objective: what is minimised.
      data: (x, y), (x, y, weights), or what `objective.prepare` made of them.
      optimizer: one of `dlcore.descent` or any of Optax's, unchanged, also an object with `init` and `update` such
        as `optax.MultiSteps`. Changes to an object after its first fit have no effect. Of extra arguments it is
        given value, grad and value_fn; one that asks for others cannot be used.
      params: where to start; None takes `objective.model.init(key, ...)` in the dtype of x. Its dtype is that of
        the arithmetic, float32 for halves. A softmax regression then has as many classes as the highest label
        says, counted from 0.
      key: a JAX random key for `init` and for the order of the batches; needed where one of them is random.
      tol: relative, ≥ 0; 0 goes on until no bit changes any more, with batches until max_steps.
      max_steps: most updates, ≥ 1.
      chunk: steps between two calls of `callback`; None makes them a fifth of a second long.
      callback: sees a `Progress` after every chunk; a true answer stops the fit.
      record: a pure function of the parameters whose result is kept at every step, in `history.recorded`.
        Part of the program: pass the same function object to compile nothing new.
      batch_size: rows of one step, at most all; None takes all. A multiple of the number of devices.
      devices: as `Objective.prepare` takes it: how many devices the rows lie over, or a list of them.
      stop: "flat", or "certificate", for linear heads with a known bound: converged then means that the float64
        certificate of the parameters on the data as given has gap ≤ `Certificate.gap_tol(tol)`. It is computed in
        NumPy whenever the loop is flat to what may suffice.
      checkpoint: the path of a file for the state of the fit, written between two calls of the loop every
        half minute, at the end, and when an exception such as KeyboardInterrupt passes through. Where the file is
        there already the fit goes on from it, with the bits that it would have had without the break, and with the
        tol and max_steps of now. On a machine that gives a pass another number of cores it goes on too, and then
        agrees to rounding. Of any other problem, data, rule or start it is refused.
      **other: none; one by the name of another library, such as C, is refused with the name here.

    Returns:
      A `Fit`. It never fails silently: `status` says how it ended and `message` what to do. Differentiable
      in forward mode (`jax.jvp`) with respect to what is data; not in reverse, and not under jit or vmap.

    Raises:
      ValueError: if a value or a shape is wrong, named with what came and what is wanted: not finite, beyond the
        range of the dtype, no label of the loss, a negative or no positive weight, a label of more classes than
        there are; or a checkpoint is damaged or of another problem.
      TypeError: if something is not a number or an array of them, `optimizer` no rule of descent, or the model's
        `init` needs what this fit does not have; and under jit or vmap.

    Source: Boyd and Vandenberghe, Convex Optimization, section 9.1.2 (the stopping rule, strong convexity λ).

    >>> from dlcore.descent import gradient_descent
    >>> from dlcore.losses import squared_error
    >>> from dlcore.models import linear
    >>> x, y = np.array([[-1.0], [0.0], [1.0]]), np.array([1.0, 2.0, 3.0])
    >>> fitted = fit(Objective(linear, squared_error), (x, y), gradient_descent(0.5))
    >>> print(fitted.status, fitted.params.weight.round(3), fitted.params.bias.round(3))
    converged [1.] 2.0
    """
    host_checks.refuse_arguments("fit", other, " of the Objective", max_iter="max_steps")
    if not isinstance(objective, Objective):
        raise TypeError(f"objective: expected a dlcore.Objective, got {type(objective).__name__}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: expected a function of a Progress, got {callback!r}")
    max_steps = host_checks.check_count("max_steps", max_steps)
    chunk = None if chunk is None else host_checks.check_count("chunk", chunk)
    array_checks.check_number("tol", tol, least=0)
    transformation = as_transformation("optimizer", optimizer)
    if stop not in ("flat", "certificate"):
        raise ValueError(f"stop: expected 'flat' or 'certificate', got {stop!r}")
    path = None if checkpoint is None else check_path("checkpoint", checkpoint)
    blocked = objective.prepare(data, devices)
    batches = check_batches(batch_size, key, blocked)
    params = start(objective, blocked, params, key)
    proof = certifiable(objective, data, blocked, params) if stop == "certificate" else None
    rule, arrays = split_rule(transformation)
    dtype = jnp.result_type(*jax.tree.leaves(params))
    objective = dataclasses.replace(objective, l2=settled("l2", objective.l2, dtype))
    arrays = jax.tree.map(lambda number: settled("optimizer", number, dtype), arrays)
    limits = Limits(
        settled("tol", array_checks.as_float(tol), dtype),
        settled("max_steps", np.int32(max_steps), dtype),
        *reference_of(
            objective, blocked.y, blocked.weights, objective.l2, outputs_of(objective, blocked, params), dtype
        ),
    )
    hyper = Hyper(arrays, limits, None if batches is None else key)
    state = before_start(rule.with_arrays(arrays), params)
    if batches is not None:
        state = state._replace(order=jax.device_put(np.zeros(batches.per_epoch, np.int32)))
    if (path or proof) and any(map(array_checks.is_traced, jax.tree.leaves((objective, hyper, params, blocked)))):
        raise TypeError("fit: a checkpoint and a certificate are of numbers that are known, not under jax.jvp")
    kept = _nothing if record is None else record
    capacity = _capacity(kept, params)
    epoch = 1 if batches is None else batches.per_epoch
    reached, problem = Reached(replicated(state, blocked.mesh), []), {}
    if path is not None:
        problem = checkpoints.fingerprint(
            objective, blocked, params, transformation, record=record, batches=batches, key=key
        )
        if path.exists():
            saved = checkpoints.load(path, problem, blank_of(state, kept))
            with archive.damage("checkpoint", path, checkpoints.KIND):
                check_saved(saved, epoch)
            reached = resumed(saved, blocked.mesh)
    parts = parts_of_fit(objective, blocked, hyper, reached.state, rule, batches)
    saved, certificate = time.perf_counter(), None

    step, code, stopped = _known(reached.state.step), RUNNING, False
    steps_per_call = 1 if chunk is None else chunk
    try:
        while code == RUNNING:
            clock, first, target = time.perf_counter(), step, step + steps_per_call
            while code == RUNNING and step < target:
                before, end = step, min(target, step + max(1, capacity * epoch - (epoch - 1)))
                if len(parts) > 1:
                    state, trace = advance_on_cores(
                        objective, parts, hyper, reached.state, end, rule=rule, record=kept, capacity=capacity
                    )
                else:
                    piece = objective, hyper, reached.state, to_device(end), rule, kept, capacity, batches
                    state, trace = run_program(functools.partial(_advance, *piece), blocked)
                step, code = _known(state.step), _known(state.code)
                # The loop's last entry belongs to a step that made no update.
                filled = evaluations(step, epoch) - evaluations(before, epoch) + (code != RUNNING)
                reached = Reached(state, [*reached.traces, filled_part(trace, filled)])
            if proof is not None and code not in (RUNNING, DIVERGED):
                certificate = proof.certificate(reached.state.params)
                if code == CONVERGED and certificate.gap > certificate.gap_tol(tol):  # not flat enough
                    aim = aim_below(reached.state, float(objective.l2), hyper.limits, certificate, tol)
                    if aim >= np.finfo(dtype).tiny:
                        limits = hyper.limits._replace(
                            tol=settled("tol", aim, dtype), unit_value=jax.device_put(np.zeros((), dtype))
                        )
                        hyper = hyper._replace(limits=limits)
                        reached, code, certificate = reopened(reached, blocked.mesh), RUNNING, None
                    else:
                        code = PRECISION_FLOOR
            if callback is not None and not stopped:
                value, norm = float(reached.state.value), float(reached.state.gradient_norm)
                stopped = bool(callback(Progress(step, max_steps, value, norm, reached.state.params)))
                if stopped:  # one more evaluation, at the parameters as they are, and no update
                    last = settled("max_steps", np.int32(step), dtype)
                    hyper = hyper._replace(limits=hyper.limits._replace(max_steps=last))
            if path is not None and time.perf_counter() - saved > CHECKPOINT_SECONDS:
                checkpoints.save(path, problem, saved_as(reached))
                saved = time.perf_counter()
            if chunk is None:
                # At most doubled: the first call compiles, and its time says little about the next.
                pace = (time.perf_counter() - clock) / max(step - first, 1)
                steps_per_call = max(1, min(2 * steps_per_call, int(CALL_SECONDS / pace)))
    finally:
        if path is not None and reached.traces:
            checkpoints.save(path, problem, saved_as(reached))
    trace = whole(reached.traces)
    history = History(np.asarray(trace.value), np.asarray(trace.gradient_norm), trace.recorded)
    status = CODES[code] or Status.STOPPED
    if stopped and status is Status.OUT_OF_STEPS:
        status = Status.STOPPED
    if certificate is not None and certificate.gap <= certificate.gap_tol(tol):
        status = Status.CONVERGED
    message = _message(status, step, history, objective, blocked)
    if certificate is not None:
        message += f"; certified: at most {certificate.gap:.2g} above the minimum"
    return Fit(
        params=reached.state.params,
        value=reached.state.value,
        gradient_norm=reached.state.gradient_norm,
        steps=step,
        status=status,
        history=history,
        message=message,
        certificate=certificate,
    )


def _advance(
    objective: Objective,
    hyper: Hyper,
    state: LoopState,
    end: int,
    rule: Rule,
    record: Record,
    capacity: int,
    batches: Batches | None,
    data: BlockedData,
) -> tuple[LoopState, Trace]:
    """`advance`, the data last."""
    return advance(
        objective, data, hyper, state, end, rule=rule, record=record, capacity=capacity, batches=batches
    )


def settled(name: str, number: Any, dtype: np.dtype) -> Any:
    """A number as an array, a real one in the dtype of the arithmetic: equal types, and so one program."""
    if array_checks.is_traced(number):
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


def _nothing(params: Params) -> None:
    """Records nothing."""
    del params


def _capacity(record: Record, params: Params) -> int:
    """How many steps' records one call may hold."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(record, params)))
    return max(1, min(CAPACITY, RECORD_BYTES // max(size, 1)))


def _known(number: Array) -> int:
    """A number that steers the Python loop."""
    try:
        return int(number)
    except jax.errors.ConcretizationTypeError:
        raise TypeError(
            "fit is a Python loop around one compiled program and cannot run under jit or vmap: call it from "
            "Python, or use objective.value_and_grad and the (init, update) pair in a loop of your own"
        ) from None


def _message(status: Status, steps: int, history: History, objective: Objective, data: BlockedData) -> str:
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
