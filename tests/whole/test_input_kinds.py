"""Kinds of y and X: `fit_heads` and estimators give the coefficients of the NumPy form, or refuse by name.

Only torch and scikit-learn are optional: where they are not installed, their kinds are skipped.
"""

import datetime
import decimal
import functools
import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest
import scipy.sparse

from dlcore import Heads, fit_heads

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning"),
]

ROWS, FEATURES = 40, 3
RNG = np.random.default_rng(0)
X = RNG.integers(0, 7, (ROWS, FEATURES)).astype(np.float64)
CODES = (X[:, 0] + RNG.normal(size=ROWS) > 3).astype(int)
NAMES = np.array(["no", "yes"])[CODES]
P = 1 / (1 + np.exp(3 - X[:, 0]))

Refused = tuple[Any, str]
"""What comes, and the pattern of the message."""


def lib(name: str) -> Any:
    """Return an optional library."""
    return pytest.importorskip(name)


def objects(values: Any) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = list(values)
    return array


def with_entry(values: Any, entry: Any) -> list[Any]:
    return [*list(values)[:-1], entry]


def masked_series(entry: Any) -> Any:
    return series(with_entry(CODES.tolist(), entry), dtype="Int64")


NO_LABEL = "y: expected a label in every row, got none in row 39"
WIDTHS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
TABLE_DTYPES = ("f2", "f4", "f8", "i1", "u1", "i4", "u8", "g")


def series(values: Any, **given: Any) -> Any:
    return pandas.Series(values, **given)


def frame(values: Any, **given: Any) -> Any:
    return pandas.DataFrame(values, **given)


def polars_series(values: Any, **given: Any) -> Any:
    return polars.Series(values, **given)


RIGHT_Y: dict[str, Callable[[], Any]] = {
    "list": lambda: CODES.tolist(),
    "tuple": lambda: tuple(CODES.tolist()),
    "range of codes": lambda: list(map(int, CODES)),
    **{
        f"NumPy {kind}": lambda kind=kind: CODES.astype(kind)
        for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
    },
    "float labels": lambda: CODES.astype(np.float64),
    "float32 labels": lambda: CODES.astype(np.float32),
    "float16 labels": lambda: CODES.astype(np.float16),
    "-1 and +1": lambda: 2.0 * CODES - 1,
    "gaps": lambda: 10 * CODES + 5,
    "booleans": lambda: CODES.astype(bool),
    "list of booleans": lambda: CODES.astype(bool).tolist(),
    "big-endian": lambda: CODES.astype(">i4"),
    "strided": lambda: np.repeat(CODES, 2)[::2],
    "read-only": lambda: np.frombuffer(CODES.astype(np.int64).tobytes(), np.int64),
    "strings": lambda: NAMES,
    "list of strings": lambda: NAMES.tolist(),
    "bytes": lambda: NAMES.astype("S"),
    "objects of strings": lambda: NAMES.astype(object),
    "objects of bytes": lambda: objects([name.encode() for name in NAMES.tolist()]),
    "objects of numbers": lambda: CODES.astype(object),
    "NumPy's variable-width strings": lambda: NAMES.astype(np.dtypes.StringDType()),
    "JAX": lambda: jax.device_put(CODES.astype(np.int32)),
    "Arrow numbers": lambda: pa.array(CODES),
    "Arrow booleans": lambda: pa.array(CODES.astype(bool)),
    "Arrow strings": lambda: pa.array(NAMES.tolist()),
    "Arrow large strings": lambda: pa.array(NAMES.tolist(), pa.large_string()),
    "Arrow dictionary": lambda: pa.array(NAMES.tolist()).dictionary_encode(),
    "Arrow chunks": lambda: pa.chunked_array([CODES[:7], CODES[7:]]),
    "Arrow chunks of dictionaries": lambda: pa.chunked_array([pa.array(NAMES.tolist()).dictionary_encode()]),
    "pandas numbers": lambda: series(CODES, index=np.arange(ROWS)[::-1]),
    "pandas strings": lambda: series(NAMES),
    "pandas objects": lambda: series(NAMES, dtype=object),
    "pandas Arrow strings": lambda: series(NAMES, dtype="string[pyarrow]"),
    "pandas category": lambda: series(NAMES, dtype="category"),
    "pandas ordered category": lambda: series(pandas.Categorical(NAMES, ["yes", "no"], ordered=True)),
    "pandas Categorical": lambda: pandas.Categorical(NAMES),
    "pandas category of numbers": lambda: series(CODES + 4).astype("category"),
    "pandas Int64": lambda: series(CODES, dtype="Int64"),
    "pandas boolean": lambda: series(CODES.astype(bool), dtype="boolean"),
    "pandas Index": lambda: pandas.Index(NAMES),
    "polars numbers": lambda: polars_series(CODES),
    "polars strings": lambda: polars_series(NAMES.tolist()),
    "polars Categorical": lambda: polars_series(NAMES.tolist(), dtype=polars.Categorical),
    "polars Enum": lambda: polars_series(NAMES.tolist(), dtype=polars.Enum(["yes", "no"])),
    "polars booleans": lambda: polars_series(CODES.astype(bool)),
    "torch": lambda: lib("torch").tensor(CODES),
    "torch booleans": lambda: lib("torch").tensor(CODES.astype(bool)),
    "column of targets": lambda: CODES[:, None],
}
"""Forms of the same two classes."""

