"""Logistic and softmax heads of every penalty, fold and target by L-BFGS.

The penalties of the fits on all rows descend together. A fold's heads start where those of all rows have ended.
What float32 cannot bring to its tolerance goes on in float64. What has no end there is left to Newton's method.
"""

import functools

import jax
import numpy as np

from dlcore._core.blas_threads import blas_threads_for, one_blas_thread
from dlcore._core.types import Array
from dlcore.devices import platform_of
from dlcore.heads.checkpoint import StageCache
from dlcore.heads.data.batching import chunked, pad_to, rows_at_once
from dlcore.heads.data.centering import fit_centering, inverse_transform_coef
from dlcore.heads.data.training_data import DeviceRows, TrainingData
from dlcore.heads.losses import loss_record, row_loss
from dlcore.heads.passes.evaluate import HeadBatch
from dlcore.heads.passes.host_rows import HostRows
from dlcore.heads.passes.intercepts import fit_intercepts
from dlcore.heads.passes.row_span import row_span
from dlcore.heads.progress import Reporter
from dlcore.heads.solvers.lbfgs import History, minimize
from dlcore.heads.solvers.lbfgs_vectors import Options, Problem
from dlcore.heads.solvers.newton import minimize_with_newton
from dlcore.heads.solvers.preconditioner import diagonal_preconditioner, precondition
from dlcore.objective import BlockedData
from dlcore.objective.borrowed import BorrowedRows
from dlcore.objective.sharding import shard_rows
from dlcore.objective.threads import cores_for

FLOAT32_GAP = 5e-7
"""The least gap that a head descends to in float32. A smaller one costs many steps there, or is out of reach."""
LOGITS = 256
"""Logits of a row that are computed at once: enough for products at full speed."""
HISTORY_BYTES = 3 * 2**27
"""Size of the pairs of all heads of a batch."""
PAIR_BYTES = 12
"""Bytes of a pair for each coefficient: s, y and H times y."""
PAIRS, FEWEST_PAIRS = 30, 4
"""Pairs that a head remembers."""
BLOCK_BYTES = 2**19
"""Size of the rows or of the logits of a block on a CPU."""
COMPILATION = 2**36
"""Products in the time that the programs of another batch size take to compile."""
FEW_PASSES = 16
"""Passes that a batch is expected to make after half of its heads have ended."""
HOST_LOGITS = 2**18
"""Logits of all rows up to which NumPy's passes on a CPU take no longer than compiled ones."""
HOST_COLUMNS = 256
"""Columns from which on that holds for a single logit of any number of rows: memory is the limit of both."""
HOST_NUMBERS = 2**24
"""Numbers of a table of so many columns up to which it holds for any number of logits."""
LEAST_WORK = 2**17
"""Numbers that keep a core busy for longer than it takes to start a thread."""
HESSIAN = 4096
"""The size, K·(m + 1), up to which the Hessian of a head is computed."""
HESSIAN_PRODUCTS = 2**38
"""The most products of a Hessian, n·K²·(m + 1)², for a head that L-BFGS leaves short of its tolerance."""
FEWEST_STEPS = 64
"""Passes that L-BFGS makes at least before Newton's method takes a head; else half the size of the head.

A step of Newton's method takes about as long as size/30 passes, and about a dozen of them end.
"""
QUICK_HESSIAN = 512
"""The size up to which Newton's method is quicker than more of L-BFGS."""
NEWTON_HEADS = 12
"""Heads that have their Hessian at a time."""
NEWTON_BYTES = 2**28
"""Size of their Hessians."""
HESSIAN_BYTES = 2**24
"""Size of a block's part of the Hessian before it is summed."""
LEFT_OF_INTERCEPTS = 0.3
"""The part of the intercepts' gradient that the estimate of the gap counts where a Newton step removes the rest.

With 0.1 the certificate sends some heads back, because the coefficients have to follow the intercepts.
"""
KEPT = 100
"""Passes that are kept for Newton's method, at most a quarter of all."""
STATE = ("theta", "gap_tol", "steps", "flat")
"""What a stage changes, of some penalties."""


def descent_block(x: Array | BorrowedRows, logits: int) -> int:
    """Return the rows of a block for so many logits of each row."""
    return rows_at_once(x, x.shape[0], BLOCK_BYTES, 4 * max(logits, x.shape[1]))


def hessian_block(x: Array | BorrowedRows, classes: int) -> int:
    """Return the rows of a block where each head has its whole Hessian."""
    return rows_at_once(x, x.shape[0], HESSIAN_BYTES, 8 * classes**2 * (x.shape[1] + 1))


