"""Choose the heads of a batch, compiled or NumPy passes, and when Newton's method takes over, from shapes only.

The constants were measured. No clock is read, because other choices change the last bits of a head.
"""

from typing import NamedTuple

import numpy as np

from dlcore._core.types import Array
from dlcore.heads.data.batching import rows_at_once
from dlcore.heads.passes.host_rows import NUMBERS_OF_LOGIT, HostRows
from dlcore.objective.borrowed import BorrowedRows

LOGITS = 256
"""The logits of a row that are computed at once: enough for products at full speed."""
HISTORY_BYTES = 3 * 2**27
"""The most bytes of the pairs of a batch."""
PAIR_BYTES = 12
"""Bytes of a pair for each coefficient: s, y and H times y."""
PAIRS, FEWEST_PAIRS = 30, 4
"""The most and the fewest pairs that a head keeps."""
BLOCK_BYTES = 2**19
"""Bytes of the rows or of the logits of a block on a CPU."""
COMPILATION = 2**36
"""Multiplications that take as long as compiling the programs of another batch size."""
FEW_PASSES = 16
"""Passes that a batch is expected to make after half of its heads have ended."""
HOST_LOGITS = 2**18
"""Rows × logits up to which NumPy's passes are as fast as compiled passes on a CPU."""
HOST_COLUMNS = 256
"""The number of columns from which NumPy's pass of one logit is as fast for any number of rows.

Memory bandwidth limits both.
"""
HOST_NUMBERS = 2**26
"""The most entries of a table of `HOST_COLUMNS` columns or more whose passes NumPy makes for any logits.

Compiled passes take about three quarters of the time. For a larger table they save more than their compilation.
"""
SAMPLED_ROWS, SAMPLED_WORK = 2**14, 2**22
"""A sample is fitted first with at least this many rows, and numbers that a pass reads and computes."""
SAMPLED_ROWS_OF_LOGIT = 2**10
"""The least rows for each logit of a head: a sample needs some of each class."""
LEAST_WORK = 2**17
"""The least work of a core, in numbers of a pass: it takes longer than starting a thread."""
HESSIAN = 4096
"""The size, K·(m + 1), up to which the Hessian of a head is computed."""
HESSIAN_PRODUCTS = 2**38
"""The most multiplications of a Hessian, n·K²·(m + 1)², for Newton's method to continue a head."""
FEWEST_STEPS = 64
"""L-BFGS makes max(`FEWEST_STEPS`, size/2) passes before Newton's method takes over, if `max_steps` allows.

A Newton step takes about as long as size/30 passes, and a head needs about a dozen steps.
"""
QUICK_HESSIAN = 512
"""The size up to which Newton's method is quicker than more passes of L-BFGS."""
NEWTON_HEADS = 12
"""The most heads of a batch of Newton's method."""
NEWTON_BYTES = 2**28
"""The most bytes of the Hessians of a batch."""
HESSIAN_BYTES = 2**24
"""Bytes of a block's part of the Hessian before it is summed."""
KEPT = 100
"""Passes reserved for Newton's method: at most this many, and at most a quarter of `max_steps`."""


def descent_block(x: Array | BorrowedRows, logits: int) -> int:
    """Return the number of rows of a block for that many logits of each row."""
    return rows_at_once(x, x.shape[0], BLOCK_BYTES, 4 * max(logits, x.shape[1]))


def hessian_block(x: Array | BorrowedRows, classes: int) -> int:
    """Return the number of rows of a block of a pass with Hessians."""
    return rows_at_once(x, x.shape[0], HESSIAN_BYTES, 8 * classes**2 * (x.shape[1] + 1))


