"""Rows that are read where NumPy has them: any beginning, nothing around them, no copy."""

import gc
import mmap
import weakref

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import dlcore
from dlcore.devices import ALIGNMENT
from dlcore.heads import placing
from dlcore.objective import BlockedData, sum_over_blocks
from dlcore.objective.borrowed import LentRows, lend

pytestmark = pytest.mark.any_mode

DTYPES = (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def beginning(x: np.ndarray, numbers: int) -> np.ndarray:
    """Copy `x` to `numbers` entries behind a multiple of 64 bytes, with nan all around it.

    The memory begins at a page, so that the place within the page never depends on the allocator.
    """
    memory = np.frombuffer(mmap.mmap(-1, x.nbytes + 2 * mmap.PAGESIZE), x.dtype)
    memory.fill(np.nan)
    each = ALIGNMENT // x.itemsize
    first = each + numbers
    if (first + x.size) * x.itemsize % mmap.PAGESIZE not in range(1, mmap.PAGESIZE - 2 * ALIGNMENT):
        first += 4 * each  # the end is at least 64 bytes before the end of a page
    memory[first : first + x.size] = x.ravel()
    return memory[first : first + x.size].reshape(x.shape)


def lent(x: np.ndarray) -> LentRows:
    found = lend(x)
    assert found is not None
    return found


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_beginning_runs_one_program(dtype, compiles):
    x = np.random.default_rng(0).normal(size=(37, 5)).astype(dtype)
    cut = jax.jit(lambda rows, first: (rows.cut(first, 8), rows[first + jnp.array([0, 7, 2])]))
    cut(lent(beginning(x, 0)), np.int64(0))
    before = compiles()
    for numbers in range(ALIGNMENT // x.itemsize):
        there = lent(beginning(x, numbers))
        for first in (0, 3, 29):
            block, some = cut(there, np.int64(first))
            np.testing.assert_array_equal(np.asarray(block), x[first : first + 8])
            np.testing.assert_array_equal(np.asarray(some), x[first + np.array([0, 7, 2])])
    assert compiles() == before


def test_every_so_many_rows_and_some_columns():
    x = beginning(np.arange(300.0).reshape(30, 10), 3)
    for view in (x[1::7], x[:, 2:9], x[3::4, 1:2]):
        there = lent(view)
        assert there.shape == view.shape
        assert len(there) == len(view)
        assert there.size == view.size
        np.testing.assert_array_equal(np.asarray(there.cut(0, len(view))), view)
        np.testing.assert_array_equal(np.asarray(there.cut(1, 2)), view[1:3])


def test_nothing_is_copied_and_the_owner_lives_as_long():
    x = beginning(np.ones((1000, 3)), 2)
    there, owner = lent(x), weakref.ref(x)
    assert there.memory.unsafe_buffer_pointer() == x.ctypes.data - 16
    del x
    gc.collect()
    assert owner() is not None
    np.testing.assert_array_equal(np.asarray(there.cut(998, 2)), 1)


def test_what_does_not_lie_in_rows_is_not_lent():
    x = np.zeros((8, 6))
    for view in (x.T, x[:, ::2], x[::-1], np.broadcast_to(x[0], (8, 6))):
        assert lend(view) is None
    between = np.zeros(8 * 49, np.uint8)[4 : 4 + 8 * 48].view(np.float64).reshape(8, 6)
    assert between.ctypes.data % 8 == 4
    assert lend(between) is None


def test_no_page_behind_the_last_number_is_touched():
    pages = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    whole = np.frombuffer(pages, np.float64)
    at_the_end, before = whole[-102:].reshape(17, 6), whole[-120:-18].reshape(17, 6)
    assert at_the_end.ctypes.data % ALIGNMENT
    assert lend(at_the_end) is None
    np.testing.assert_array_equal(np.asarray(lent(before).cut(0, 17)), 0)


def test_places_beyond_two_to_the_31(tmp_path):
    rows, columns = 2**20 + 1, 2**11
    flat = np.memmap(tmp_path / "sparse", np.float16, "w+", shape=(rows * columns + 8,))
    x = flat[8:].reshape(rows, columns)
    x[-1] = np.arange(columns) % 7
    np.testing.assert_array_equal(np.asarray(jax.jit(lambda there: there.cut(rows - 1, 1))(lent(x))), x[-1:])
    np.testing.assert_array_equal(np.asarray(jax.jit(lambda there: there[jnp.array([rows - 1])])(lent(x))), x[-1:])


@pytest.mark.parametrize("rows", [1000, 1001])
@pytest.mark.parametrize("block", [64, 250, 2000])
def test_sums_are_those_of_the_array_bit_for_bit(rows, block):
    rng = np.random.default_rng(1)
    x, weights = rng.normal(size=(rows, 9)), rng.uniform(size=rows)
    sums = [
        jax.jit(lambda data: sum_over_blocks(lambda x, y, w: (w * y) @ x, data))(
            BlockedData(there, jax.device_put(x[:, 0]), jax.device_put(weights), block)
        )
        for there in (jax.device_put(x), lent(beginning(x, 1)), lent(beginning(x, 7)))
    ]
    np.testing.assert_allclose(sums[0], (weights * x[:, 0]) @ x, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(sums[1], sums[0])
    np.testing.assert_array_equal(sums[2], sums[0])


@pytest.mark.parametrize("loss", ["logistic", pytest.param("softmax", marks=pytest.mark.slow)])
def test_heads_of_rows_that_begin_anywhere(loss, monkeypatch, compiles):
    monkeypatch.setattr(placing, "LENT_BYTES", 2**14)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3000, 6)).astype(np.float32)
    y = np.argmax(x[:, :3] + rng.gumbel(size=(3000, 3)), 1)
    y = y if loss == "softmax" else (y > 0).astype(int)

    scoring = "roc_auc_ovr" if loss == "softmax" else "roc_auc"

    def fitted(x):
        return dlcore.fit_heads(x, y, loss=loss, l2=[1e-3, 1e-1], folds=3, standardize=True, scoring=scoring)

    copied = dlcore.fit_heads(beginning(x, 0), y, loss=loss, l2=[1e-3, 1e-1], folds=3, standardize=True)
    assert isinstance(placing.place_rows(beginning(x, 1)), LentRows)
    first = fitted(beginning(x, 1))
    assert (first.status == "converged").all()
    assert (first.fold_status == "converged").all()
    np.testing.assert_allclose(first.coef, copied.coef, rtol=1e-4, atol=1e-5)
    before = compiles()
    for numbers in (4, 15):
        again = fitted(beginning(x, numbers))
        np.testing.assert_array_equal(again.coef, first.coef)
        np.testing.assert_array_equal(again.scores, first.scores)
    assert compiles() == before
