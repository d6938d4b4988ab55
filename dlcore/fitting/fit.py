"""`fit`: a Python loop around the compiled loop, for progress, Ctrl-C, checkpoints and stopping."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Literal, Never

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core import array_checks, host_checks
from dlcore._core.files import check_path
from dlcore._core.status import Status
from dlcore._core.types import Array, Device, Params, PRNGKey
from dlcore.certificate import Certificate
from dlcore.descent import lipschitz_step
from dlcore.descent.base import Optimizer, as_transformation
from dlcore.devices import to_device
from dlcore.fitting import checkpoint as checkpoints
from dlcore.fitting import stopping
from dlcore.fitting.initial import check_arguments, initial_params, initial_state
from dlcore.fitting.loop import (
    LoopArguments,
    Record,
    StaticOptimizer,
    advance,
    evaluations,
    rewind,
    split_optimizer,
)
from dlcore.fitting.minibatches import Batches, check_batches
from dlcore.fitting.null_model import NullModel, null_model_of, prediction_struct
from dlcore.fitting.result import Fit, History, Progress
from dlcore.fitting.scalars import as_scalar
from dlcore.fitting.state import HistoryBuffers, LoopProgress, LoopState, concatenate, first_entries
from dlcore.fitting.threads import advance_on_threads, choose_shards
from dlcore.losses import get_loss_info
from dlcore.objective import BlockedData, Objective, run_program
from dlcore.objective.sharding import replicate

CAPACITY = 1_024
"""Maximum number of evaluations in one call of the compiled loop."""

RECORD_BYTES = 2**26
"""Maximum size of the recorded values of one call, unless a record is larger. Large records lower the capacity."""

CHUNK_SECONDS = 0.2
"""Approximate time of a chunk if the caller sets none: short enough for a progress bar and Ctrl-C."""


def fit(
    objective: Objective,
    data: stopping.FitData,
    optimizer: Optimizer,
    *,
    params: Params = None,
    key: PRNGKey | None = None,
    tol: float = 1e-6,
    max_steps: int = 10_000,
    chunk: int | None = None,
    callback: Callable[[Progress], object] | None = None,
    record: Record | None = None,
    batch_size: int | None = None,
    devices: int | Sequence[Device] | None = None,
    stop: Literal["flat", "certificate"] = "flat",
    checkpoint: str | os.PathLike[str] | None = None,
    **unknown: Never,
) -> Fit:
    r"""Minimize an objective by descent until J is flat, or until a certificate bounds J − J* tightly enough.

    $\theta_{k+1} = \theta_k + u(\nabla J(\theta_k))$ until
    $\|\nabla J\|^2/(2\lambda) \le \mathrm{tol}\,\min(\max(J, 10^{-3}J_0), E)$.
    $J_0$ is the objective of the best constant prediction, and $E = \max(J_0 - J, \frac\lambda2\|w\|^2)$.
    Without a penalty ‖∇J‖ must fall to tol times its value at the start. J here is J minus its lower bound. The
    lower bound is 0 unless the loss states a saturated value. Unless tol is 0, the right side is at least
    $(4\epsilon)^2$ times the size of J, so that rounding cannot prevent the end.

    A fit compiles one program for the shapes of the data and the optimizer. It compiles a second program if the
    best constant prediction has no formula. A later fit compiles nothing if only these values differ: data,
    initial parameters, l2, tol, max_steps, and the hyper-parameters of a rule of `dlcore.descent`. An Optax
    optimizer compiles once per object. Each compiled function of dlcore keeps its last 32 programs. The chunk
    changes no bit of the result.

    On a CPU with a long pass over the rows, two programs replace the one. The first is the pass over the rows of
    one thread. The second is the rest of a step. The number of threads then changes results by rounding. A fit
    stays one program with minibatches, under `jax.jvp`, with a line search, and on several devices.

    A fit has diverged if J or ‖∇J‖ is not finite. It has also diverged if J exceeds its initial value by more than
    √ε of its magnitude. This comparison is made every 1,000 steps and at max_steps. With `batch_size` the interval
    is rounded up to whole epochs.

    With `batch_size` an update follows $\nabla J_B$ for one of M batches of neighboring rows, where
    $J_B = \frac{M}{S}\sum_{i \in B} s_i\,\ell_i + \frac\lambda2\|w\|^2$. Here $s_i$ are the weights of the rows,
    S is their sum, and $\ell_i$ are the losses. No row is copied. Each epoch takes every
    batch once, in a new random order. The mean of $J_B$ over an epoch at one point is J, with weights and with a
    shorter last batch too. Shuffle sorted rows before the fit, because neighbors stay in one batch. J itself is
    evaluated at the start of every epoch and at the end, and the stopping rules are applied there.

    Args:
      objective: the objective to minimize.
      data: (x, y), (x, y, weights), or the result of `objective.prepare`.
      optimizer: a rule of `dlcore.descent` or any Optax optimizer. Objects with `init` and `update` such as
        `optax.MultiSteps` work too, and changes to them after their first fit have no effect. The extra arguments
        of `update` are value, grad and value_fn.
      params: initial parameters. With None, `objective.model.init(key, ...)` makes the parameters. They have the
        dtype of the arithmetic for x, which is float32 for float16 and bfloat16. With None, a softmax regression
        has the classes from 0 to the highest label.
      key: a JAX random key for `init` and for the order of the batches. A random `init` and `batch_size` need it.
      tol: relative tolerance, ≥ 0. With 0 the fit continues until ∇J is 0 or an update changes no parameter and no
        state of the optimizer. A rule that counts its steps, such as Adam, changes its state in every update. With
        `batch_size` and 0 the fit continues until ∇J is 0 or max_steps.
      max_steps: maximum number of updates, ≥ 1.
      chunk: number of steps between two calls of `callback`. None makes a chunk a fifth of a second long.
      callback: a function of a `Progress`, called after every chunk. A true result stops the fit.
      record: a pure function of the parameters. Its results at every evaluation of J are in `history.recorded`. It
        is part of the program, so pass the same function object to compile nothing new.
      batch_size: number of rows of a step, a multiple of the number of devices. None takes all rows.
      devices: the devices of the rows, a number or a list, as in `Objective.prepare`.
      stop: "flat" or "certificate". "certificate" is for linear heads with a known bound. The fit then converges
        when the float64 certificate of the parameters on the original data has gap ≤ `Certificate.gap_tol(tol)`.
        NumPy computes the certificate each time the loop ends, unless the fit diverged.
      checkpoint: the path of a file for the state of the fit. It is written after a chunk if half a minute has
        passed, at the end, and when an exception such as KeyboardInterrupt ends the fit. If the file exists, the
        fit resumes from it with the current tol and max_steps. The resumed fit ends with the bits of an
        uninterrupted fit. If the number of threads differs, the results agree to rounding. With
        `stop="certificate"` the resumed fit starts again from `tol` instead of a tightened tolerance, and may end
        earlier. A file of another problem, data, optimizer or start is refused. At most 1,024 rows of x are
        compared.
      **unknown: not accepted. If the name is one of another library, such as C, the error gives dlcore's name for
        it.

    Returns:
      A `Fit`, whose `status` says how the fit ended and whose `message` says what to do. The function `fit` is
      differentiable in forward mode (`jax.jvp`) with respect to data, and not in reverse mode. It does not run
      under jit or vmap.

    Raises:
      ValueError: if a shape is wrong, or a number is infinite, nan or outside the range of the dtype. Also if a
        label is wrong or beyond the classes of the parameters, a weight is negative, or no weight is positive.
        Also if a checkpoint is damaged or belongs to another problem.
      TypeError: if an argument has the wrong type, or the model's `init` needs an argument that this fit lacks.
        Also under jit or vmap.

    Source: Boyd and Vandenberghe, Convex Optimization, section 9.1.2 (the stopping rule, strong convexity λ).

    >>> from dlcore.descent import gradient_descent
    >>> from dlcore.losses import squared_error
    >>> from dlcore.models import linear
    >>> x, y = np.array([[-1.0], [0.0], [1.0]]), np.array([1.0, 2.0, 3.0])
    >>> fitted = fit(Objective(linear, squared_error), (x, y), gradient_descent(0.5))
    >>> print(fitted.status, fitted.params.weight.round(3), fitted.params.bias.round(3))
    converged [1.] 2.0
    """
    host_checks.reject_unknown_arguments("fit", unknown, " of the Objective", max_iter="max_steps")
    max_steps, chunk = check_arguments(objective, callback, "Progress", max_steps, chunk)
    array_checks.check_number("tol", tol, minimum=0)
    transformation = as_transformation("optimizer", optimizer)
    if stop not in ("flat", "certificate"):
        raise ValueError(f"stop: expected 'flat' or 'certificate', got {stop!r}")
    path = None if checkpoint is None else check_path("checkpoint", checkpoint)
    blocked = objective.prepare(data, devices)
    batches = check_batches(batch_size, key, blocked)
    params = initial_params(objective, blocked, params, key)
    certifier = stopping.make_certifier(objective, data, blocked, params) if stop == "certificate" else None
    static_optimizer, hyperparams = split_optimizer(transformation)
    dtype = jnp.result_type(*jax.tree.leaves(params))
    objective = dataclasses.replace(objective, l2=as_scalar("l2", objective.l2, dtype))
    hyperparams = jax.tree.map(lambda number: as_scalar("optimizer", number, dtype), hyperparams)
    outputs = prediction_struct(objective, blocked, params)
    limits = stopping.StopLimits(
        as_scalar("tol", array_checks.as_python_float(tol), dtype),
        as_scalar("max_steps", np.int32(max_steps), dtype),
        null_model_of(objective, blocked.y, blocked.weights, objective.l2, outputs, dtype),
    )
    loop_args = LoopArguments(hyperparams, limits, None if batches is None else key)
    state = initial_state(static_optimizer.combine(hyperparams), params)
    if batches is not None:
        state = state._replace(order=jax.device_put(np.zeros(batches.per_epoch, np.int32)))
    is_traced = any(map(array_checks.is_traced, jax.tree.leaves((objective, loop_args, params, blocked))))
    if is_traced and (path or certifier):
        raise TypeError(
            "fit: checkpoint= and stop='certificate' do not work under jax.jvp, because they need concrete values"
        )
    progress = LoopProgress(replicate(state, blocked.mesh), [])
    record_fn = _no_record if record is None else record
    loop = _Loop(objective, blocked, loop_args, static_optimizer, record_fn, batches, progress)
    file = None
    if path is not None:
        problem = checkpoints.fingerprint(
            objective, blocked, params, transformation, record=record, batches=batches, key=key
        )
        file = checkpoints.CheckpointFile(path, problem)
        loop.progress = file.resume(state, record_fn, loop.per_epoch, blocked.mesh) or progress
    loop.start()

    chunk_length, certificate, stopped = ChunkLength(chunk), None, False
    try:
        while loop.code == stopping.RUNNING:
            start, first = perf_counter(), loop.step
            loop.advance(first + chunk_length.steps)
            if certifier is not None and loop.code not in (stopping.RUNNING, stopping.DIVERGED):
                certificate = loop.certify(certifier, tol)
            if callback is not None and not stopped:
                value, norm = float(loop.progress.state.value), float(loop.progress.state.gradient_norm)
                stopped = bool(callback(Progress(loop.step, max_steps, value, norm, loop.progress.state.params)))
                if stopped:  # J is evaluated once more at these parameters, and no update follows
                    loop.set_limits(max_steps=as_scalar("max_steps", np.int32(loop.step), dtype))
            if file is not None:
                file.save_if_due(loop.progress)
            chunk_length.adapt(perf_counter() - start, loop.step - first)
    finally:
        if file is not None and loop.progress.histories:
            file.save(loop.progress)
    status = stopping.final_status(loop.code, stopped=stopped, certificate=certificate, tol=tol)
    return loop.result(status, certificate)


class ChunkLength:
    """Number of steps between two callbacks: the caller's `chunk`, or as many as take about `CHUNK_SECONDS`."""

    def __init__(self, chunk: int | None) -> None:
        self.is_adaptive = chunk is None
        self.steps = chunk or 1

    def adapt(self, seconds: float, steps: int) -> None:
        """Set the length of the next chunk from the time and the number of steps of the last one."""
        if self.is_adaptive:
            # A single time is unreliable, and the first call compiles. So the length at most doubles.
            seconds_per_step = seconds / max(steps, 1)
            self.steps = max(1, min(2 * self.steps, int(CHUNK_SECONDS / seconds_per_step), 2**30))


