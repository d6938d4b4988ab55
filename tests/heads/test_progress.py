"""`fit_heads` tells a callback what is done; the callback changes no bit."""

import numpy as np
import pytest
from helpers import assert_same_heads

from dlcore import fit_heads

pytestmark = pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = (X[:, 0] + RNG.normal(size=40) > 0).astype(int)


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_progress_is_told(loss):
    calls = []
    options = {"loss": loss, "l2": [0.01, 0.1, 1.0], "folds": 2}
    heads = fit_heads(X, Y, callback=lambda *call: calls.append(call), **options)
    assert_same_heads(heads, fit_heads(X, Y, **options))
    works = {"heads fitted": 9, "fits certified": 3} if loss == "logistic" else {"fits certified": 3}
    assert {work: total for work, _, total in calls} == works
    for work, total in works.items():
        done = [count for name, count, _ in calls if name == work]
        assert done == sorted(done)
        assert done[-1] == total


def test_a_callback_is_a_function():
    with pytest.raises(TypeError, match=r"callback: expected a function of \(work, done, total\), got 1"):
        fit_heads(X, Y, l2=1.0, callback=1)  # pyright: ignore[reportArgumentType]
