"""Logistic heads of every strength, fold and target: a few by Newton, the others by their neighbours' curvature.

Anchors, strengths spread over the range, are solved with their own curvature, first on samples of the rows and
then on all of them. Every other head starts at the optimum interpolated between them and steps with the
interpolated curvature and its own λ, for which gradients alone are needed. A fold's heads start at those of all
rows and step with the same curvature. A head for which that is too slow gets its own: Newton is what always works.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore.devices import aligned_empty
from dlcore.heads import chord, newton
from dlcore.heads.frame import frame_of, of_rows_as_given
from dlcore.heads.inputs import Inputs, Rows
from dlcore.heads.laps import run
from dlcore.heads.packing import Head, batches, is_ample, padded, rows_at_once, strides, work_of
from dlcore.heads.path import between, hermite, spaced
from dlcore.heads.placing import place_rows
from dlcore.heads.slots import Slots
from dlcore.heads.stages import Stages
from dlcore.objective import BlockedData
from dlcore.objective.sharding import shard_rows
from dlcore.objective.threads import cores_for

ANCHORS = 8
"""Strengths that are solved with their own curvature, at most."""
SLOTS = 128
"""Heads that one pass serves."""
SLOT_BYTES = 2**28
"""Curvatures and factors of all slots together stay about this small."""
LOGIT_BYTES = 2**21
"""Size of the logits of a block on a CPU: above it they leave the cache, below it products are slow."""
CORE_BYTES = 2**18
"""The same where each core has a block of its own."""
SCALED_BYTES = 2**22
"""Size of a block's rows times the curvature of each slot, on a CPU; of 2,048 rows at most."""
CHORD_STEPS = 14
"""A head that is not flat after so many passes gets its own curvature."""
SAMPLE_STEPS = (20, 2, 1)
"""Of an anchor on the first sample, on the next and on the last."""
NEARER_STEPS = 2
"""Of an anchor on all rows with the curvature of the last sample."""
FLOAT32_STEPS = 30
"""A head that is not flat after so many passes gets curvature in float64."""
SAMPLE_AIM = 2e-2
"""The gap on a sample, as a share of `objective.value_scale`: its optimum is further from that of all rows."""

ROUNDING = 1e-9
"""A value above the null head's by this part is worse, not rounding."""
LEAST_WORK = 2**25
"""See `work_of`: what keeps a core busy for about 10 ms."""
STATE = ("theta", "aim", "value", "steps", "flat")
"""What a stage changes, of some problems."""


