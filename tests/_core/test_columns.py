"""Column names: heads keep those of a data frame, take columns by name, and refuse different names."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest
from helpers import assert_same_heads

from dlcore import Heads, certify, fit_heads

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = (X[:, 0] + 0.3 * RNG.normal(size=40) > 0).astype(int)
NAMES = ("height", "weight", "größe\ud800")
SWAPPED = [1, 0, 2]


class Frame:
    """A minimal data frame: column names and an array of numbers."""

    def __init__(self, x: np.ndarray, columns: Any) -> None:
        self.columns, self.shape, self.x = columns, x.shape, x

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.x if dtype is None else self.x.astype(dtype)


def pandas_frame(x: np.ndarray, names: Any) -> Any:
    return pandas.DataFrame(x, columns=list(names))


def polars_frame(x: np.ndarray, names: Any) -> Any:
    return polars.DataFrame(x, schema=list(names))


def pyarrow_table(x: np.ndarray, names: Any) -> Any:
    return pa.table(dict(zip(names, x.T, strict=True)))


FRAMES: dict[str, Callable[[np.ndarray, Any], Any]] = {
    "columns": Frame,
    "pandas": pandas_frame,
    "polars": polars_frame,
    "pyarrow": pyarrow_table,
}


@functools.cache
def heads() -> Heads:
    return fit_heads(Frame(X, list(NAMES)), Y, l2=[0.1, 1.0])


USES: dict[str, Callable[[Any], Any]] = {
    "predict": lambda x: heads().predict(x),
    "predict_proba": lambda x: heads().predict_proba(x),
    "certify": lambda x: certify(heads(), x, Y),
    "validation": lambda x: fit_heads(Frame(X, NAMES), Y, l2=0.1, validation=(x, Y)),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_heads_keep_the_names_of_columns(kind):
    make = FRAMES[kind]
    fitted = fit_heads(make(X, ("a", "b", "c")), Y, l2=[0.1, 1.0])
    assert fitted.feature_names == ("a", "b", "c")
    np.testing.assert_allclose(fitted.coef, heads().coef, rtol=1e-12)  # some frames are stored by column
    np.testing.assert_array_equal(fitted.predict(make(X, ("a", "b", "c"))), fitted.predict(X))
    swapped = make(X[:, SWAPPED], ("b", "a", "c"))
    ordered = make(X, ("a", "b", "c"))
    np.testing.assert_array_equal(fitted.predict_proba(swapped), fitted.predict_proba(ordered))
    assert_same(certify(fitted, swapped, Y), certify(fitted, ordered, Y))
    np.testing.assert_array_equal(fitted[0.1].predict_proba(swapped), fitted[0.1].predict_proba(ordered))
    assert fit_heads(X, Y, l2=0.1).feature_names is None


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("columns", "names", "message"),
    [
        ([0, 1, 2], [0, 1, "age"], "got some that lack 'größe.ud800' and add 'age'"),
        ([0, 1], [0, 1], "got some that lack 'größe.ud800'"),
        ([0, 1, 2, 2], [0, 1, 2, 2], "got some that add 'größe.ud800'"),
    ],
    ids=["another name", "one fewer", "one twice"],
)
def test_different_columns_are_refused(use, columns, names, message, compiles):
    heads()
    first = compiles()
    frame = Frame(X[:, columns], [NAMES[name] if isinstance(name, int) else name for name in names])
    with pytest.raises(ValueError, match=f"x: expected the columns .*{message}"):
        USES[use](frame)
    assert compiles() == first


@pytest.mark.parametrize("use", USES)
def test_columns_in_another_order_are_taken_by_name(use):
    swapped = Frame(np.asfortranarray(X[:, SWAPPED]), [NAMES[j] for j in SWAPPED])
    expected = USES[use](Frame(X, NAMES))
    assert_same(USES[use](swapped), expected)
    with pytest.raises(AssertionError):
        assert_same(USES[use](Frame(X[:, SWAPPED], NAMES)), expected)


def assert_same(found: Any, expected: Any) -> None:
    """Raise unless predictions, gaps of a certificate or scores of heads have the same bits."""
    parts = (getattr(result, "gap", getattr(result, "scores", result)) for result in (found, expected))
    np.testing.assert_array_equal(*parts)


def test_another_order_of_names_that_occur_twice_is_refused():
    fitted = fit_heads(Frame(X, ("a", "b", "a")), Y, l2=[0.1])
    fitted.predict(Frame(X, ("a", "b", "a")))
    with pytest.raises(ValueError, match=r"^x: expected the columns in the order of .*because 'a' occurs twice"):
        fitted.predict(Frame(X, ("b", "a", "a")))


def test_single_heads_keep_names():
    one = heads()[0.1]
    assert one.feature_names == NAMES
    swapped = Frame(X[:, SWAPPED], [NAMES[j] for j in SWAPPED])
    np.testing.assert_array_equal(one.predict_proba(swapped), one.predict_proba(X))
    np.testing.assert_array_equal(certify(one, swapped, Y).gap, certify(one, X, Y).gap)
    with pytest.raises(ValueError, match=r"^x: expected the columns .* lack"):
        one.predict(Frame(X, ("a", "b", "c")))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("given", [X, Frame(X, NAMES), Frame(X, range(3)), Frame(X, None), Frame(X, ())])
def test_the_same_columns_and_arrays_without_names_are_accepted(use, given):
    USES[use](given)


def test_long_lists_of_names_are_truncated():
    wide = fit_heads(Frame(np.tile(X, 3), [f"a{j}" for j in range(9)]), Y, l2=0.1)
    with pytest.raises(
        ValueError, match=r"lack 'a0', 'a1', 'a2', 'a3', 'a4' and 4 more and add 'b0', .* and 4 more"
    ):
        wide.predict(Frame(np.tile(X, 3), [f"b{j}" for j in range(9)]))


@pytest.mark.parametrize("names", [("a", 1, "c"), (1, "b", None)])
def test_mixed_types_of_names_are_refused(names, compiles):
    for call in (
        lambda x: fit_heads(x, Y, l2=0.1),
        lambda x: heads().predict(x),
        lambda x: certify(heads(), x, Y),
        lambda x: fit_heads(X, Y, l2=0.1, validation=(x, Y)),
    ):
        heads()
        first = compiles()
        with pytest.raises(
            TypeError, match=r"x: expected strings as the names of all columns or of none, got (1|None)"
        ):
            call(Frame(X, names))
        assert compiles() == first


def test_names_are_saved(tmp_path):
    heads().save(tmp_path / "heads")
    loaded = Heads.load(tmp_path / "heads")
    assert_same_heads(loaded, heads())
    assert loaded.feature_names == NAMES
    swapped = Frame(X[:, SWAPPED], [NAMES[j] for j in SWAPPED])
    np.testing.assert_array_equal(loaded.predict_proba(swapped), heads().predict_proba(X))
    with_none = fit_heads(X, Y, l2=0.1)
    with_none.save(tmp_path / "heads")
    assert Heads.load(tmp_path / "heads").feature_names is None


def test_a_resumed_fit_has_the_current_names(tmp_path):
    fitted = [
        fit_heads(Frame(X, names), Y, l2=[0.1], checkpoint=tmp_path / "c").feature_names
        for names in (NAMES, list("abc"))
    ]
    assert fitted == [NAMES, ("a", "b", "c")]


def test_heads_of_all_kinds_keep_names():
    cases: list[dict[str, Any]] = [{"loss": "squared"}, {"standardize": True}, {"loss": "softmax"}, {"folds": 2}]
    for given in cases:
        assert fit_heads(Frame(X, NAMES), Y, l2=[0.1], **given).feature_names == NAMES
