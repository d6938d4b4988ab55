"""Control tasks: random labels of rows or of types, and the selectivity."""

import numpy as np
import pytest
from oracles.probe_oracle import softmax_newton
from probe_problems import CLASSES, TEST, TRAIN, VALIDATION

from dlcore.probing import ProbeSettings, Types, control_labels, control_task

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:C. .* choices are at the edge:dlcore.GridEdgeWarning"),
]

TYPES = np.random.default_rng(0).integers(0, 30, 180)


def accuracy_of(x, y, c):
    optimum = softmax_newton(x, y, 1 / (c * len(x)), CLASSES)
    predicted = (TEST[0].astype(np.float64) @ optimum.coef.T + optimum.intercept).argmax(1)
    return lambda truth: (predicted == truth).mean()


def test_shuffled_labels_keep_their_counts_and_depend_on_the_seed():
    y = TRAIN[1]
    shuffled = [control_labels(y, seed) for seed in range(5)]
    assert all((np.bincount(labels) == np.bincount(y)).all() for labels in shuffled)
    assert len({labels.tobytes() for labels in [y, *shuffled]}) == 6


def test_labels_of_a_type_are_equal_and_drawn_from_all_labels():
    y = np.repeat([0, 1], [150, 50])
    types = np.arange(200) % 40
    drawn = []
    for seed in range(100):
        labels = control_labels(y, seed, types)
        assert all(len(set(labels[types == kind])) == 1 for kind in range(40))
        drawn.append(labels[:40].mean())
    # 4,000 draws with probability 1/4: five standard deviations.
    assert abs(np.mean(drawn) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 4000)


def test_selectivity_is_the_difference_of_accuracies():
    table = control_task(TRAIN, ProbeSettings(C=1.0, tol=1e-10), test=TEST, seeds=[0, 4])
    labels = accuracy_of(*TRAIN, 1.0)(TEST[1])
    assert table["test_accuracy"][0] == labels
    for row, seed in ((1, 0), (2, 4)):
        control = accuracy_of(TRAIN[0], np.random.default_rng(seed).permutation(TRAIN[1]), 1.0)
        accuracy = control(np.random.default_rng(seed).permutation(TEST[1]))
        assert table["test_accuracy"][row] == accuracy
        assert table["selectivity_accuracy"][row] == labels - accuracy
    assert table["task"].tolist() == ["labels", "control", "control"]
    assert np.isnan(table["selectivity_accuracy"][0])
    assert set(table["status"]) == {"converged"}


def test_types_have_one_label_in_all_sets():
    """Features that name the type let a probe learn the control task."""
    x = np.eye(30, dtype=np.float32)[TYPES] + 1e-3 * np.random.default_rng(1).normal(size=(180, 30)).astype("f")
    y = np.arange(180) % 3
    parts = [slice(0, 90), slice(90, 120), slice(120, 180)]
    table = control_task(
        (x[parts[0]], y[parts[0]]),
        ProbeSettings(C=100.0),
        validation=(x[parts[1]], y[parts[1]]),
        test=(x[parts[2]], y[parts[2]]),
        types=Types(*(TYPES[part] for part in parts)),
        seeds=[0, 1],
    )
    known = np.isin(TYPES[parts[2]], TYPES[:120]).mean()
    final = table.select(task="control", stage="refit")
    control = final["test_accuracy"]
    assert (control >= known).all()
    assert (control > 0.9).all()
    assert (final["selectivity_accuracy"] < 0).all()


def test_later_control_tasks_compile_nothing(compiles):
    settings = ProbeSettings(C=[0.01, 0.1, 1.0])
    control_task(TRAIN, settings, validation=VALIDATION, test=TEST, seeds=[0])
    before = compiles()
    control_task(TRAIN, settings, validation=VALIDATION, test=TEST, seeds=[1, 2, 3])
    assert compiles() == before