WRONG_Y: dict[str, tuple[Callable[[], Any], str]] = {
    "None": (lambda: None, "y: expected an array, got None"),
    "scalar": (lambda: 1, "y: expected an array with a row per example, got a scalar"),
    "empty": (list, "one row per example in each of x, y, but x has 40, y has 0"),
    "short": (lambda: CODES[:-1], "x has 40, y has 39"),
    "missing string": (
        lambda: with_entry(NAMES.tolist(), None),
        NO_LABEL,
    ),
    "mixed": (lambda: with_entry(NAMES.tolist(), 3), "y: expected labels of one type, got strings and int 3"),
    "nan": (lambda: with_entry(CODES.tolist(), np.nan), "y: expected finite numbers, got nan"),
    "infinity": (lambda: with_entry(CODES.tolist(), np.inf), "y: expected finite numbers, got infinity"),
    "nan among strings": (
        lambda: objects(with_entry(NAMES.tolist(), np.nan)),
        NO_LABEL,
    ),
    "continuous": (lambda: X[:, 0] + 0.25, r"y: expected labels, whole numbers or strings"),
    "one class": (lambda: np.ones(ROWS), "y: expected two classes in rows of positive weight, got only 1"),
    "three classes": (lambda: np.arange(ROWS) % 3, "y: expected two classes.*loss='softmax' takes several"),
    "datetime": (
        lambda: CODES.astype("datetime64[D]"),
        r"y: expected labels, .*, got dtype datetime64\[D\]; pass y.astype\(str\)",
    ),
    "list of dates": (
        lambda: [datetime.date(2026, 1, 1 + code) for code in CODES.tolist()],
        "y: expected numbers, got datetime.date",
    ),
    "complex": (lambda: CODES + 0j, "y: complex numbers are not supported"),
    "ragged": (lambda: with_entry([[code] for code in CODES], [1, 2]), "y: expected a rectangular array"),
    "masked": (lambda: np.ma.masked_equal(CODES, 5), "y: masked arrays are not supported"),
    "matrix": (lambda: np.matrix(CODES), r"y: np.matrix is not supported, pass np.asarray\(y\)"),
    "sparse": (
        lambda: scipy.sparse.csr_array(CODES[None]),
        r"y: sparse input is not supported here, pass y.toarray\(\)",
    ),
    "structured": (lambda: np.zeros(ROWS, [("a", "i4")]), "y: expected"),
    "dictionary": (lambda: {"y": CODES}, "y: expected"),
    "set": (lambda: {0, 1}, "y: expected"),
    "string": (lambda: "yes", "y: expected an array with a row per example, got a scalar"),
    "Arrow missing": (
        lambda: pa.array(with_entry(NAMES.tolist(), None)),
        NO_LABEL,
    ),
    "pandas missing number": (
        lambda: masked_series(None),
        r"y: expected finite numbers, got nan \(first at index \(39,\)\)",
    ),
    "pandas missing boolean": (
        lambda: series(with_entry(CODES.astype(bool).tolist(), None), dtype="boolean"),
        NO_LABEL,
    ),
    "pandas missing category": (
        lambda: series(with_entry(NAMES.tolist(), None), dtype="category"),
        NO_LABEL,
    ),
    "polars missing": (
        lambda: polars_series(with_entry(NAMES.tolist(), None)),
        NO_LABEL,
    ),
    "polars missing number": (lambda: polars_series(with_entry(CODES.tolist(), None)), "y: expected"),
    "pandas datetime": (
        lambda: series(CODES.astype("datetime64[s]")),
        "y: expected labels, .*, got dtype datetime64",
    ),
    "3-D": (lambda: CODES[:, None, None], "y: expected .*3-D|y: expected .n., got"),
}

