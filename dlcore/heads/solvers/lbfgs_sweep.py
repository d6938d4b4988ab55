"""Heads of every iterative loss, penalty, fold and target, by L-BFGS and Newton's method.

Heads on all rows are fitted in batches. On a dense path of strengths, some are fitted first. A fold's heads start
at the heads of all rows. Heads that float32 does not bring to their tolerance continue in float64, and then by
Newton's method.
"""

import functools

import jax
import numpy as np

from dlcore._core.blas_threads import blas_threads_for, one_blas_thread
from dlcore._core.types import Array
from dlcore.heads.checkpoint import StageCache
from dlcore.heads.data.batching import Head, chunked, pad_to
from dlcore.heads.data.centering import fit_centering, inverse_transform_coef
from dlcore.heads.data.training_data import DeviceRows, TrainingData
from dlcore.heads.losses import loss_record, row_loss
from dlcore.heads.passes.evaluate import HeadBatch
from dlcore.heads.passes.host_rows import HostRows
from dlcore.heads.passes.intercepts import fit_intercepts
from dlcore.heads.passes.row_span import row_span
from dlcore.heads.progress import Reporter
from dlcore.heads.solvers.cost_model import LEAST_WORK, CostModel, descent_block, hessian_block
from dlcore.heads.solvers.lbfgs import History, minimize
from dlcore.heads.solvers.lbfgs_vectors import Options, Problem
from dlcore.heads.solvers.newton import minimize_with_newton
from dlcore.heads.solvers.penalty_path import choose_anchors, interpolate
from dlcore.heads.solvers.preconditioner import diagonal_preconditioner, precondition
from dlcore.heads.solvers.sample_start import start_from_sample
from dlcore.objective import BlockedData
from dlcore.objective.sharding import shard_rows
from dlcore.objective.threads import cores_for

FLOAT32_GAP = 5e-7
"""The least gap that a head descends to in float32. A smaller gap costs many steps, or is out of reach."""
LEFT_OF_INTERCEPTS = 0.3
"""Factor of the intercepts' gradient in the gap estimate, if a Newton step of the intercepts follows.

With 0.1 some heads fail their certificate, because the coefficients must change with the intercepts.
"""
STATE = ("theta", "gap_tol", "steps", "flat")
"""The arrays that a stage changes."""


