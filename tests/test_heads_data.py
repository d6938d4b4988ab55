"""Features of `fit_heads` in halves, on disk, in sparse tables, of other libraries: held once, in their dtype."""

import functools
import threading
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import scipy.sparse

from dlcore import certify, fit_heads
from dlcore._sparse import SparseRows
from dlcore.heads import exact, inputs, laps, placing, softmax

pytestmark = pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning")

LOSSES = ("logistic", "softmax", "squared")


@functools.cache
def table(rows: int = 200, columns: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(columns)
    x = rng.normal(size=(rows, columns)) * (rng.uniform(size=(rows, columns)) < 0.4)
    return np.round(8 * x).astype(np.float32) / 8, (x[:, 0] + rng.logistic(size=rows) > 0).astype(int)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("form", [scipy.sparse.csr_matrix, scipy.sparse.coo_array, scipy.sparse.csc_array])
def test_sparse_tables_give_what_dense_ones_give(loss, form, monkeypatch):
    """Bit for bit; no more than a block is dense on the host; in folds, standardised, on a validation set."""
    x, y = table()
    asked = []
    take = SparseRows.__getitem__
    monkeypatch.setattr(SparseRows, "__getitem__", lambda self, rows: asked.append(take(self, rows)) or asked[-1])
    monkeypatch.setattr(placing, "DENSE_BYTES", 4 * 6 * 64)
    for options in ({"standardize": True, "folds": 3}, {"validation": (x[:50], y[:50])}):
        given: dict[str, Any] = {"loss": loss, "l2": [1e-3, 0.1], **options}
        sparse: dict[str, Any] = given | (
            {"validation": (form(x[:50]), y[:50])} if "validation" in options else {}
        )
        heads, dense = fit_heads(form(x), y, **sparse), fit_heads(x, y, **given)
        np.testing.assert_array_equal(heads.coef, dense.coef)
        np.testing.assert_array_equal(heads.scores, dense.scores)
        np.testing.assert_array_equal(heads.certificate.gap, dense.certificate.gap)
        assert set(heads.status) == {"converged"}
    assert asked
    assert {block.dtype for block in asked} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(certify(heads, form(x), y).gap, certify(heads, x, y).gap)
    assert {block.shape[1:] for block in asked} == {(6,)}
    rows = SparseRows("x", form(x))
    asked.clear()
    with jax.enable_x64(True):
        np.testing.assert_array_equal(placing.on_device(rows), x)
    assert max(map(len, asked)) == 64


def test_a_sparse_table_of_fewer_rows_than_columns():
    x, y = table(30, 50)
    for loss in LOSSES:
        heads, dense = (fit_heads(form(x), y, loss=loss, l2=0.1) for form in (scipy.sparse.csr_array, np.asarray))
        np.testing.assert_array_equal(heads.coef, dense.coef)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_tensors_of_torch(loss, dtype):
    """Read where they lie, bfloat16 and strided ones and such as want gradients too."""
    torch = pytest.importorskip("torch")
    x, y = table()
    x = np.round(x)
    tensor = torch.tensor(x).to(getattr(torch, dtype))
    lent = placing.shared(tensor)
    assert lent.unsafe_buffer_pointer() == tensor.data_ptr()
    assert lent.dtype.name == dtype
    if dtype == "float64":
        tensor.requires_grad_()
    target = torch.tensor(y)
    given: dict[str, Any] = {"loss": loss, "l2": [1e-2], "folds": 2}
    heads = fit_heads(tensor, target, sample_weight=torch.ones(200), **given)
    expected = fit_heads(np.asarray(lent), y, **given)
    np.testing.assert_allclose(heads.coef, expected.coef, rtol=1e-9, atol=1e-12)
    strided = fit_heads(torch.stack([tensor, tensor], dim=2)[:, :, 1], target, **given)
    np.testing.assert_allclose(strided.coef, expected.coef, rtol=1e-9, atol=1e-12)
    assert set(heads.status) == {"converged"}
    if dtype == "bfloat16":
        with pytest.raises(TypeError, match=r"x: expected a tensor that NumPy reads, got .*BFloat16"):
            certify(heads, tensor, y)


@pytest.mark.parametrize(("loss", "dtype"), [(loss, "bfloat16") for loss in LOSSES] + [("logistic", "float16")])
def test_halves_stay_halves(loss, dtype, monkeypatch):
    """No program needs room for a copy of the rows, and no other array of their size is made."""
    rng = np.random.default_rng(0)
    n, m = 100_000, 24
    with jax.enable_x64(True):
        x = jax.numpy.asarray(rng.normal(size=(n, m)).astype(np.float32)).astype(dtype)
    y = (np.asarray(x[:, 0]).astype(float) + rng.logistic(size=n) > 0).astype(int)
    room, large = [], []

    def watched(program):
        def run(*arguments, **choices):
            compiled = program.lower(*arguments, **choices).compile()
            room.append(compiled.memory_analysis().temp_size_in_bytes)
            large.append([a for a in jax.live_arrays() if a.size >= n * m])
            return compiled(*arguments)

        return run

    programs = [(laps, "_all_laps"), (softmax, "descend"), (softmax, "metric_of")]
    for module, name in [*programs, (inputs, "column_scales")]:
        monkeypatch.setattr(module, name, watched(getattr(module, name)))
    if loss == "squared":
        step = exact.Streamed._sum

        def watching(self, index):
            large.append([a for a in jax.live_arrays() if a.size >= n * m])
            room.append(0)
            return step(self, index)

        monkeypatch.setattr(exact.Streamed, "_sum", watching)
    heads = fit_heads(x, y, loss=loss, l2=0.1, tol=1e-3, standardize=True)
    assert set(heads.status) == {"converged"}
    assert max(room) < 2 * n * m
    assert all(
        [a is x or a.unsafe_buffer_pointer() == x.unsafe_buffer_pointer() for a in found] for found in large
    )
    assert {a.dtype.name for found in large for a in found} == {dtype}


def anonymous_bytes() -> int:
    """Memory of this process that no file stands behind."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_features_on_disk_are_not_copied_to_memory(loss, tmp_path):
    """What a second fit adds to the memory of the process stays far below the size of the table."""
    if not Path("/proc/self/status").exists() or jax.default_backend() != "cpu":
        pytest.skip("asks Linux for the memory of the process, which the device must share")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100_000, 64)).astype(np.float32)
    y = (x[:, 0] + rng.logistic(size=len(x)) > 0).astype(int)
    np.save(tmp_path / "x.npy", x)
    size = x.nbytes
    del x
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    given: dict[str, Any] = {"loss": loss, "l2": [1e-2, 1.0], "tol": 1e-3}
    fit_heads(mapped, y, **given)
    before, most, ended = anonymous_bytes(), [0], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            most[0] = max(most[0], anonymous_bytes())
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    heads = fit_heads(mapped, y, **given)
    ended.set()
    watcher.join()
    assert set(heads.status) == {"converged"}
    assert most[0] - before < 0.6 * size


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"x": scipy.sparse.csr_array(np.eye(12) * np.nan)}, ValueError, "x: expected finite numbers"),
        ({"x": scipy.sparse.csr_array(np.eye(12) * 1j)}, TypeError, "x: expected real numbers"),
        ({"x": scipy.sparse.csr_array(np.eye(11))}, ValueError, "x has 11, y has 12"),
        ({"x": scipy.sparse.csr_array((12, 0))}, ValueError, "x: expected at least one row and one column"),
        ({"x": scipy.sparse.coo_array(np.ones(12))}, ValueError, r"x: expected 2-D \[n, features\]"),
        ({"y": scipy.sparse.csr_array(np.ones((12, 1)))}, TypeError, "y: sparse input is not supported"),
        ({"sample_weight": scipy.sparse.csr_array(np.ones((12, 1)))}, TypeError, "sample_weight: sparse input"),
    ],
)
def test_wrong_input_is_named_before_anything_is_compiled(changed, error, message, compiles):
    arguments: dict[str, Any] = {"x": np.eye(12), "y": np.arange(12) % 2, "l2": 0.1} | changed
    with pytest.raises(error, match=message):
        fit_heads(**arguments)
    assert compiles() == 0
