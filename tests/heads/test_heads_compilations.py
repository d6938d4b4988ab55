"""The number of programs of heads: few, as many for 5 strengths as for 500, none for the next sweep.

One more is compiled when it is needed for the first time: what goes on in float64 where float32 is not enough, and
what looks at the rows held out where sums of products of the squared loss round too much.
"""

import numpy as np
import pytest
from seams import clear_compiled_programs, use_threads
from sklearn.model_selection import KFold, ShuffleSplit

from dlcore import fit_heads

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]


@pytest.fixture(autouse=True)
def no_programs(compiled_passes):
    """Clear the programs of other tests, which may have the same shapes."""
    clear_compiled_programs()


USUAL = {"logistic": 3, "softmax": 3, "squared": 4}
"""Logistic and softmax: a pass, its products, the next step. Squared: products, their merging, the spectrum,
heads, scores."""


def table(loss: str, seed: int, rows: int, columns: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    score = x @ rng.normal(size=(columns, 3)) + rng.gumbel(size=(rows, 3))
    return x, {"logistic": score.argmax(1) > 0, "softmax": score.argmax(1), "squared": score[:, 0]}[loss]


@pytest.mark.parametrize("loss", ["logistic", pytest.param("softmax", marks=pytest.mark.slow), "squared"])
def test_a_sweep_compiles_a_few_programs_and_the_next_none(loss, compiles):
    """45 strengths and 5 folds of what is hard; then other data, strengths, weights, folds of other sizes.

    The strengths are as far apart in all calls, so that as many are fitted first.
    """
    x, y = table(loss, 0, 211)
    scale = np.array([1, 1e-3, 1e3, 1], np.float32)
    fit_heads(x * scale, 1e-6 * y if loss == "squared" else y, loss=loss, l2=np.geomspace(1e-8, 3, 45), folds=5)
    first = compiles()
    assert first - USUAL[loss] in ((1,) if loss == "squared" else (1, 2))  # L-BFGS in float64, and Newton's method
    x, y = table(loss, 1, 211)
    weights = np.random.default_rng(2).uniform(0.1, 2, 211)
    folds = (
        ShuffleSplit(5, test_size=0.37, random_state=0)
        if loss == "logistic"
        else KFold(5, shuffle=True, random_state=0)
    )
    l2 = np.geomspace(1e-7, 30, 45)
    fit_heads(x, y, loss=loss, l2=l2, folds=folds, sample_weight=weights, tol=1e-5)
    fit_heads(x, y, loss=loss, l2=l2[::-1], folds=5, fit_intercept=False)
    assert compiles() == first


@pytest.mark.parametrize("loss", ["logistic", pytest.param("softmax", marks=pytest.mark.slow), "squared"])
def test_as_many_programs_for_5_strengths_as_for_500(loss, compiles):
    """Each on a shape of its own, so that it begins with none."""
    for columns, strengths in ((5, 5), (6, 500)):
        x, y = table(loss, 0, 211, columns)
        before = compiles()
        fit_heads(x, y, loss=loss, l2=np.geomspace(1e-3, 1, strengths), folds=3)
        assert compiles() - before - USUAL[loss] in (0, 1)


def test_every_pass_on_all_cores_runs_the_program_of_the_first(compiles, monkeypatch):
    """A part of the rows for each core: a pass, its products and the next step, as on one core."""
    use_threads(2, monkeypatch)
    x, y = table("logistic", 0, 223)
    fit_heads(x, y, l2=np.geomspace(1e-3, 1, 12))
    assert compiles() == 3