RIGHT_X: dict[str, Callable[[], Any]] = {
    "list": lambda: X.tolist(),
    "tuple of tuples": lambda: tuple(map(tuple, X.tolist())),
    "list of arrays": lambda: list(X),
    **{
        f"NumPy {kind}": lambda kind=kind: X.astype(kind)
        for kind in ("f2", "f4", "f8", "i1", "u1", "i4", "u8", "g")
    },
    "bfloat16": lambda: X.astype(ml_dtypes.bfloat16),
    "booleans": lambda: X > 3,
    "big-endian": lambda: X.astype(">f8"),
    "big-endian integers": lambda: X.astype(">i2"),
    "strided": lambda: np.repeat(X, 2, axis=1)[:, ::2],
    "negative strides": lambda: X[::-1, ::-1][::-1, ::-1],
    "read-only": lambda: np.frombuffer(X.tobytes()).reshape(X.shape),
    "Fortran": lambda: np.asfortranarray(X),
    "objects": lambda: X.astype(object),
    "objects of mixed numbers": lambda: objects(
        [objects([int(a), float(b), np.float32(c)]) for a, b, c in X]
    ).tolist(),
    "NumPy subclass": lambda: X.view(type("Table", (np.ndarray,), {})),
    "CSR matrix": lambda: scipy.sparse.csr_matrix(X),
    "CSR array": lambda: scipy.sparse.csr_array(X),
    "CSC matrix": lambda: scipy.sparse.csc_matrix(X),
    "CSC array": lambda: scipy.sparse.csc_array(X),
    "COO matrix": lambda: scipy.sparse.coo_matrix(X),
    "COO array": lambda: scipy.sparse.coo_array(X),
    "sparse integers": lambda: scipy.sparse.csr_array(X.astype(np.int32)),
    "JAX": lambda: jax.device_put(X.astype(np.float32)),
    "Arrow table": lambda: pa.table(dict(zip("abc", X.T, strict=True))),
    "Arrow record batch": lambda: pa.record_batch(dict(zip("abc", X.T, strict=True))),
    "Arrow table of mixed numbers": lambda: pa.table(
        {"a": X[:, 0].astype("i4"), "b": X[:, 1].astype("f4"), "c": X[:, 2]}
    ),
    "pandas": lambda: frame(X, columns=list("abc"), index=np.arange(ROWS)[::-1]),
    "pandas of mixed numbers": lambda: frame({"a": X[:, 0].astype(int), "b": X[:, 1], "c": X[:, 2].astype("f4")}),
    "pandas nullable": lambda: frame(X, columns=list("abc")).astype("Float64"),
    "pandas numbered columns": lambda: frame(X),
    "pandas Arrow numbers": lambda: frame(X, columns=list("abc")).astype("double[pyarrow]"),
    "polars": lambda: polars.DataFrame(X, schema=list("abc")),
    "polars of mixed numbers": lambda: polars.DataFrame({"a": X[:, 0].astype(int), "b": X[:, 1], "c": X[:, 2]}),
    "torch": lambda: lib("torch").tensor(X),
    "torch with gradient": lambda: lib("torch").tensor(X, requires_grad=True),
    "torch half": lambda: lib("torch").tensor(X).half(),
    "torch bfloat16": lambda: lib("torch").tensor(X).bfloat16(),
    "torch transposed": lambda: lib("torch").tensor(X.T.copy()).T,
}
"""Forms of the same table. `memmap` has a test of its own."""