def newton_block(x: Any, slots: int) -> int:
    """Rows per block where each slot has its own curvature."""
    columns = x.shape[1]
    return rows_at_once(x, x.shape[0], SCALED_BYTES, max(4 * slots * columns, SCALED_BYTES // 2048))


def chord_block(x: Any, slots: int, cores: int) -> int:
    """Rows per block where gradients are enough."""
    most = LOGIT_BYTES if cores == 1 else CORE_BYTES
    return rows_at_once(x, x.shape[0], most, 8 * max(slots, x.shape[1]))


class Read(NamedTuple):
    """Rows that a program reads: x, bits and labels, weights; and what the weights say of each problem.

    Attributes:
      total: shape (problems,), their sum.
      share: shape (problems,), the part of class 1 in it.
    """

    x: Any
    marks: Any
    weight: Any
    total: np.ndarray
    share: np.ndarray


class Sweep:
    """The state of a sweep on the host: what each head has reached, and the rows on the device.

    Problems are the fits, of all rows and of each fold, times the targets; arrays are (problems, L, …).
    """

    def __init__(self, inputs: Inputs, rows: Rows, *, fit_intercept: bool, tol: float, max_steps: int) -> None:
        labels = inputs.y.reshape(len(inputs.y), -1)
        self.inputs, self.max_steps = inputs, max_steps
        self.fits, self.targets = len(inputs.train), labels.shape[1]
        shape = _, self.strengths = self.fits * self.targets, inputs.l2.shape[1]
        columns = inputs.x.shape[1] + 1
        self.l2 = inputs.l2.repeat(self.targets, axis=0)
        self.marks = aligned_empty((len(labels), 1 + self.targets), np.uint32)  # shared with the device
        self.marks[:, 0], self.marks[:, 1:] = rows.train, labels
        labels = self.marks[:, 1:]
        total, share = self._classes(np.where(inputs.train, inputs.weight, 0.0), labels)
        self.fit_intercept = fit_intercept
        self.rows = Read(rows.x, jax.device_put(self.marks), rows.weight, total, share)
        self.null_value = self._null_value(self.rows)
        self.theta = np.zeros((*shape, columns))
        self.reset(np.full(shape, True))
        self.aim, self.value = np.full(shape, tol / 2), np.repeat(self.null_value[:, None], self.strengths, axis=1)
        self.steps = np.zeros(shape, np.int64)
        self.flat = np.zeros(shape, bool)

        self.ratio = None if rows.scale is None else (rows.scale / rows.scale[0]) ** 2
        self.frame = frame_of(inputs.x, fit_intercept, None if rows.scale is None else rows.scale[0])
        self.chosen = spaced(self.l2[0], ANCHORS)
        self.room = max(2, min(SLOTS, SLOT_BYTES // (8 * columns**2)))
        self.own = min(max(1, len(self.chosen)), self.room)

    def _classes(self, weight: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the total weight and the fraction of class 1 of each problem, for weights (fits, n)."""
        ones = weight @ labels
        both = np.stack([weight.sum(1)[:, None] - ones, ones], axis=-1)
        if self.inputs.balance is not None:
            both = both * self.inputs.balance
        both = both.reshape(-1, 2)
        return both.sum(1), both[:, 1] / both.sum(1)

    def _null_value(self, rows: Read) -> np.ndarray:
        """Return J of the best constant prediction of each problem."""
        if not self.fit_intercept:
            return np.full(len(rows.share), np.log(2))
        return -(rows.share * np.log(rows.share) + (1 - rows.share) * np.log1p(-rows.share))

    def reset(self, heads: np.ndarray) -> None:
        """Make null heads of these, a mask (problems, L): the best constant prediction."""
        log_odds = np.log(self.rows.share) - np.log1p(-self.rows.share)
        self.theta[heads] = 0
        self.theta[..., -1] = np.where(heads, self.fit_intercept * log_odds[:, None], self.theta[..., -1])

    def adopt(self, theta: np.ndarray, steps: np.ndarray, flat: np.ndarray, gap_tol: np.ndarray) -> None:
        """Go on with the heads of another solver, whose arrays are changed in place."""
        self.theta, self.steps, self.flat, self.aim = theta, steps, flat, gap_tol

    def run(self, stages: Stages) -> None:
        """Fit all heads, the targets in groups whose curvatures and heads fit the slots."""
        heads = self.strengths * max(1, self.fits - 1)
        together = max(1, min(self.targets, self.room // max(heads, self.own)))
        for first in range(0, self.targets, together):
            targets = range(first, min(first + together, self.targets))
            problems = [f * self.targets + t for f in range(self.fits) for t in targets]
            name = f"targets from {first}"
            stages.on(name, self, STATE, problems, functools.partial(self._together, targets, stages, name))

    def _together(self, targets: range, stages: Stages, name: str) -> None:
        """Fit these targets: on all rows first, because the folds start from them."""
        folds = [f * self.targets + t for f in range(1, self.fits) for t in targets]
        own = list(targets)

        def solve_anchors() -> np.ndarray | None:
            return self._solve_anchors(targets) if len(self.chosen) else None

        columns = self.theta.shape[-1]
        curvatures = "float64", (len(own), len(self.chosen), columns, columns)
        curvature = stages.on(f"{name}/anchors", self, STATE, own, solve_anchors, curvatures)
        stages.on(f"{name}/all rows", self, STATE, own, lambda: self._solve(own, curvature))
        for p in folds:
            whole = p % self.targets
            self.theta[p] = self.theta[whole]
            self.value[p] = self.null_value[p] - (self.null_value[whole] - self.value[whole])
        if folds:
            self._solve(folds, curvature)

    def _solve(self, problems: list[int], curvature: np.ndarray | None) -> None:
        """Fit all strengths of these problems, from where they are."""
        if curvature is not None:
            self._between(problems, curvature)
        for k in np.flatnonzero(self.l2[0] == 0) if len(self.chosen) else []:
            for p in problems:  # the unpenalised start at the weakest penalty's
                self.theta[p, k] = self.theta[p, self.chosen[0]]
        self.finish([(p, k) for p in problems for k in range(self.strengths)])

    def _solve_anchors(self, targets: range) -> np.ndarray:
        """Newton for the anchors; all strengths then start between them. The curvature, (targets, anchors, …)."""
        heads = [(t, int(k)) for t in targets for k in self.chosen]
        shape = self.inputs.x.shape
        alone = len(self.chosen) == np.count_nonzero(self.l2[0])  # no head is interpolated
        sampled = None
        for limit, stride in zip(SAMPLE_STEPS, strides(*shape, last=alone), strict=False):
            sampled = self._sampled(heads, stride, limit)
        if sampled is not None and alone and is_ample(*shape):
            return sampled.reshape(len(targets), len(self.chosen), *sampled.shape[1:])
        if sampled is not None:
            self._nearer(heads, sampled)
        found = []
        for batch in batches(heads, self.own):
            limit = FLOAT32_STEPS if sampled is None else 1
            part = self._newton(batch, "float32", limit)
            # Where a sample led astray, its curvature says nothing either.
            found.append(self._newton(batch, "float32", limit) if self._restart(batch) else part)
        parts = {
            name: np.concatenate([part[name] for part in found]) for name in ("ahead", "derivative", "curvature")
        }
        for head, theta in zip(heads, parts["ahead"], strict=True):
            self.theta[head] = theta
        if sampled is not None:
            self._nearer(heads, parts["curvature"], 1)
        l2 = self.l2[0]
        knots = np.log(l2[self.chosen])
        where = np.log(np.maximum(l2, l2[self.chosen[0]]))
        at, slope = hermite(knots, where)
        for t, derivative in zip(targets, np.split(parts["derivative"], len(targets)), strict=True):
            if np.isfinite(derivative).all():
                self.theta[t] = at @ self.theta[t, self.chosen] + slope @ derivative
            # What a head improves falls by decades with its strength.
            gain = np.log(np.maximum(self.null_value[t] - self.value[t, self.chosen], np.finfo(float).tiny))
            self.value[t] = self.null_value[t] - np.exp(np.interp(where, knots, gain))
        return parts["curvature"].reshape(len(targets), len(self.chosen), *parts["curvature"].shape[1:])

    def _sampled(self, heads: list[Head], stride: int, limit: int) -> np.ndarray | None:
        """Newton on every so many rows; the curvature there. None where a class is not among them."""
        weight, marks = self.inputs.weight[::stride], self.marks[::stride]
        total, share = self._classes(np.broadcast_to(weight, (self.fits, len(weight))), marks[:, 1:])
        if not ((share > 0) & (share < 1)).all():
            return None
        x = place_rows(self.inputs.x[::stride])
        sample = Read(x, jax.device_put(marks), jax.device_put(weight), total, share)
        curvature = []
        for batch in batches(heads, self.own):
            done = self._newton(batch, "float32", limit, sample)
            for head, theta, value in zip(batch, done["ahead"], done["value"], strict=True):
                self.theta[head], self.value[head] = theta, value
            curvature.append(done["curvature"])
        return np.concatenate(curvature)

    def _nearer(self, heads: list[Head], curvature: np.ndarray, limit: int = NEARER_STEPS) -> None:
        """Steps of gradients alone, with curvature from elsewhere, one for each head."""
        size = self.own
        for start in range(0, len(heads), size):
            batch, anchors = heads[start : start + size], padded(curvature[start : start + size], size)
            self._chord(batch, size, size, anchors, np.arange(size, dtype=np.int32), np.zeros(size), limit)
            for head in batch:
                self.flat[head] = False

    def _between(self, problems: list[int], curvature: np.ndarray) -> None:
        """Steps of gradients alone for these problems, with the curvature between the anchors."""
        strengths = np.flatnonzero(self.l2[0] > 0)
        knots = np.log(self.l2[0, self.chosen])
        first = min(p % self.targets for p in problems)
        for some in np.array_split(np.array(problems), -(-len(problems) // self.room)):
            parts = -(-len(some) * len(strengths) // self.room)
            together = -(-len(strengths) // parts)
            for start in range(0, len(strengths), together):
                mine = padded(strengths[start : start + together], together)
                batch = [(int(p), int(k)) for p in some for k in mine]
                left, share = between(knots, np.log([self.l2[head] for head in batch]))
                left += np.array([p % self.targets - first for p, _ in batch], np.int32) * len(self.chosen)
                anchors = curvature.reshape(-1, *curvature.shape[2:])
                self._chord(batch, len(batch), len(some), anchors, left, share, CHORD_STEPS)

    def finish(self, heads: list[Head], curved: Sequence[str] = ("float32", "float64")) -> None:
        """Newton for what is not flat, curvature in float32 and, where that is not enough, in float64."""
        for dtype in curved:
            self._restart(heads)
            left = [head for head in heads if not self.flat[head] and self.steps[head] < self.max_steps]
            for batch in batches(left, self.own):
                self._newton(batch, dtype, FLOAT32_STEPS if dtype == "float32" else 2**30)

    def _restart(self, heads: list[Head]) -> bool:
        """Begin anew, at the best constant prediction, with heads that are worse; return whether there are any."""
        worse = np.zeros(self.value.shape, bool)
        for head in heads:
            worse[head] = self.value[head] > (1 + ROUNDING) * self.null_value[head[0]]
        self.reset(worse)
        return bool(worse.any())

    def again(self, heads: list[Head], closer: np.ndarray) -> bool:
        """Fit those heads again, to a smaller gap by a factor each; False where none has steps left."""
        left = [head for head in heads if self.steps[head] < self.max_steps]
        for head in left:
            self.aim[head] *= closer[head]
            self.flat[head] = False
        self.finish(left, ("float64",))
        return bool(left)

    def _newton(self, batch: list[Head], curved: str, limit: int, sample: "Read | None" = None) -> dict[str, Any]:
        """One call of the program; what it finds on all rows is kept."""
        rows, size = sample or self.rows, self.own
        slots = self._slots(batch, size, size, limit, rows)
        if sample is not None:
            slots = slots._replace(aim=np.full(size, SAMPLE_AIM), bit=None, ratio=None)
        data = BlockedData(rows.x, rows.marks, rows.weight, newton_block(rows.x, size))
        parts = shard_rows(data, cores_for(work_of(rows.x, size, squared=True), rows.x, least=LEAST_WORK))
        given = newton.Given(slots, self.frame, np.bool_(sample is not None))
        found = run(newton.NEWTON[curved], given, parts)._asdict()
        found = {name: part[: len(batch)] for name, part in found.items()}
        if sample is None:
            p, k = self._keep(batch, found)
            self.value[p, k] = found["value"]
        return found

    def _chord(
        self, batch, size: int, groups: int, anchors: np.ndarray, left: np.ndarray, share: np.ndarray, limit: int
    ) -> None:
        """One call of the program; what it finds is kept."""
        slots = self._slots(batch, size, groups, limit, self.rows)
        x, marks, weight = self.rows[:3]
        cores = cores_for(work_of(x, size, squared=False), x, least=LEAST_WORK)
        data = BlockedData(x, marks, weight, chord_block(x, size, cores))
        parts = shard_rows(data, cores)
        found = run(chord.CHORD, chord.Given(slots, self.frame, anchors, left, share), parts)._asdict()
        self._keep(batch, {name: part[: len(batch)] for name, part in found.items()})

    def _slots(self, batch: list[Head], size: int, groups: int, limit: int, rows: Read) -> Slots:
        """Return these heads in a fixed number of slots; empty slots repeat the first and make no step."""
        p, k = (padded(np.array(numbers), size) for numbers in zip(*batch, strict=True))
        steps = np.minimum(self.max_steps - self.steps[p, k], limit).astype(np.int32)
        steps[len(batch) :] = 0
        group = p[:: size // groups]
        theta, l2, null_value, value = self.theta[p, k], self.l2[p, k], self._null_value(rows)[p], self.value[p, k]
        ratio = 1.0 if self.ratio is None else self.ratio[p // self.targets]
        improvement = np.maximum(null_value - value, l2 / 2 * (ratio * theta[:, :-1] ** 2).sum(1))
        share = rows.share[p]
        return Slots(
            theta=theta,
            l2=l2,
            aim=self.aim[p, k],
            scale=np.minimum(np.maximum(value, 1e-3 * null_value), improvement),
            null_value=null_value,
            spread=share * (1 - share),
            steps=steps,
            total=rows.total[group],
            bit=(group // self.targets).astype(np.uint32) if self.fits > 1 else None,
            target=(group % self.targets).astype(np.int32) if self.targets > 1 else None,
            ratio=None if self.ratio is None or self.fits == 1 else self.ratio[group // self.targets],
            balance=None if self.inputs.balance is None else self.inputs.balance[group % self.targets],
        )

    def _keep(self, batch: list[Head], found: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        p, k = (np.array(numbers) for numbers in zip(*batch, strict=True))
        self.theta[p, k], self.flat[p, k] = found["theta"], found["flat"]
        self.steps[p, k] += found["steps"]  # once, where a head stands in two slots
        return p, k

    def heads(self) -> np.ndarray:
        """Weights and, last, the intercept of rows as given: shape (problems, L, m + 1)."""
        return of_rows_as_given(self.theta, self.frame)
