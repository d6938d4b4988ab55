"""Borrowed rows: NumPy's memory, read in place at any alignment, without the memory around it."""

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
from dlcore.heads.data import device_rows
from dlcore.objective import BlockedData, sum_over_blocks
from dlcore.objective.borrowed import BorrowedRows, borrow

pytestmark = pytest.mark.any_mode

DTYPES = (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def misalign(x: np.ndarray, entries: int) -> np.ndarray:
    """Copy `x` to memory that begins `entries` entries behind a multiple of 64 bytes, with nan all around it."""
    per_line = ALIGNMENT // x.itemsize
    memory = np.frombuffer(mmap.mmap(-1, x.nbytes + 3 * ALIGNMENT), x.dtype)  # begins at a page
    memory.fill(np.nan)
    first = per_line + entries
    memory[first : first + x.size] = x.ravel()
    return memory[first : first + x.size].reshape(x.shape)


def borrowed(x: np.ndarray) -> BorrowedRows:
    rows = borrow(x)
    assert rows is not None
    return rows


def check_memory_is_inside(rows: BorrowedRows, x: np.ndarray) -> None:
    """Check that JAX shares memory of `x`, at a multiple of 64 bytes, and no byte outside `x`."""
    address, end = rows.memory.unsafe_buffer_pointer(), x.ctypes.data + (len(x) - 1) * x.strides[0]
    assert address % ALIGNMENT == 0
    assert x.ctypes.data <= address < x.ctypes.data + ALIGNMENT
    assert address + rows.memory.nbytes <= end + x.shape[1] * x.itemsize


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_alignments_run_one_program(dtype, compiles):
    x = np.random.default_rng(0).normal(size=(61, 5)).astype(dtype)
    index = np.array([0, 60, 7, 59, 2, 31])

    @jax.jit
    def read(rows: BorrowedRows, first: jax.Array):
        return rows.slice_rows(first, 8), rows[first + jnp.array([0, 7, 2])], rows[jnp.asarray(index)]

    read(borrowed(misalign(x, 0)), np.int64(0))
    before = compiles()
    for entries in range(ALIGNMENT // x.itemsize):
        misaligned = misalign(x, entries)
        rows = borrowed(misaligned)
        check_memory_is_inside(rows, misaligned)
        for first in (0, 1, 3, 6, 7, 26, 45, 46, 47, 52, 53):
            block, gathered, ends = read(rows, np.int64(first))
            np.testing.assert_array_equal(np.asarray(block), x[first : first + 8])
            np.testing.assert_array_equal(np.asarray(gathered), x[first + np.array([0, 7, 2])])
            np.testing.assert_array_equal(np.asarray(ends), x[index])
    assert compiles() == before


def test_strided_rows_and_a_range_of_columns_are_borrowed():
    x = misalign(np.arange(300.0).reshape(30, 10), 3)
    for view in (x[1::7], x[:, 2:9], x[3::4, 1:2]):
        rows = borrowed(view)
        check_memory_is_inside(rows, view)
        assert rows.shape == view.shape
        assert len(rows) == len(view)
        assert rows.size == view.size
        np.testing.assert_array_equal(np.asarray(rows.slice_rows(0, len(view))), view)
        np.testing.assert_array_equal(np.asarray(rows.slice_rows(1, 2)), view[1:3])


def test_the_bulk_is_not_copied_and_its_owner_is_kept_alive():
    x = misalign(np.ones((1000, 3)), 2)
    rows, owner = borrowed(x), weakref.ref(x)
    assert rows.memory.unsafe_buffer_pointer() == x.ctypes.data + ALIGNMENT - 16
    assert rows.edges.size < 64
    del x
    gc.collect()
    assert owner() is not None
    np.testing.assert_array_equal(np.asarray(rows.slice_rows(998, 2)), 1)


def test_arrays_that_are_not_aligned_rows_are_not_borrowed():
    x = np.zeros((8, 6))
    for view in (x.T, x[:, ::2], x[::-1], np.broadcast_to(x[0], (8, 6)), x[:4]):
        assert borrow(view) is None
    unaligned = np.zeros(8 * 49, np.uint8)[4 : 4 + 8 * 48].view(np.float64).reshape(8, 6)
    assert unaligned.ctypes.data % 8 == 4
    assert borrow(unaligned) is None


def test_rows_at_the_end_of_a_page_are_borrowed():
    memory = np.frombuffer(mmap.mmap(-1, 2 * mmap.PAGESIZE), np.float64)
    x = memory[-102:].reshape(17, 6)
    assert x.ctypes.data % ALIGNMENT
    rows = borrowed(x)
    check_memory_is_inside(rows, x)
    np.testing.assert_array_equal(np.asarray(rows.slice_rows(0, 17)), 0)


def test_places_beyond_two_to_the_31(tmp_path):
    rows, columns = 2**20 + 3, 2**11
    flat = np.memmap(tmp_path / "sparse", np.float16, "w+", shape=(rows * columns + 8,))
    x = flat[8:].reshape(rows, columns)
    for row in (rows - 2, rows - 1):  # in the shared memory, and in the copied edge
        x[row] = (np.arange(columns) + row) % 7
        sliced = jax.jit(lambda borrowed, row=row: borrowed.slice_rows(row, 1))(borrowed(x))
        gathered = jax.jit(lambda borrowed, row=row: borrowed[jnp.array([row])])(borrowed(x))
        np.testing.assert_array_equal(np.asarray(sliced), x[row : row + 1])
        np.testing.assert_array_equal(np.asarray(gathered), x[row : row + 1])


@pytest.mark.parametrize("rows", [1000, 1001])
@pytest.mark.parametrize("block", [64, 250, 2000])
def test_sums_equal_those_of_the_array_bit_for_bit(rows, block):
    rng = np.random.default_rng(1)
    x, weights = rng.normal(size=(rows, 9)), rng.uniform(size=rows)
    sums = [
        jax.jit(lambda data: sum_over_blocks(lambda x, y, w: (w * y) @ x, data))(
            BlockedData(array, jax.device_put(x[:, 0]), jax.device_put(weights), block)
        )
        for array in (jax.device_put(x), borrowed(misalign(x, 1)), borrowed(misalign(x, 7)))
    ]
    np.testing.assert_allclose(sums[0], (weights * x[:, 0]) @ x, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(sums[1], sums[0])
    np.testing.assert_array_equal(sums[2], sums[0])


@pytest.mark.parametrize("loss", ["logistic", pytest.param("softmax", marks=pytest.mark.slow)])
def test_heads_are_the_same_at_every_alignment(loss, monkeypatch, compiles):
    monkeypatch.setattr(device_rows, "BORROWED_BYTES", 2**14)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3000, 6)).astype(np.float32)
    y = np.argmax(x[:, :3] + rng.gumbel(size=(3000, 3)), 1)
    y = y if loss == "softmax" else (y > 0).astype(int)

    scoring = "roc_auc_ovr" if loss == "softmax" else "roc_auc"

    def fit(x):
        return dlcore.fit_heads(x, y, loss=loss, l2=[1e-3, 1e-1], folds=3, standardize=True, scoring=scoring)

    copied = dlcore.fit_heads(misalign(x, 0), y, loss=loss, l2=[1e-3, 1e-1], folds=3, standardize=True)
    assert isinstance(device_rows.rows_to_device(misalign(x, 1)), BorrowedRows)
    first = fit(misalign(x, 1))
    assert (first.status == "converged").all()
    assert (first.fold_status == "converged").all()
    np.testing.assert_allclose(first.coef, copied.coef, rtol=1e-4, atol=1e-5)
    before = compiles()
    for entries in (4, 15):
        again = fit(misalign(x, entries))
        np.testing.assert_array_equal(again.coef, first.coef)
        np.testing.assert_array_equal(again.scores, first.scores)
    assert compiles() == before