WRONG_X: dict[str, tuple[Callable[[], Any], str]] = {
    "None": (lambda: None, "x: expected an array, got None"),
    "scalar": (lambda: 1.0, r"x: expected 2-D \[n, features\], got 0-D"),
    "1-D": (lambda: X[:, 0], r"x: expected 2-D \[n, features\], got 1-D.*x\[:, None\]"),
    "3-D": (lambda: X[None], r"x: expected 2-D \[n, features\], got 3-D"),
    "no rows": (lambda: X[:0], "x: expected at least one row and one column"),
    "no columns": (lambda: X[:, :0], "x: expected at least one row and one column"),
    "nan": (lambda: np.where(X[3, 1] == X, np.nan, X), "x: expected finite numbers, got nan"),
    "infinity": (lambda: np.where(X[3, 1] == X, np.inf, X), "x: expected finite numbers, got infinity"),
    "complex": (lambda: X + 0j, "x: complex numbers are not supported"),
    "strings": (lambda: X.astype(str), "x: expected numbers, got dtype <U"),
    "numeric strings in objects": (lambda: X.astype(str).astype(object), "x: expected numbers, got '"),
    "None inside": (
        lambda: [[None, 1.0, 2.0]] * ROWS,
        r"x: expected numbers, got None \(first at index \(0, 0\)\)",
    ),
    "decimals": (lambda: [[decimal.Decimal(1)] * 3] * ROWS, "x: expected numbers, got Decimal"),
    "datetime": (lambda: X.astype("datetime64[s]"), "x: expected numbers, got dtype datetime64"),
    "timedelta": (lambda: X.astype("timedelta64[s]"), "x: expected numbers, got dtype timedelta64"),
    "ragged": (lambda: [[1.0], [1.0, 2.0]] * 20, "x: expected a rectangular array"),
    "matrix": (lambda: np.matrix(X), r"x: np.matrix is not supported, pass np.asarray\(x\)"),
    "masked": (lambda: np.ma.masked_equal(X, 3), "x: masked arrays are not supported"),
    "structured": (lambda: np.zeros(ROWS, [("a", "f8"), ("b", "f8")]), "x: expected"),
    "dictionary": (lambda: {"a": X[:, 0]}, "x: expected"),
    "generator": (lambda: (row for row in X), "x: expected"),
    "sparse complex": (lambda: scipy.sparse.csr_array(X + 0j), "x: expected real numbers"),
    "sparse nan": (lambda: scipy.sparse.csr_array(np.where(X > 5, np.nan, X)), "x: expected finite numbers"),
    "Arrow strings": (lambda: pa.table({"a": NAMES.tolist(), "b": X[:, 0]}), "x: expected numbers, got"),
    "Arrow missing": (
        lambda: pa.table({"a": with_entry(X[:, 0].tolist(), None), "b": X[:, 0]}),
        "x: expected (finite )?numbers, got",
    ),
    "pandas strings": (lambda: frame({"a": NAMES, "b": X[:, 0]}), "x: expected numbers, got"),
    "pandas category": (
        lambda: frame({"a": pandas.Categorical(NAMES), "b": X[:, 0]}),
        "x: expected numbers, got",
    ),
    "pandas NA": (
        lambda: frame({"a": masked_series(None), "b": X[:, 0]}),
        "x: expected (finite )?numbers, got",
    ),
    "pandas datetime": (
        lambda: frame({"a": CODES.astype("datetime64[s]")}),
        "x: expected numbers, got",
    ),
    "polars strings": (
        lambda: polars.DataFrame({"a": NAMES.tolist(), "b": X[:, 0]}),
        "x: expected numbers, got",
    ),
    "polars missing": (
        lambda: polars.DataFrame({"a": with_entry(X[:, 0].tolist(), None)}),
        "x: expected (finite )?numbers, got",
    ),
    "torch complex": (lambda: lib("torch").tensor(X + 0j), "x: complex numbers are not supported"),
    "torch sparse": (
        lambda: lib("torch").tensor(X).to_sparse(),
        r"x: sparse input is not supported here, pass x.to_dense\(\)",
    ),
}


def heads_of(x: Any, y: Any) -> Heads:
    return fit_heads(x, y, l2=0.1)