class LBFGSSweep:
    """State of a sweep on the host, and the rows on the device.

    A problem is a fit and a target: problem p is target p % targets of fit p // targets. Arrays have shape
    (problems, L, …).
    """

    def __init__(
        self,
        inputs: TrainingData,
        rows: DeviceRows,
        *,
        loss: str,
        fit_intercept: bool,
        tol: float,
        max_steps: int,
        reporter: Reporter | None = None,
    ) -> None:
        targets = inputs.y.reshape(len(inputs.y), -1)
        self.inputs, self.rows, self.loss, self.max_steps = inputs, rows, loss, max_steps
        self.reporter, self.n_ended = reporter, 0
        self.fits, self.targets = len(inputs.train), inputs.targets
        self.l2 = inputs.l2.repeat(self.targets, axis=0)
        weights = np.where(inputs.train, inputs.weight, 0.0)
        self.constant = row_loss(loss).constant(targets, weights, inputs.balance, fit_intercept=fit_intercept)
        self.outputs = self.constant.spread.shape[1]
        logits, is_on_host = self.outputs * self.l2.size, rows.device.platform == "cpu"
        scale = np.ones((self.fits, inputs.x.shape[1])) if rows.scale is None else rows.scale
        self.ratio = (scale / scale[0]) ** 2
        self.span = None
        self.centering = fit_centering(inputs.x, fit_intercept, None if rows.scale is None else rows.scale[0])
        # Without a penalty, or with columns standardised in each fold, an optimum may be outside the span.
        if is_on_host and (self.ratio == 1).all() and (self.l2 > 0).all():
            self.span = row_span(inputs.x, self.centering, logits)
        x, centering = (inputs.x, self.centering) if self.span is None else (self.span.rows, self.span.centering)
        with one_blas_thread():
            if self.span is None:
                self.preconditioner = precondition(x, inputs.weight, centering, logits)
            else:
                self.ratio = np.ones((self.fits, x.shape[1]))
                self.preconditioner = diagonal_preconditioner(x, inputs.weight, centering)
        shape, columns = self.l2.shape, inputs.x.shape[1] + 1
        self.gap_tol = np.full(shape, 0.7 * tol)
        self.theta = np.zeros((*shape, self.outputs, columns))
        self.reset(np.full(shape, True))
        self.steps, self.flat = np.zeros(shape, np.int64), np.zeros(shape, bool)

        self.y = targets.astype(np.uint32 if loss_record(loss).is_classifier else np.float64)
        train, weight = inputs.train.T, inputs.weight
        self.host_rows = HostRows(x, train, self.y, weight, centering) if is_on_host else None
        self.intercept_rows = self.host_rows if self.outputs > 1 and fit_intercept else None
        costs = CostModel(len(x), x.shape[1], self.outputs, self.fits, shape[1] * self.targets, max_steps)
        order = [(t, int(k)) for k in np.argsort(-self.l2[0], kind="stable") for t in range(self.targets)]
        self.groups = chunked(order, costs.together)
        self.is_anchor = np.zeros((self.targets, shape[1]), bool)
        for group in self.groups:
            for target, strengths in _strengths_of(group).items():
                self.is_anchor[target, strengths] = choose_anchors(self.l2[target, strengths])
        # One size serves all batches, because programs are compiled for each.
        self.costs = costs._replace(heads=max(sum(map(self._is_anchor, group)) for group in self.groups))
        self.slots = self.costs.slots(self.host_rows)

    @functools.cached_property
    def _y_on_device(self) -> tuple[Array, Array]:
        """The training rows of each fit, as booleans, and the targets, on the device for compiled passes."""
        return self.rows.train, jax.device_put(self.y)

    def reset(self, heads: np.ndarray) -> None:
        """Set the heads of a mask, shape (problems, L), to the best constant prediction."""
        self.theta[heads] = 0
        self.theta[..., -1] = np.where(heads[..., None], self.constant.intercept[:, None], self.theta[..., -1])

    def run(self, stages: StageCache) -> None:
        """Fit all heads, those of similar penalties together."""
        ended = 0
        for start, group in enumerate(self.groups):
            problems = [t + f * self.targets for f in range(self.fits) for t, _ in group]
            where = np.array(problems), np.tile([k for _, k in group], self.fits)
            stages.on(f"L-BFGS, heads from {start}", self, STATE, where, functools.partial(self._group, group))
            ended += self.fits * len(group)
            self._report(ended)

    def _group(self, group: list[Head]) -> None:
        """Fit these heads of all rows, then their folds."""
        self._along_path(group, self.costs.together)
        folds = []
        for fit in range(1, self.fits):
            for t, k in group:
                p = fit * self.targets + t
                # At λ = 0 the optimum of a fold may be far from that of all rows, or may not exist.
                if self.l2[p, k] > 0:
                    self.theta[p, k] = self._centred(self.theta[t, k] * self._is_present(p), p)
                folds.append((p, k))
        self._along_path(folds, self.slots)

    def _along_path(self, heads: list[Head], size: int) -> None:
        """Fit the anchors, then the strengths between them from a polynomial through the anchors."""
        first = [head for head in heads if self._is_anchor(head)]
        between = [head for head in heads if not self._is_anchor(head)]
        begin = self.theta.copy() if between else self.theta
        for batch in chunked(first, size):
            self._to_the_end(batch)
        anchors = _strengths_of(first)
        for p, others in _strengths_of(between).items():
            change = self.theta[p, anchors[p]] - begin[p, anchors[p]]
            self.theta[p, others] += interpolate(self.l2[p, others], self.l2[p, anchors[p]], change)
        for batch in chunked(between, self.slots):
            self._to_the_end(batch, is_near=True)

    def _is_anchor(self, head: Head) -> bool:
        return bool(self.is_anchor[head[0] % self.targets, head[1]])

    def fit_intercepts(self, heads: list[Head]) -> bool:
        """Improve the intercepts of softmax heads alone, on a CPU.

        Return False where intercepts are not fitted this way: without an intercept, with one logit, or on an
        accelerator.
        """
        if self.intercept_rows is None:
            return False
        for batch in chunked(heads, self.costs.together):
            p, k = (np.array(numbers) for numbers in zip(*batch, strict=True))
            with blas_threads_for(len(self.inputs.x) * self.costs.size * len(batch)):
                theta = fit_intercepts(self.intercept_rows, self._batch(p, k), self._start(p, k), self.loss)
            self._keep(batch, theta)
        return True

    def again(self, heads: list[Head], closer: np.ndarray) -> bool:
        """Continue heads in float64 with tolerances times `closer`. Return False if no head has steps left."""
        left = [head for head in heads if self.steps[head] < self.max_steps]
        for head in left:
            self.gap_tol[head] *= closer[head]
            self.flat[head] = False
        self.n_ended = self.l2.size - len(left)
        is_quicker = self.costs.is_newton_quicker(self.l2)
        descends = [head for head in left if not is_quicker[head]]
        for batch in chunked(descends, self.slots):
            self._descend(batch, "float64")
        self._newton(left)
        return bool(left)

    def _to_the_end(self, heads: list[Head], *, is_near: bool = False) -> None:
        """Solve a batch: L-BFGS in float32, the intercepts, L-BFGS in float64, then Newton's method."""
        self._descend(heads, "float32", is_near=is_near)
        self.fit_intercepts([head for head in heads if self.flat[head]])
        self._descend(heads, "float64")
        self._newton(heads)
        self._report(self.n_ended + len(heads))

    def _report(self, ended: int) -> None:
        """Report the number of heads whose fits have ended."""
        self.n_ended = ended
        if self.reporter is not None:
            self.reporter.update(ended, ended=True)

    def _descend(self, heads: list[Head], dtype: str, *, is_near: bool = False) -> None:
        """Run L-BFGS for those heads that have not converged, in smaller batches as others end."""
        most = self.costs.most_passes(self.l2)
        left = [head for head in heads if not self.flat[head] and self.steps[head] < most[head]]
        if dtype == "float32":  # Under a strong penalty float32 does not resolve the logits.
            left = [head for head in left if self.l2[head] <= self.centering.radius**2]
        if not left:
            return
        size = self.costs.together if len(left) <= self.costs.together else self.slots
        size = len(left) if self._is_for_numpy(len(left), dtype) else size
        if dtype == "float32" and not is_near:
            history = self._from_sample(left, size)
        else:
            history = History.empty(size, self.costs.pairs(size), self.costs.size)
        reporter = self.reporter
        while left:
            converged = self.n_ended + sum(bool(self.flat[head]) for head in heads)
            p, k = (pad_to(np.array(numbers), size) for numbers in zip(*left, strict=True))
            is_head = np.arange(size) < len(left)
            budget = np.where(is_head, most[p, k] - self.steps[p, k], 0)
            goal = np.maximum(self.gap_tol[p, k], FLOAT32_GAP if dtype == "float32" else 0.0)
            problem = self._descent_problem(p, k, dtype)
            counted = LEFT_OF_INTERCEPTS if dtype == "float32" and self.intercept_rows is not None else 1.0
            problem = problem._replace(batch=problem.batch._replace(gap_tol=goal), left_of_intercepts=counted)
            half, is_compiled = -(-size // 2), problem.host_rows is None
            is_worth_it = len(left) > half and self.costs.is_half_worth_it(size, is_compiled=is_compiled)
            found = minimize(
                problem,
                self._start(p, k),
                budget,
                history,
                Options(self.loss, dtype),
                stop_at=half if is_worth_it else 0,
                may_end_at_once=is_near,
                on_pass=None if reporter is None else lambda more, base=converged: reporter.update(base + more),
            )
            self._keep(left, found.theta)
            for slot, head in enumerate(left):
                self.flat[head] |= found.converged[slot] and goal[slot] <= self.gap_tol[head]
                self.steps[head] += found.steps[slot]
            slots = np.flatnonzero(found.active[: len(left)])
            left = [left[slot] for slot in slots]
            if left:
                to_host = self._is_for_numpy(len(left), dtype)
                size = len(left) if to_host else half
                history = found.history.select(pad_to(slots, size), to_host=to_host)

    def _from_sample(self, heads: list[Head], size: int) -> History:
        """Start heads on all rows from those of a sample. Return the pairs of that many slots."""
        pairs, host = self.costs.pairs(size), self.host_rows
        is_of_folds, is_sampled = heads[0][0] >= self.targets, self.span is None and self.costs.is_sample_first
        if host is None or is_of_folds or not is_sampled:
            return History.empty(size, pairs, self.costs.size)
        p, k = (np.array(numbers) for numbers in zip(*heads, strict=True))
        problem = Problem(self._batch(p, k), self.centering, self.preconditioner, (), host)
        options = Options(self.loss, "float32")
        found = start_from_sample(host, problem, self._start(p, k), self.max_steps, pairs, options)
        self._keep(heads, found[0])
        return found[1].select(pad_to(np.arange(len(heads)), size))

    def _is_present(self, problem: int) -> np.ndarray:
        """Return which classes have rows in a problem, shape (K, 1)."""
        return self.constant.spread[problem][:, None] > 0

    def _centred(self, theta: np.ndarray, problem: int) -> np.ndarray:
        """Return softmax coefficients that sum to 0 over the classes, which changes no probability."""
        if self.outputs == 1:
            return theta
        present = self._is_present(problem)
        return present * (theta - theta.mean(0, where=present))

    def _start(self, p: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Return the coefficients of heads for a solver: of the columns, or in the span of the rows."""
        theta = self.theta[p, k]
        return theta if self.span is None else self.span.project(theta)

    def _keep(self, heads: list[Head], theta: np.ndarray) -> None:
        """Store the coefficients of a solver, in the columns of x and not in the basis of the span.

        A checkpoint may be read where the basis differs.
        """
        theta = theta if self.span is None else self.span.expand(theta)
        for slot, head in enumerate(heads):
            self.theta[head] = self._centred(theta[slot], head[0])

    def _descent_problem(self, p: np.ndarray, k: np.ndarray, dtype: str) -> Problem:
        """Return the problem of a batch that descends, on the host if NumPy makes its passes."""
        if self.host_rows is not None and self._is_for_numpy(len(p), dtype):
            return self._problem_on_host(p, k, self.host_rows)
        return self._problem(p, k, descent_block(self.rows.x, len(p) * self.outputs))

    def _is_for_numpy(self, heads: int, dtype: str) -> bool:
        """Return whether NumPy makes the passes of that many heads. NumPy compiles nothing."""
        host = self.host_rows
        if host is None:
            return False
        return self.span is not None or self.costs.is_for_numpy(host, heads * self.outputs, dtype)

    def _problem_on_host(self, p: np.ndarray, k: np.ndarray, host: HostRows) -> Problem:
        return Problem(self._batch(p, k), host.centering, self.preconditioner, (), host)

    def _problem(self, p: np.ndarray, k: np.ndarray, block: int) -> Problem:
        """Return the problem of a batch of heads, whose rows are read in blocks of this size."""
        data = BlockedData(self.rows.x, self._y_on_device, self.rows.weight, block)
        work = self.rows.x.size + 8 * len(p) * self.outputs * len(self.inputs.x)
        shards = shard_rows(data, cores_for(work, self.rows.x, least=LEAST_WORK))
        return Problem(self._batch(p, k), self.centering, self.preconditioner, shards)

    def _batch(self, p: np.ndarray, k: np.ndarray) -> HeadBatch:
        """Return the batch of the heads of problems p and strengths k."""
        fit, target = p // self.targets, p % self.targets
        return HeadBatch(
            l2=self.l2[p, k],
            ratio=self.ratio[fit],
            fit=fit.astype(np.int32),
            total=self.constant.total[p],
            spread=self.constant.spread[p],
            gap_tol=self.gap_tol[p, k],
            null_value=self.constant.value[p],
            target=target.astype(np.int32) if self.targets > 1 else None,
            balance=None if self.inputs.balance is None else self.inputs.balance[target],
        )

    def _newton(self, heads: list[Head]) -> None:
        """Continue the heads that have not converged by Newton's method."""
        left = [head for head in heads if not self.flat[head] and self.steps[head] < self.max_steps]
        takes = self.costs.is_for_newton(self.l2)
        left = [head for head in left if takes[head]]
        size = self.costs.newton_batch
        for batch in chunked(left, size):
            p, k = (pad_to(np.array(numbers), size) for numbers in zip(*batch, strict=True))
            budget = np.where(np.arange(size) < len(batch), self.max_steps - self.steps[p, k], 0)
            if self.host_rows is None:
                problem = self._problem(p, k, hessian_block(self.rows.x, self.outputs))
            else:
                problem = self._problem_on_host(p, k, self.host_rows)
            with blas_threads_for(len(self.inputs.x) * self.costs.size**2):
                found = minimize_with_newton(problem, self._start(p, k), budget, self.loss)
            self._keep(batch, found.theta)
            for slot, head in enumerate(batch):
                self.flat[head] = found.converged[slot]
                self.steps[head] += found.steps[slot]

    def heads(self) -> np.ndarray:
        """Return coefficients and, last, intercepts: (problems, L[, K], m + 1), −∞ for absent classes."""
        theta = inverse_transform_coef(self.theta, self.centering)
        if not loss_record(self.loss).has_classes:
            return theta[:, :, 0]
        is_present = self.constant.spread[:, None] > 0
        theta[..., -1][np.broadcast_to(~is_present, theta.shape[:-1])] = -np.inf
        return theta


def _strengths_of(heads: list[Head]) -> dict[int, list[int]]:
    """Return the numbers of the strengths of each problem, in the order of the heads."""
    strengths: dict[int, list[int]] = {}
    for p, k in heads:
        strengths.setdefault(p, []).append(k)
    return strengths
