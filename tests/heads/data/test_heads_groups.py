"""Folds of groups: no group both trains and scores a fold."""

import numpy as np
import pytest
from helpers import assert_same_heads, scores_of
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut

from dlcore import fit_heads

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3)).astype(np.float32)
Y = (X[:, 0] + RNG.logistic(size=120) > 0).astype(int)
GROUPS = np.repeat(np.arange(12), RNG.multinomial(108, np.full(12, 1 / 12)) + 1)
NAMES = np.array([f"speaker {number}" for number in range(12)])[GROUPS]


@pytest.mark.parametrize("groups", [GROUPS, NAMES, NAMES.astype(object), list(GROUPS)])
def test_an_integer_is_group_k_fold(groups):
    heads = fit_heads(X, Y, l2=[1e-2, 1.0], folds=4, groups=groups)
    expected = fit_heads(X, Y, l2=[1e-2, 1.0], folds=list(GroupKFold(4).split(X, Y, GROUPS)))
    assert_same_heads(heads, expected)


def test_a_splitter_is_given_the_groups():
    heads = fit_heads(X, Y, l2=[1e-2], folds=LeaveOneGroupOut(), groups=NAMES)
    assert scores_of(heads).shape == (12, 1)
    order = np.unique(NAMES)
    alone = fit_heads(X, Y, l2=[1e-2], folds=[order[3] != NAMES])
    np.testing.assert_allclose(scores_of(heads)[3], scores_of(alone)[0], rtol=1e-3)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"groups": GROUPS[:-1]}, ValueError, r"groups: expected shape \(120,\), got shape \(119,\)"),
        ({"groups": GROUPS[:, None]}, ValueError, r"groups: expected shape \(120,\)"),
        ({"groups": GROUPS * 1j}, TypeError, "groups: expected numbers or strings, got dtype complex128"),
        (
            {"groups": np.array([None, *range(119)])},
            TypeError,
            "groups: expected numbers or strings, got a mixture",
        ),
        ({"folds": None}, ValueError, "groups: expected None, unless folds is an integer or a splitter"),
        ({"folds": [GROUPS > 3]}, ValueError, "groups: expected None, unless folds is an integer or a splitter"),
        ({"folds": 13}, ValueError, r"folds: expected at most as many as groups \(12\), got 13"),
    ],
)
def test_wrong_groups_are_named_before_anything_is_compiled(changed, error, message, compiles):
    with pytest.raises(error, match=message):
        fit_heads(X, Y, **({"l2": 0.1, "folds": 3, "groups": GROUPS} | changed))
    assert compiles() == 0