class CostModel(NamedTuple):
    """Sizes of a sweep, and the choices that follow from them.

    Attributes:
      rows: the number of rows.
      columns: the number of columns of the rows, or of the rows in their span.
      outputs: the number of logits of a head.
      fits: the number of fits, on all rows and of each fold.
      heads: the most heads of a group that are fitted first (anchors), strengths times targets.
      max_steps: the most passes of a head.
    """

    rows: int
    columns: int
    outputs: int
    fits: int
    heads: int
    max_steps: int

    @property
    def size(self) -> int:
        """The number of coefficients and intercepts of a head."""
        return self.outputs * (self.columns + 1)

    @property
    def most_heads(self) -> int:
        """The most heads of any batch: their logits fill a product, or their pairs fill `HISTORY_BYTES`."""
        return max(1, min(LOGITS // self.outputs, HISTORY_BYTES // (PAIR_BYTES * FEWEST_PAIRS * self.size)))

    @property
    def together(self) -> int:
        """The most heads on all rows that descend together."""
        return min(self.most_heads, self.heads)

    def slots(self, host: HostRows | None) -> int:
        """Return the batch size of later batches, such as those of folds.

        NumPy's passes allow any size. Compiled batches keep the size of the first batches if other programs cost
        more than they save.
        """
        if host is not None and self.is_for_numpy(host, self.most_heads * self.outputs, "float32"):
            return self.most_heads
        for_numpy = HOST_LOGITS // (self.rows * self.outputs)
        if host is not None and host.is_small and for_numpy >= self.together:
            return min(self.most_heads, for_numpy)
        is_worth_it = self.fits > 1 and self.rows * self.size * self.together >= COMPILATION // 2**6
        return self.most_heads if is_worth_it else self.together

    @property
    def is_sample_first(self) -> bool:
        """Return whether heads start from a sample of the rows: a pass over all takes much longer."""
        work = self.rows * (self.columns + NUMBERS_OF_LOGIT * self.outputs * self.heads)
        return self.rows >= max(SAMPLED_ROWS, SAMPLED_ROWS_OF_LOGIT * self.outputs) and work >= SAMPLED_WORK

    @property
    def polish_steps(self) -> int:
        """The passes reserved for Newton's method; 0 if Hessians are too large."""
        has_hessian = self.size <= HESSIAN and self.rows * self.size**2 <= HESSIAN_PRODUCTS
        return min(KEPT, self.max_steps // 4) if has_hessian else 0

    @property
    def newton_batch(self) -> int:
        """The number of heads of a batch of Newton's method."""
        return min(self.together, NEWTON_HEADS, max(1, NEWTON_BYTES // (8 * self.size**2)))

    def pairs(self, batch: int) -> int:
        """Return the number of pairs that each head of a batch keeps."""
        return max(FEWEST_PAIRS, min(PAIRS, HISTORY_BYTES // (PAIR_BYTES * batch * self.size)))

    def is_for_newton(self, l2: np.ndarray) -> np.ndarray:
        """Return which heads Newton's method may take. Without a penalty the Hessian of a softmax is singular."""
        return (self.polish_steps > 0) & ((l2 > 0) | (self.outputs == 1))

    def most_passes(self, l2: np.ndarray) -> np.ndarray:
        """Return the most passes of L-BFGS, after which Newton's method takes over.

        It is `max_steps` if Newton's method does not take the head.
        """
        before = min(self.max_steps - self.polish_steps, max(FEWEST_STEPS, self.size // 2))
        return np.where(self.is_for_newton(l2), before, self.max_steps)

    def is_newton_quicker(self, l2: np.ndarray) -> np.ndarray:
        """Return which heads Newton's method refines in less time than more passes of L-BFGS."""
        return self.is_for_newton(l2) & (self.size <= QUICK_HESSIAN)

    def is_half_worth_it(self, batch: int, *, is_compiled: bool) -> bool:
        """Return whether half a batch continues alone. Compiled passes then need programs of another size."""
        return batch > 1 and (not is_compiled or 2 * self.rows * self.size * batch * FEW_PASSES > COMPILATION)

    def is_for_numpy(self, host: HostRows, logits: int, dtype: str) -> bool:
        """Return whether NumPy makes the passes over rows on the host, for that many logits of a row."""
        if host.is_small and self.rows * logits <= HOST_LOGITS:
            return True
        is_wide = self.columns >= HOST_COLUMNS and (logits == 1 or self.rows * self.columns <= HOST_NUMBERS)
        is_quick = is_wide or self.rows * logits <= HOST_LOGITS
        return is_quick and host.is_read_in_place and dtype == "float32"
