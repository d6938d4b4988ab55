"""Sums of a certificate by several threads."""

import numpy as np
import pytest

from dlcore._core import threads
from dlcore.certificate import LinearHeads, certify, rows
from dlcore.certificate.rows import RUNS, map_runs, slices_of

pytestmark = pytest.mark.any_mode


def certificate(classes, cores):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(300, 4)), random.integers(0, classes, 300)
    shape = (3, 4) if classes == 2 else (3, classes, 4)
    loss = "logistic" if classes == 2 else "softmax"
    heads = LinearHeads(random.normal(size=shape), random.normal(size=shape[:-1]), [0.1, 0.2, 0.3], loss)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "CACHE_BYTES", 2**10)
        patch.setattr(rows, "BLOCK_BYTES", 2**10)
        patch.setattr(threads, "core_count", lambda: cores)
        return certify(heads, x, y, np.arange(300.0))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_certificate_has_the_same_bits_on_any_number_of_cores(classes):
    one, three = certificate(classes, 1), certificate(classes, 3)
    for name in ("value", "gradient_norm", "gap", "rounding"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))


@pytest.mark.parametrize("blocks", [1, RUNS - 1, RUNS, 3 * RUNS + 1])
def test_runs_cover_the_blocks_in_their_order(blocks):
    slices = slices_of(10 * blocks, 10)
    runs = map_runs(list, slices)
    assert len(runs) == min(RUNS, blocks)
    assert [block for run in runs for block in run] == slices