class LBFGSSweep:
    """State of a sweep on the host, and the rows on the device.

    Problems are the fits, of all rows and of each fold, times the targets. Arrays are (problems, L, …).
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
        logits, is_on_host = self.outputs * self.l2.size, platform_of(rows.x) == "cpu"
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

        targets = targets.astype(np.uint32 if loss_record(loss).is_classifier else np.float64)
        self.y = rows.train, jax.device_put(targets)
        train, weight = inputs.train.T, inputs.weight
        self.host_rows = HostRows(x, train, targets, weight, centering) if is_on_host else None
        self.intercept_rows = self.host_rows if self.outputs > 1 and fit_intercept else None
        self.size = self.outputs * (x.shape[1] + 1)
        heads = shape[1] * self.targets
        self.slots = max(1, min(LOGITS // self.outputs, HISTORY_BYTES // (PAIR_BYTES * FEWEST_PAIRS * self.size)))
        self.together = max(1, min(self.slots, heads))
        most = len(inputs.x) * self.size * self.together
        if self.fits > 1 and most < COMPILATION // 2**6:
            self.slots = self.together
        self.polish_steps = min(KEPT, max_steps // 4) if self._has_newton() else 0

    def _has_newton(self) -> bool:
        products = len(self.inputs.x) * self.size**2
        return self.size <= HESSIAN and products <= HESSIAN_PRODUCTS

    def _is_for_newton(self, head: tuple[int, int]) -> bool:
        """Return whether Newton's method takes a head. Without a penalty the Hessian of a softmax is singular."""
        return self.polish_steps > 0 and (self.l2[head] > 0 or self.outputs == 1)

    def _most_passes(self, head: tuple[int, int]) -> int:
        """Return the passes of L-BFGS after which Newton's method takes a head, or all where it takes none."""
        if not self._is_for_newton(head):
            return self.max_steps
        return min(self.max_steps - self.polish_steps, max(FEWEST_STEPS, self.size // 2))

    def reset(self, heads: np.ndarray) -> None:
        """Make null heads of these, a mask (problems, L): the best constant prediction."""
        self.theta[heads] = 0
        self.theta[..., -1] = np.where(heads[..., None], self.constant.intercept[:, None], self.theta[..., -1])

    def run(self, stages: StageCache) -> None:
        """Fit all heads, those of similar penalties together."""
        order = [(t, int(k)) for k in np.argsort(-self.l2[0], kind="stable") for t in range(self.targets)]
        for start, group in enumerate(chunked(order, self.together)):
            problems = [t + f * self.targets for f in range(self.fits) for t, _ in group]
            where = np.array(problems), np.tile([k for _, k in group], self.fits)
            stages.on(f"L-BFGS, heads from {start}", self, STATE, where, functools.partial(self._group, group))
            self._report(self.fits * min(self.together * (start + 1), len(order)))

    def _group(self, group: list[tuple[int, int]]) -> None:
        """Fit these heads of all rows, then their folds."""
        self._to_the_end(group)
        folds = []
        for fit in range(1, self.fits):
            for t, k in group:
                p = fit * self.targets + t
                if self.l2[p, k] > 0:  # else the optimum may be far from that of all rows, or infinitely far
                    self.theta[p, k] = self._centred(self.theta[t, k] * self._is_present(p), p)
                folds.append((p, k))
        for batch in chunked(folds, self.slots):
            self._to_the_end(batch)

    def fit_intercepts(self, heads: list[tuple[int, int]]) -> bool:
        """Improve the intercepts of softmax heads alone, on a CPU; False where there is nothing to improve."""
        if self.intercept_rows is None:
            return False
        for batch in chunked(heads, self.together):
            p, k = (np.array(numbers) for numbers in zip(*batch, strict=True))
            with blas_threads_for(len(self.inputs.x) * self.size * len(batch)):
                theta = fit_intercepts(self.intercept_rows, self._batch(p, k), self._start(p, k), self.loss)
            self._keep(batch, theta)
        return True

    def again(self, heads: list[tuple[int, int]], closer: np.ndarray) -> bool:
        """Fit those heads again in float64, to a smaller gap by a factor each; False where none has steps left."""
        left = [head for head in heads if self.steps[head] < self.max_steps]
        for head in left:
            self.gap_tol[head] *= closer[head]
            self.flat[head] = False
        self.n_ended = self.l2.size - len(left)
        descends = [head for head in left if self.size > QUICK_HESSIAN or not self._is_for_newton(head)]
        for batch in chunked(descends, self.slots):
            self._descend(batch, "float64")
        self._newton(left)
        return bool(left)

    def _to_the_end(self, heads: list[tuple[int, int]]) -> None:
        self._descend(heads, "float32")
        self.fit_intercepts([head for head in heads if self.flat[head]])
        self._descend(heads, "float64")
        self._newton(heads)
        self._report(self.n_ended + len(heads))

    def _report(self, ended: int) -> None:
        """Report that the fits of so many heads have ended."""
        self.n_ended = ended
        if self.reporter is not None:
            self.reporter.update(ended, ended=True)

    def _descend(self, heads: list[tuple[int, int]], dtype: str) -> None:
        """Run L-BFGS for those heads that have not converged, in smaller batches as others end."""
        left = [head for head in heads if not self.flat[head] and self.steps[head] < self._most_passes(head)]
        if dtype == "float32":  # which does not see what a strong penalty leaves of the logits
            left = [head for head in left if self.l2[head] <= self.centering.radius**2]
        size = self.together if len(left) <= self.together else self.slots
        pairs = max(FEWEST_PAIRS, min(PAIRS, HISTORY_BYTES // (PAIR_BYTES * size * self.size)))
        history = History.empty(size, pairs, self.size)
        reporter = self.reporter
        while left:
            converged = self.n_ended + sum(bool(self.flat[head]) for head in heads)
            p, k = (pad_to(np.array(numbers), size) for numbers in zip(*left, strict=True))
            is_head = np.arange(size) < len(left)
            most = np.array([self._most_passes(head) for head in zip(p, k, strict=True)])
            budget = np.where(is_head, most - self.steps[p, k], 0)
            goal = np.maximum(self.gap_tol[p, k], FLOAT32_GAP if dtype == "float32" else 0.0)
            problem = self._descent_problem(p, k, dtype)
            counted = LEFT_OF_INTERCEPTS if dtype == "float32" and self.intercept_rows is not None else 1.0
            problem = problem._replace(batch=problem.batch._replace(gap_tol=goal), left_of_intercepts=counted)
            work, half = 2 * len(self.inputs.x) * self.size * size, -(-size // 2)
            is_worth_it = (
                problem.host_rows is not None or work * FEW_PASSES > COMPILATION
            )  # NumPy compiles nothing
            stop_at = half if size > 1 and is_worth_it and len(left) > half else 0
            found = minimize(
                problem,
                self._start(p, k),
                budget,
                history,
                Options(self.loss, dtype),
                stop_at=stop_at,
                on_pass=None if reporter is None else lambda more, base=converged: reporter.update(base + more),
            )
            self._keep(left, found.theta)
            for slot, head in enumerate(left):
                self.flat[head] |= found.converged[slot] and goal[slot] <= self.gap_tol[head]
                self.steps[head] += found.steps[slot]
            slots = np.flatnonzero(found.active[: len(left)])
            left = [left[slot] for slot in slots]
            if left:
                size = half
                history = found.history.select(pad_to(slots, size))

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
        """Return the coefficients of heads as solvers have them: of the columns, or in the span of the rows."""
        theta = self.theta[p, k]
        return theta if self.span is None else self.span.project(theta)

    def _keep(self, heads: list[tuple[int, int]], theta: np.ndarray) -> None:
        """Keep what a solver has found. A checkpoint has it, and the basis of the span may differ elsewhere."""
        theta = theta if self.span is None else self.span.expand(theta)
        for slot, head in enumerate(heads):
            self.theta[head] = self._centred(theta[slot], head[0])

    def _descent_problem(self, p: np.ndarray, k: np.ndarray, dtype: str) -> Problem:
        """Return the problem of a batch that descends, on the host if NumPy makes its passes."""
        logits, host = len(p) * self.outputs, self.host_rows
        if host is not None:
            if self.span is not None:
                return self._problem_on_host(p, k, host)
            rows, columns = self.inputs.x.shape
            is_wide = columns >= HOST_COLUMNS and (logits == 1 or rows * columns <= HOST_NUMBERS)
            if host.is_small and len(host) * logits <= HOST_LOGITS:
                return self._problem_on_host(p, k, host)
            if host.is_read_in_place and dtype == "float32" and (is_wide or len(host) * logits <= HOST_LOGITS):
                return self._problem_on_host(p, k, host)
        return self._problem(p, k, descent_block(self.rows.x, logits))

    def _problem_on_host(self, p: np.ndarray, k: np.ndarray, host: HostRows) -> Problem:
        return Problem(self._batch(p, k), host.centering, self.preconditioner, (), host)

    def _problem(self, p: np.ndarray, k: np.ndarray, block: int) -> Problem:
        """Return the problem of the heads of these numbers, whose rows are read in blocks of this size."""
        data = BlockedData(self.rows.x, self.y, self.rows.weight, block)
        work = self.rows.x.size + 8 * len(p) * self.outputs * len(self.inputs.x)
        shards = shard_rows(data, cores_for(work, self.rows.x, least=LEAST_WORK))
        return Problem(self._batch(p, k), self.centering, self.preconditioner, shards)

    def _batch(self, p: np.ndarray, k: np.ndarray) -> HeadBatch:
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

    def _newton(self, heads: list[tuple[int, int]]) -> None:
        """Use Newton's method for what is still short of its tolerance."""
        left = [head for head in heads if not self.flat[head] and self.steps[head] < self.max_steps]
        left = [head for head in left if self._is_for_newton(head)]
        size = min(self.together, NEWTON_HEADS, max(1, NEWTON_BYTES // (8 * self.size**2)))
        for batch in chunked(left, size):
            p, k = (pad_to(np.array(numbers), size) for numbers in zip(*batch, strict=True))
            budget = np.where(np.arange(size) < len(batch), self.max_steps - self.steps[p, k], 0)
            if self.host_rows is None:
                problem = self._problem(p, k, hessian_block(self.rows.x, self.outputs))
            else:
                problem = self._problem_on_host(p, k, self.host_rows)
            with blas_threads_for(len(self.inputs.x) * self.size**2):
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