@functools.cache
def expected() -> np.ndarray:
    return heads_of(X, CODES).coef


@functools.cache
def of_booleans() -> np.ndarray:
    return heads_of((X > 3).astype(float), CODES).coef


def coefficients_of(x_kind: str) -> np.ndarray:
    return of_booleans() if x_kind == "booleans" else expected()


@pytest.mark.parametrize("kind", RIGHT_Y)
def test_labels_of_this_kind_are_right(kind):
    y = RIGHT_Y[kind]()
    heads = heads_of(X, y)
    np.testing.assert_array_equal(heads.coef.reshape(1, -1), expected())
    classes = heads.classes_
    assert len(classes) == 2
    assert set(heads.predict(X).ravel().tolist()) <= set(classes.tolist())


@pytest.mark.parametrize("kind", WRONG_Y)
def test_labels_of_this_kind_are_refused(kind, compiles):
    make, message = WRONG_Y[kind]
    y, first = make(), compiles()
    with pytest.raises((TypeError, ValueError), match=message):
        heads_of(X, y)
    assert compiles() == first


@pytest.mark.parametrize("kind", RIGHT_X)
def test_tables_of_this_kind_are_right(kind):
    heads = heads_of(RIGHT_X[kind](), CODES)
    np.testing.assert_allclose(heads.coef, coefficients_of(kind), rtol=1e-5)
    p = heads.predict_proba(RIGHT_X[kind]())
    np.testing.assert_allclose(
        p, heads.predict_proba(np.asarray(X > 3 if kind == "booleans" else X, float)), rtol=1e-12
    )


def test_a_table_on_disk_is_right(tmp_path: Path):
    np.save(tmp_path / "x.npy", X)
    np.testing.assert_array_equal(heads_of(np.load(tmp_path / "x.npy", mmap_mode="r"), CODES).coef, expected())


@pytest.mark.parametrize("kind", WRONG_X)
def test_tables_of_this_kind_are_refused(kind, compiles):
    make, message = WRONG_X[kind]
    x, first = make(), compiles()
    with pytest.raises((TypeError, ValueError), match=message):
        heads_of(x, CODES)
    assert compiles() == first


# -- estimators ----------------------------------------------------------------------------------------------

ESTIMATORS = ("LogisticRegression", "Ridge")
ACCIDENTS = {("Ridge", f"y, {kind}") for kind in ("datetime", "pandas datetime", "structured")}
"""Targets that scikit-learn takes for numbers without saying so, and that are refused here."""


def outcome(module: str, name: str, x: Any, y: Any) -> np.ndarray | Exception:
    """Return the coefficients of an estimator, or the error that it raises."""
    lib("sklearn")
    model = getattr(importlib.import_module(module), name)()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return model.fit(x, y).coef_
        except Exception as error:
            return error


def check_as_scikit_learn(name: str, kind: str, x: Callable[[], Any], y: Callable[[], Any]) -> None:
    """Assert that an estimator takes what scikit-learn's takes, and refuses the rest with a usual error."""
    found = outcome("dlcore.sklearn", name, x(), y())
    theirs = outcome("sklearn.linear_model", name, x(), y())
    if isinstance(theirs, Exception):
        if isinstance(found, Exception):
            assert isinstance(found, (TypeError, ValueError)), repr(found)
        return
    if (name, kind) in ACCIDENTS:
        assert isinstance(found, TypeError)
        return
    assert not isinstance(found, Exception), repr(found)
    np.testing.assert_allclose(found, theirs, rtol=0, atol=2e-3)


@pytest.mark.parametrize("kind", [*RIGHT_Y, *WRONG_Y])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_take_the_labels_that_scikit_learn_takes(name, kind):
    make = RIGHT_Y[kind] if kind in RIGHT_Y else WRONG_Y[kind][0]
    check_as_scikit_learn(name, f"y, {kind}", lambda: X, make)


@pytest.mark.parametrize("kind", [*RIGHT_X, *WRONG_X])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_take_the_tables_that_scikit_learn_takes(name, kind):
    make = RIGHT_X[kind] if kind in RIGHT_X else WRONG_X[kind][0]
    check_as_scikit_learn(name, kind, make, lambda: CODES)
