"""Wrong protocols are refused, or reported, with a sentence that says why."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from probe_problems import TEST, TRAIN, VALIDATION, X, Y, numbered

from dlcore import GridEdgeWarning
from dlcore.probing import (
    LeakageError,
    ProbeSettings,
    Rows,
    Split,
    Types,
    control_task,
    few_shot,
    knn,
    label_efficiency,
    nested_cross_validation,
    probe_layers,
    select_penalty,
)

pytestmark = pytest.mark.any_mode

ONE, GRID = ProbeSettings(C=1.0), ProbeSettings(C=[0.1, 1.0, 10.0])
GROUPS = np.arange(180) // 6
NAMES = np.array([f"subject {group}" for group in GROUPS])


def joined(first, second):
    return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])


def layers(*shapes):
    return ((f"layer {k}", np.zeros(shape, np.float32)) for k, shape in enumerate(shapes))


class Wrong(NamedTuple):
    """A protocol that is refused before anything is compiled."""

    name: str
    run: Callable[[], object]
    error: type[Exception]
    message: str


RARE = np.where(np.arange(90) < 88, np.arange(90) % 2, 2)
WRONG = [
    Wrong(
        "a validation row trains, by identifier",
        lambda: select_penalty(numbered(slice(0, 100)), GRID, validation=numbered(slice(99, 120))),
        LeakageError,
        "validation: identifier 99 is in train too, as are 0 more; a row must be in one set only",
    ),
    Wrong(
        "a test row trains, by identifier",
        lambda: few_shot(numbered(slice(0, 100)), ONE, shots=2, test=numbered(slice(90, 120))),
        LeakageError,
        "test: identifier 90 is in train too, as are 9 more",
    ),
    Wrong(
        "a validation row trains, by its bytes",
        lambda: few_shot(
            joined(TRAIN, (VALIDATION[0][:2], VALIDATION[1][:2])), GRID, shots=2, validation=VALIDATION
        ),
        LeakageError,
        "validation: row 0 equals a row of train in features and label, as do 1 more; drop them, or pass dup",
    ),
    Wrong(
        "a test row trains, by its bytes",
        lambda: label_efficiency(joined(TRAIN, (TEST[0][5:6], TEST[1][5:6])), ONE, test=TEST),
        LeakageError,
        "test: row 5 equals a row of train in features and label, as do 0 more",
    ),
    Wrong(
        "the penalty is chosen on the test set",
        lambda: select_penalty(TRAIN, GRID, validation=TEST, test=TEST),
        LeakageError,
        "test: expected rows apart from validation, got the same rows; C would be chosen on the test set",
    ),
    Wrong(
        "the validation rows are the test rows in another order, and duplicates are reported",
        lambda: select_penalty(
            TRAIN, GRID, validation=(TEST[0][::-1], TEST[1][::-1]), test=TEST, duplicates="report"
        ),
        LeakageError,
        "test: expected rows apart from validation, got the same rows; C would be chosen on the test set",
    ),
    Wrong(
        "the test set is the training set, and duplicates are reported",
        lambda: select_penalty(TRAIN, ONE, test=TRAIN, duplicates="report"),
        LeakageError,
        "test: expected rows apart from train, got the same rows",
    ),
    Wrong(
        "the test set lies within the training set, and duplicates are reported",
        lambda: select_penalty(TRAIN, ONE, test=(TRAIN[0][:9], TRAIN[1][:9]), duplicates="report"),
        LeakageError,
        "test: expected rows apart from train, got sets of which test lies wholly within train",
    ),
    Wrong(
        "nothing chooses among the penalties but the test set",
        lambda: select_penalty(TRAIN, GRID, test=TEST),
        ValueError,
        "C: expected one value where neither validation rows nor folds choose, got 3; the test rows never choose",
    ),
    Wrong(
        "nothing chooses among the penalties of a few-shot probe",
        lambda: few_shot(TRAIN, GRID, shots=2, test=TEST),
        ValueError,
        "C: expected one value where neither validation rows nor folds choose, got 3; the test rows never choose",
    ),
    Wrong(
        "a group trains and is tested",
        lambda: select_penalty(numbered(slice(0, 90), NAMES), ONE, test=numbered(slice(90, 180), NAMES[::-1])),
        LeakageError,
        "test: group 'subject 0' is in train too, as are 14 more; rows of a group must be in one set only",
    ),
    Wrong(
        "a group trains and chooses the penalty of layers",
        lambda: probe_layers(
            [("a", X)], Y, GRID, split=Split(np.arange(90), np.arange(90, 120)), groups=np.arange(180) // 4
        ),
        LeakageError,
        "validation: group 22 is in train too, as are 0 more",
    ),
    Wrong(
        "a row of a layer trains and is tested",
        lambda: probe_layers([("a", X)], Y, ONE, split=Split(np.arange(90), test=np.arange(89, 120))),
        LeakageError,
        "test: identifier 89 is in train too, as are 0 more",
    ),
    Wrong(
        "a seed is repeated",
        lambda: few_shot(TRAIN, ONE, shots=2, seeds=[0, 1, 0]),
        ValueError,
        "seeds: expected each seed once, got 0 twice; a repeated seed repeats its subsets and makes the spread",
    ),
    Wrong(
        "a seed of a control task is repeated",
        lambda: control_task(TRAIN, ONE, test=TEST, seeds=[3, 3]),
        ValueError,
        "seeds: expected each seed once, got 3 twice",
    ),
    Wrong(
        "k is larger than a class",
        lambda: few_shot((X[:90], RARE), ONE, shots=[1, 3]),
        ValueError,
        "shots: expected at most the rows of the smallest class, got 3; class 2 has 2",
    ),
    Wrong(
        "a class would be absent from a fraction",
        lambda: label_efficiency(TRAIN, ONE, fractions=[0.02, 1.0]),
        ValueError,
        "fractions: 0.02 of 90 rows: count: expected at least one row of each of 3 classes, got 2 rows in all; a",
    ),
    Wrong(
        "the test set has a class that no row trains",
        lambda: select_penalty((X[:90], RARE % 2), ONE, test=(X[90:], np.arange(90) % 3)),
        ValueError,
        "test y: expected labels among 0, 1, got 2",
    ),
    Wrong(
        "a class has fewer rows than outer folds",
        lambda: nested_cross_validation((X[:90], RARE), GRID, outer=3, inner=2),
        ValueError,
        "folds: expected at most as many as rows of the smallest class, got 3; class 2 has 2",
    ),
    Wrong(
        "a class has fewer rows than inner folds",
        lambda: nested_cross_validation((X[:90], RARE), GRID, outer=2, inner=2),
        ValueError,
        "inner, outer = 0: folds: expected at most as many as rows of the smallest class, got 2; class 2 has 1",
    ),
    Wrong(
        "there are fewer groups than folds",
        lambda: select_penalty(numbered(slice(0, 90), np.arange(180) // 40), GRID, folds=5),
        ValueError,
        r"folds: expected at most as many as groups \(3\), got 5",
    ),
    Wrong(
        "folds and validation rows both choose",
        lambda: select_penalty(TRAIN, GRID, validation=VALIDATION, folds=3),
        ValueError,
        "folds: expected None where there are validation rows; one of the two chooses",
    ),
    Wrong(
        "a penalty occurs twice",
        lambda: ProbeSettings(C=[1.0, 0.1, 1.0]),
        ValueError,
        "C: expected each value once, got 1 twice",
    ),
    Wrong(
        "a refit without validation rows",
        lambda: few_shot(TRAIN, ONE, shots=2, refit=True),
        ValueError,
        "refit: expected False where there are no validation rows to add, got True",
    ),
    Wrong(
        "a layer has another shape",
        lambda: probe_layers(layers((180, 0), (180, 5)), Y, ONE, split=Split(np.arange(90))),
        ValueError,
        "layer = layer 0: layer x: expected at least one row and one column",
    ),
    Wrong(
        "a control task with types of the test rows missing",
        lambda: control_task(TRAIN, ONE, test=TEST, types=Types(np.arange(90) % 9)),
        ValueError,
        "types.test: expected a type for each of 60 rows, got None",
    ),
    Wrong(
        "a control task of too few types",
        lambda: control_task(
            TRAIN, ONE, test=TEST, types=Types(np.zeros(90, int), test=np.zeros(60, int)), seeds=1
        ),
        ValueError,
        "seeds: the control task of seed 1 has 1 of 3 classes in its training rows; there are too few types",
    ),
    Wrong(
        "the neighbours of test rows are the rows themselves",
        lambda: knn(TRAIN, TRAIN),
        LeakageError,
        "test: expected rows apart from train, got the same rows",
    ),
    Wrong(
        "an identifier occurs twice",
        lambda: few_shot(Rows(X[:90], Y[:90], np.arange(90) // 2), ONE, shots=2),
        ValueError,
        "train ids: expected each identifier once, got 0 2 times",
    ),
    Wrong(
        "an unknown metric",
        lambda: ProbeSettings(C=1.0, metrics=["acc"]),
        ValueError,
        "metrics: expected names among 'accuracy', .* for loss 'softmax', got 'acc'",
    ),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_protocol_is_refused(wrong, compiles):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GridEdgeWarning)
        with pytest.raises(wrong.error, match=wrong.message):
            wrong.run()
    assert compiles() == 0


def test_at_least_twenty_protocols_are_wrong():
    assert len({wrong.message for wrong in WRONG}) >= 20
