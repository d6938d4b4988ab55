"""Labels of any kind, and the codes of their classes."""

from typing import Any

import jax
import numpy as np
import pandas
import polars
import pyarrow
import pytest

from dlcore._core.labels import codes_of, read_labels, shown

pytestmark = pytest.mark.any_mode

NAMES = ["dog", "cat", "dog", "eel"]
CODES = [1, 0, 1, 2]
MAX_INT = 2**53

STRINGS = {
    "list": NAMES,
    "tuple": tuple(NAMES),
    "array": np.array(NAMES),
    "objects": np.array(NAMES, object),
    "bytes": np.array(NAMES, "S"),
    "objects of bytes": np.array([name.encode() for name in NAMES], object),
    "NumPy's strings": [np.str_(name) for name in NAMES],
    "Arrow": pyarrow.array(NAMES),
    "Arrow, a dictionary": pyarrow.array(NAMES).dictionary_encode(),
    "Arrow, chunks": pyarrow.chunked_array([NAMES[:1], NAMES[1:]]),
    "Arrow, chunks of dictionaries": pyarrow.chunked_array([pyarrow.array(NAMES).dictionary_encode()]),
}
NUMBERS = {
    "gaps": ([7, 3, 7, 11], [3, 7, 11]),
    "-1 and 1": ([1, -1, 1, 1], [-1, 1]),
    "booleans": ([True, False, True, True], [False, True]),
    "whole floats": ([2.0, 0.0, 2.0, 5.0], [0, 2, 5]),
    "bytes": (np.array([200, 3, 200, 201], np.uint8), [3, 200, 201]),
    "objects": (np.array([7, 3, 7, 11], object), [3, 7, 11]),
    "Arrow": (pyarrow.array([7, 3, 7, 11]), [3, 7, 11]),
    "JAX": (jax.device_put(np.array([7, 3, 7, 11], np.int32)), [3, 7, 11]),
}


@pytest.mark.parametrize("kind", STRINGS)
def test_strings(kind):
    codes, classes = read_labels("y", STRINGS[kind])
    assert codes.tolist() == CODES
    assert classes.tolist() == ["cat", "dog", "eel"]
    assert classes.dtype.kind == "U"
    assert codes_of("y", STRINGS[kind], classes).tolist() == CODES


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers(kind):
    y, expected = NUMBERS[kind]
    codes, classes = read_labels("y", y)
    assert classes.tolist() == expected
    assert classes[codes].tolist() == np.asarray(y).tolist()
    assert codes_of("y", y, classes).tolist() == codes.tolist()


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames(kind):
    library: Any = {"pandas": pandas, "polars": polars}[kind]
    dtypes = ["category", "string", object] if kind == "pandas" else [library.Categorical, library.String]
    for dtype in dtypes:
        codes, classes = read_labels("y", library.Series(NAMES, dtype=dtype))
        assert (codes.tolist(), classes.tolist()) == (CODES, ["cat", "dog", "eel"])


def test_labels_of_any_shape():
    codes, classes = read_labels("y", np.array(NAMES).reshape(2, 2))
    assert codes.tolist() == [[1, 0], [1, 2]]
    assert classes[codes].tolist() == [["dog", "cat"], ["dog", "eel"]]


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([None, "a"], ValueError, "y: expected a label in every row, got none in row 0"),
        (["a", float("nan")], ValueError, "y: expected a label in every row, got none in row 1"),
        (np.array(["a", np.nan], object), ValueError, "y: expected a label in every row, got none in row 1"),
        (pyarrow.array(["a", None]), ValueError, "y: expected a label in every row, got none in row 1"),
        ([1, "a"], TypeError, "y: expected labels of one type, got strings and int 1"),
        (np.array([1, "a"], object), TypeError, "y: expected labels of one type, got strings and int 1"),
        ([0.5, 1.0], ValueError, "y: expected labels, whole numbers or strings, got 0.5"),
        ([np.inf, 1.0], ValueError, "y: expected finite numbers, got inf"),
        ([2.0 * MAX_INT, 1.0], ValueError, "y: expected labels, whole numbers or strings, got 1.80144e[+]16"),
        ([1j, 1.0], TypeError, "y: complex numbers are not supported"),
        (
            np.array(["2020-01-01"], "datetime64[D]"),
            TypeError,
            "y: expected labels, .* got dtype datetime64",
        ),
        ([{}, {}], TypeError, "y: "),
    ],
)
def test_what_is_no_label(y, error, message):
    with pytest.raises(error, match=message):
        read_labels("y", y)


@pytest.mark.parametrize(
    ("y", "classes", "message"),
    [
        (["a", "c"], ["a", "b"], "y: expected labels among 'a', 'b', got 'c'"),
        ([1, 5], ["a", "b"], "y: expected labels among 'a', 'b', got 1"),
        (["a"], [0, 1], "y: expected labels among 0, 1, got 'a'"),
        ([2, 9, -1], [0, 2], "y: expected labels among 0, 2, got -1, 9"),
        (np.arange(9), [0, 1], "y: expected labels among 0, 1, got 2, 3, 4, 5, 6, …"),
    ],
)
def test_unknown_labels_are_named(y, classes, message):
    with pytest.raises(ValueError, match=message):
        codes_of("y", y, np.array(classes))


def test_few_labels_are_shown():
    assert shown(np.arange(5)) == "0, 1, 2, 3, 4"
