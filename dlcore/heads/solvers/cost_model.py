"""Choose from shapes the heads of a batch, who makes its passes, and when Newton's method takes over.

The constants were measured. A clock chooses nothing, because other choices change the last bits of a head.
"""

from typing import NamedTuple

import numpy as np

from dlcore._core.types import Array
from dlcore.heads.data.batching import rows_at_once
from dlcore.heads.passes.host_rows import NUMBERS_OF_LOGIT, HostRows
from dlcore.objective.borrowed import BorrowedRows

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
SAMPLED_ROWS, SAMPLED_WORK = 2**14, 2**22
"""Rows, and numbers that a pass over them reads and computes, from which on a sample is fitted first."""
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
KEPT = 100
"""Passes that are kept for Newton's method, at most a quarter of all."""


def descent_block(x: Array | BorrowedRows, logits: int) -> int:
    """Return the rows of a block for so many logits of each row."""
    return rows_at_once(x, x.shape[0], BLOCK_BYTES, 4 * max(logits, x.shape[1]))


def hessian_block(x: Array | BorrowedRows, classes: int) -> int:
    """Return the rows of a block where each head has its whole Hessian."""
    return rows_at_once(x, x.shape[0], HESSIAN_BYTES, 8 * classes**2 * (x.shape[1] + 1))


class CostModel(NamedTuple):
    """Shape of a sweep, and what follows from it.

    Attributes:
      rows: the number of rows.
      columns: the number of columns of the rows, or of the rows in their span.
      outputs: the number of logits of a head.
      fits: the number of fits, on all rows and of each fold.
      heads: the most heads on all rows that are fitted first, strengths times targets.
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
        """The heads whose logits fill a product, or whose pairs fill the memory for them."""
        return max(1, min(LOGITS // self.outputs, HISTORY_BYTES // (PAIR_BYTES * FEWEST_PAIRS * self.size)))

    @property
    def together(self) -> int:
        """The most heads on all rows that descend together."""
        return min(self.most_heads, self.heads)

    def slots(self, host: HostRows | None) -> int:
        """Return the most heads that descend together once the first ones have ended, those of folds for example.

        NumPy's passes have any number. Where programs of another size cost more, it is the number of the first.
        """
        for_numpy = HOST_LOGITS // (self.rows * self.outputs)
        if host is not None and host.is_small and for_numpy >= self.together:
            return min(self.most_heads, for_numpy)
        is_worth_it = self.fits > 1 and self.rows * self.size * self.together >= COMPILATION // 2**6
        return self.most_heads if is_worth_it else self.together

    @property
    def is_sample_first(self) -> bool:
        """Return whether heads start from a sample of the rows: a pass over all takes much longer."""
        work = self.rows * (self.columns + NUMBERS_OF_LOGIT * self.outputs * self.heads)
        return self.rows >= SAMPLED_ROWS and work >= SAMPLED_WORK

    @property
    def polish_steps(self) -> int:
        """The passes kept for Newton's method; 0 where no head has its Hessian computed."""
        has_hessian = self.size <= HESSIAN and self.rows * self.size**2 <= HESSIAN_PRODUCTS
        return min(KEPT, self.max_steps // 4) if has_hessian else 0

    @property
    def newton_batch(self) -> int:
        """The heads that have their Hessian at a time."""
        return min(self.together, NEWTON_HEADS, max(1, NEWTON_BYTES // (8 * self.size**2)))

    def pairs(self, batch: int) -> int:
        """Return the pairs that each head of a batch remembers."""
        return max(FEWEST_PAIRS, min(PAIRS, HISTORY_BYTES // (PAIR_BYTES * batch * self.size)))

    def is_for_newton(self, l2: np.ndarray) -> np.ndarray:
        """Return which heads Newton's method takes. Without a penalty the Hessian of a softmax is singular."""
        return (self.polish_steps > 0) & ((l2 > 0) | (self.outputs == 1))

    def most_passes(self, l2: np.ndarray) -> np.ndarray:
        """Return the passes of L-BFGS after which Newton's method takes a head, or all where it takes none."""
        before = min(self.max_steps - self.polish_steps, max(FEWEST_STEPS, self.size // 2))
        return np.where(self.is_for_newton(l2), before, self.max_steps)

    def is_newton_quicker(self, l2: np.ndarray) -> np.ndarray:
        """Return which heads Newton's method brings closer in less time than more passes of L-BFGS."""
        return self.is_for_newton(l2) & (self.size <= QUICK_HESSIAN)

    def is_half_worth_it(self, batch: int, *, is_compiled: bool) -> bool:
        """Return whether half a batch goes on alone, for which compiled passes need programs of another size."""
        return batch > 1 and (not is_compiled or 2 * self.rows * self.size * batch * FEW_PASSES > COMPILATION)

    def is_for_numpy(self, host: HostRows, logits: int, dtype: str) -> bool:
        """Return whether NumPy makes the passes of so many logits of a row over rows on the host."""
        if host.is_small and self.rows * logits <= HOST_LOGITS:
            return True
        is_wide = self.columns >= HOST_COLUMNS and (logits == 1 or self.rows * self.columns <= HOST_NUMBERS)
        is_quick = is_wide or self.rows * logits <= HOST_LOGITS
        return is_quick and host.is_read_in_place and dtype == "float32"