@dataclasses.dataclass
class _Loop:
    """The arguments of the compiled loop and the progress of a fit."""

    objective: Objective
    data: BlockedData
    loop_args: LoopArguments
    static_optimizer: StaticOptimizer
    record: Record
    batches: Batches | None
    progress: LoopProgress
    step: int = 0
    code: int = stopping.RUNNING
    tol_underflowed: bool = False

    @property
    def per_epoch(self) -> int:
        """Number of steps in an epoch."""
        return 1 if self.batches is None else self.batches.per_epoch

    def start(self) -> None:
        """Prepare for the first call: choose the number of threads and the capacity of the history."""
        state = self.progress.state
        self.shards = choose_shards(
            self.objective, self.data, self.loop_args, state, self.static_optimizer, self.batches
        )
        record_shapes = jax.tree.leaves(jax.eval_shape(self.record, state.params))
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in record_shapes)
        self.capacity = max(1, min(CAPACITY, RECORD_BYTES // max(size, 1)))
        self.step = _as_int(state.step)

    def advance(self, target: int) -> None:
        """Call the compiled loop until step `target` or the end."""
        while self.code == stopping.RUNNING and self.step < target:
            first = self.step
            # (capacity − 1)·per_epoch + 1 steps contain at most `capacity` evaluations of J.
            state, buffers = self._call(
                min(target, first + max(1, self.capacity * self.per_epoch - self.per_epoch + 1))
            )
            self.step, self.code = _as_int(state.step), _as_int(state.code)
            # If the loop has ended, its last entry belongs to a step without an update.
            count = evaluations(self.step, self.per_epoch) - evaluations(first, self.per_epoch)
            count += self.code != stopping.RUNNING
            self.progress = LoopProgress(state, [*self.progress.histories, first_entries(buffers, count)])

    def _call(self, end_step: int) -> tuple[LoopState, HistoryBuffers]:
        """Run the compiled loop until step `end_step` or the end."""
        state = self.progress.state
        static = {"static_optimizer": self.static_optimizer, "record": self.record, "capacity": self.capacity}
        if len(self.shards) > 1:
            return advance_on_threads(self.objective, self.shards, self.loop_args, state, end_step, **static)
        end = to_device(end_step)

        def program(data: BlockedData) -> tuple[LoopState, HistoryBuffers]:
            return advance(self.objective, data, self.loop_args, state, end, **static, batches=self.batches)

        return run_program(program, self.data)

    def set_limits(self, **limits: Array | NullModel) -> None:
        """Change limits of the loop by name."""
        self.loop_args = self.loop_args._replace(limits=self.loop_args.limits._replace(**limits))

    def certify(self, certifier: stopping.Certifier, tol: float) -> Certificate | None:
        """Return the certificate of the parameters, or None if the loop must continue with a smaller tolerance."""
        state, l2 = self.progress.state, float(self.objective.l2)
        certificate = certifier.certificate(state.params)
        if self.code != stopping.CONVERGED or not certificate.gap > certificate.gap_tol(tol):
            return certificate
        new_tol = stopping.tighter_tol(state, l2, self.loop_args.limits, certificate, tol)
        dtype = state.value.dtype
        if not new_tol >= np.finfo(dtype).tiny:
            self.code, self.tol_underflowed = stopping.PRECISION_FLOOR, True
            return certificate
        # With the rounding scale, the stopping rule would call the same parameters flat again.
        null = self.loop_args.limits.null._replace(rounding_scale=jax.device_put(np.zeros((), dtype)))
        self.set_limits(tol=as_scalar("tol", new_tol, dtype), null=null)
        self.progress, self.code = rewind(self.progress, self.data.mesh), stopping.RUNNING
        return None

    def result(self, status: Status, certificate: Certificate | None) -> Fit:
        """Return the result of the fit."""
        state, entries = self.progress.state, concatenate(self.progress.histories)
        history = History(np.asarray(entries.value), np.asarray(entries.gradient_norm), entries.recorded)
        advice = self._divergence_advice() if status is Status.DIVERGED else ""
        first, last, norm = history.value[0], history.value[-1], history.gradient_norm[-1]
        message = stopping.stop_message(
            status,
            self.step,
            first,
            last,
            norm,
            advice,
            is_flat=self.code == stopping.CONVERGED,
            tol_underflowed=self.tol_underflowed,
        )
        if certificate is not None:
            message += f"; certified: at most {certificate.gap:.2g} above the minimum"
        return Fit(
            params=state.params,
            value=state.value,
            gradient_norm=state.gradient_norm,
            steps=self.step,
            status=status,
            history=history,
            message=message,
            certificate=certificate,
        )

    def _divergence_advice(self) -> str:
        if not self.objective.model.affine or get_loss_info(self.objective.loss).curvature is None:
            return "try a smaller rate"
        safe = float(jax.lax.stop_gradient(lipschitz_step(self.objective, self.data)))
        if not 0 < safe < np.inf:
            return f"1/L itself is beyond the range of {self.progress.state.value.dtype}; scale the columns of x"
        return f"gradient descent with rate {safe:.6g} (1/L, see dlcore.descent.lipschitz_step) does not diverge"


def _no_record(params: Params) -> None:
    """Record nothing."""
    del params


def _as_int(number: Array) -> int:
    """Convert a step or a code to an int. Raise a TypeError under jit or vmap."""
    try:
        return int(number)
    except jax.errors.ConcretizationTypeError:
        raise TypeError(
            "fit is a Python loop around one compiled program and cannot run under jit or vmap: call it from "
            "Python, or use objective.value_and_grad and the (init, update) pair in a loop of your own"
        ) from None
