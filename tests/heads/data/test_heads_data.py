"""Features of `fit_heads` in halves, on disk, in sparse tables, of other libraries: held once, in their dtype."""

import functools
import tracemalloc
from typing import Any

import jax
import jax.experimental.sparse
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from helpers import memory_added

from dlcore import LinearHeads, Objective, certify, descent, fit, fit_heads
from dlcore.certificate import data_report
from dlcore.losses import sigmoid_cross_entropy
from dlcore.models import logistic

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]

LOSSES = ("logistic", "softmax", "squared")


@functools.cache
def table(rows: int = 200, columns: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(columns)
    x = rng.normal(size=(rows, columns)) * (rng.uniform(size=(rows, columns)) < 0.4)
    return np.round(8 * x).astype(np.float32) / 8, (x[:, 0] + rng.logistic(size=rows) > 0).astype(int)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("form", [scipy.sparse.csr_matrix, scipy.sparse.coo_array, scipy.sparse.csc_array])
def test_sparse_tables_give_what_dense_ones_give(loss, form):
    """Bit for bit; in folds, standardised, on a validation set."""
    x, y = table()
    for options in ({"standardize": True, "folds": 3}, {"validation": (x[:50], y[:50])}):
        given: dict[str, Any] = {"loss": loss, "l2": [1e-4, 1e-3, 1e-2, 0.1, 1.0], **options}
        sparse: dict[str, Any] = given | (
            {"validation": (form(x[:50]), y[:50])} if "validation" in options else {}
        )
        heads, dense = fit_heads(form(x), y, **sparse), fit_heads(x, y, **given)
        np.testing.assert_array_equal(heads.coef, dense.coef)
        np.testing.assert_array_equal(heads.scores, dense.scores)
        np.testing.assert_array_equal(heads.certificate.gap, dense.certificate.gap)
        assert set(heads.status) == {"converged"}
    np.testing.assert_array_equal(certify(heads, form(x), y).gap, certify(heads, x, y).gap)


@pytest.mark.slow
def test_a_sparse_table_is_dense_on_the_host_a_block_at_a_time():
    """Read six blocks, of which the last overlaps. The whole table would be 96 MB in NumPy's memory."""
    rng = np.random.default_rng(0)
    x: Any = scipy.sparse.random_array((60_001, 400), density=0.0025, format="csr", dtype=np.float32, rng=rng)
    y = (x[:, [0]].toarray()[:, 0] + rng.logistic(size=x.shape[0]) > 0).astype(int)
    given: dict[str, Any] = {"l2": [0.1], "max_steps": 1}
    dense = fit_heads(x.toarray(), y, **given)  # before: what is compiled under tracemalloc takes very long
    tracemalloc.start()
    heads = fit_heads(x, y, **given)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 48e6
    np.testing.assert_array_equal(heads.coef, dense.coef)


def test_a_sparse_table_of_fewer_rows_than_columns():
    x, y = table(30, 50)
    for loss in LOSSES:
        heads, dense = (fit_heads(form(x), y, loss=loss, l2=0.1) for form in (scipy.sparse.csr_array, np.asarray))
        np.testing.assert_array_equal(heads.coef, dense.coef)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_tensors_of_torch(loss, dtype):
    """Bfloat16 and strided ones and such as want gradients too."""
    torch = pytest.importorskip("torch")
    x, y = table()
    x = np.round(x)
    tensor = torch.tensor(x).to(getattr(torch, dtype))
    with jax.enable_x64(True):
        same = jnp.asarray(x).astype(dtype)
    if dtype == "float64":
        tensor.requires_grad_()
    target = torch.tensor(y)
    given: dict[str, Any] = {"loss": loss, "l2": [1e-2], "folds": 2}
    heads = fit_heads(tensor, target, sample_weight=torch.ones(200), **given)
    expected = fit_heads(np.asarray(same), y, **given)
    np.testing.assert_allclose(heads.coef, expected.coef, rtol=1e-9, atol=1e-12)
    strided = fit_heads(torch.stack([tensor, tensor], dim=2)[:, :, 1], target, **given)
    np.testing.assert_allclose(strided.coef, expected.coef, rtol=1e-9, atol=1e-12)
    assert set(heads.status) == {"converged"}
    if dtype == "bfloat16":
        with pytest.raises(
            TypeError, match=r"x: expected a tensor that NumPy reads, got .*; pass x.cpu\(\).float\(\)"
        ):
            certify(heads, tensor, y)


class Tensor:
    """The least of a sparse tensor of torch: a layout, and no numbers for NumPy."""

    layout = "torch.sparse_csr"
    shape = (12, 12)

    def detach(self):
        return self

    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert Sparse layout tensor to numpy")

    def __dlpack__(self, **options):
        raise BufferError("Can't export tensors with layout other than torch.strided")


class Coordinates:
    """The least of a sparse array of JAX's or pydata's, which NumPy takes for an object or refuses."""

    nse = nnz = 3
    shape = (12, 12)

    def todense(self):
        return np.eye(12)

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Cannot convert a sparse array to dense automatically")


def tensors_of_torch() -> list[Any]:
    torch = pytest.importorskip("torch")
    x = torch.eye(12)
    return [x.to_sparse(), x.to_sparse_csr(), x.to_sparse_csc(), x.to_sparse_bsr((2, 2))]


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta state")
@pytest.mark.parametrize(
    ("make", "call"),
    [
        (lambda: [Tensor()], r"to_dense\(\)"),
        (tensors_of_torch, r"to_dense\(\)"),
        (lambda: [Coordinates()], r"todense\(\)"),
        (lambda: [jax.experimental.sparse.BCOO.fromdense(jnp.eye(12))], r"todense\(\)"),
    ],
    ids=["torch-like", "torch", "pydata-like", "jax"],
)
def test_sparse_tables_of_other_libraries_say_how_they_become_dense(make, call):
    y, heads = np.arange(12) % 2, LinearHeads(np.zeros(12), 0.0, 0.1)
    objective = Objective(logistic, sigmoid_cross_entropy)
    rule = descent.gradient_descent(0.1)
    with jax.enable_x64(True):
        tables = make()
    for x in tables:
        wanted = rf"^x: sparse input is not supported here, pass x.{call} or a sparse table of SciPy's$"
        for use in (
            lambda x: fit_heads(x, y, l2=0.1),
            lambda x: certify(heads, x, y),
            lambda x: data_report(x, y),
        ):
            with pytest.raises(TypeError, match=wanted):
                use(x)
        with pytest.raises(TypeError, match=rf"^x: sparse input is not supported here, pass x.{call}$"):
            fit(objective, (x, y), rule)
        with pytest.raises(TypeError, match=rf"^y: sparse input is not supported here, pass y.{call}$"):
            fit_heads(np.eye(12), x, l2=0.1)


def test_a_tensor_that_numpy_cannot_read_says_what_to_pass():
    class Elsewhere(Tensor):
        layout = "torch.strided"

        def __array__(self, dtype=None, copy=None):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")

    for use in (
        lambda x, y: fit_heads(x, y, l2=0.1),
        lambda x, y: certify(LinearHeads(np.zeros(12), 0.0, 0.1), x, y),
    ):
        with pytest.raises(
            TypeError, match=r"^x: expected a tensor that NumPy reads, got .*cuda:0.*; pass x.cpu\(\)"
        ):
            use(Elsewhere(), np.arange(12) % 2)


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "dtype"), [(loss, "bfloat16") for loss in LOSSES] + [("logistic", "float16")])
def test_halves_stay_halves(loss, dtype):
    """A second fit adds less than the table to the memory of the process; in float32 that is twice as large."""
    rng = np.random.default_rng(0)
    n, m = 150_000, 64
    with jax.enable_x64(True):
        x = jnp.asarray(rng.normal(size=(n, m)).astype(np.float32)).astype(dtype)
    y = (np.asarray(x)[:, 0].astype(float) + rng.logistic(size=n) > 0).astype(int)
    given: dict[str, Any] = {"loss": loss, "l2": 0.1, "max_steps": 3, "standardize": True}
    fit_heads(x, y, **given)
    _, added = memory_added(lambda: fit_heads(x, y, **given))
    assert added < x.nbytes


@pytest.mark.parametrize("loss", [pytest.param("logistic", marks=pytest.mark.slow), "squared"])
def test_features_on_disk_are_not_copied_to_memory(loss, tmp_path):
    """A second fit adds far less than the size of the table to the memory of the process."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100_000, 64)).astype(np.float32)
    y = (x[:, 0] + rng.logistic(size=len(x)) > 0).astype(int)
    np.save(tmp_path / "x.npy", x)
    size = x.nbytes
    del x
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    given: dict[str, Any] = {"loss": loss, "l2": [1e-2, 1.0], "tol": 1e-3}
    fit_heads(mapped, y, **given)
    heads, added = memory_added(lambda: fit_heads(mapped, y, **given))
    assert set(heads.status) == {"converged"}
    assert added < 0.6 * size


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
