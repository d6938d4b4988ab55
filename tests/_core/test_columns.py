"""Column names: heads keep those of a data frame, and refuse different columns and a different order."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
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
    return pytest.importorskip("pandas").DataFrame(x, columns=list(names))


def polars_frame(x: np.ndarray, names: Any) -> Any:
    return pytest.importorskip("polars").DataFrame(x, schema=list(names))


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
    with pytest.raises(ValueError, match=r"^x: expected the columns in the order of heads.feature_names, got 'b'"):
        fitted.predict(make(X[:, SWAPPED], ("b", "a", "c")))
    assert fit_heads(X, Y, l2=0.1).feature_names is None


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("columns", "names", "message"),
    [
        (SWAPPED, SWAPPED, "in the order of .*, got 'weight' in place of 'height' at 0; select them with"),
        ([0, 1, 2], [0, 1, "age"], "got some that lack 'größe.ud800' and add 'age'"),
        ([0, 1], [0, 1], "got some that lack 'größe.ud800'"),
        ([0, 1, 2, 2], [0, 1, 2, 2], "got some that add 'größe.ud800'"),
    ],
    ids=["another order", "another name", "one fewer", "one twice"],
)
def test_different_columns_are_refused(use, columns, names, message, compiles):
    heads()
    first = compiles()
    frame = Frame(X[:, columns], [NAMES[name] if isinstance(name, int) else name for name in names])
    with pytest.raises(ValueError, match=f"x: expected the columns .*{message}"):
        USES[use](frame)
    assert compiles() == first


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
    with pytest.raises(ValueError, match=r"in the order of heads.feature_names"):
        loaded.predict(Frame(X[:, SWAPPED], [NAMES[j] for j in SWAPPED]))
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
