"""Wrong protocols that only a fit or a count reveals: refused, or reported in the table or a warning."""

import numpy as np
import pytest
from probe_problems import TEST, TRAIN, VALIDATION, X, Y

from dlcore import GridEdgeWarning
from dlcore.probing import (
    LeakageError,
    ProbeSettings,
    Split,
    UnconvergedError,
    few_shot,
    label_efficiency,
    probe_layers,
    select_penalty,
)

pytestmark = pytest.mark.any_mode

ONE = ProbeSettings(C=1.0)


def test_a_second_layer_of_another_shape_is_refused():
    features = [("a", X), ("b", X[:, :3])]
    with pytest.raises(ValueError, match=r"layers: expected features of \(180, 4\) and float32.*got \(180, 3\)"):
        probe_layers(features, Y, ONE, split=Split(np.arange(90), test=np.arange(120, 180)))
    with pytest.raises(ValueError, match="layers: expected each name once, got layer = a twice"):
        probe_layers([("a", X), ("a", X)], Y, ONE, split=Split(np.arange(90)))


def test_a_head_that_has_not_converged_is_refused_or_reported():
    wrong = ProbeSettings(C=1.0, max_steps=1)
    with pytest.raises(
        UnconvergedError, match="sweep: the head of C = 1 is not converged: out of steps; change tol"
    ):
        select_penalty(TRAIN, wrong)
    table = select_penalty(TRAIN, ProbeSettings(C=1.0, max_steps=1, unconverged="report"))
    assert table["status"].tolist() == ["out of steps"]
    assert table["gap"][0] > 1e-6


def test_a_separable_head_without_penalty_is_refused():
    settings = ProbeSettings(l2=0.0, loss="logistic")
    y = (X[:90, 0] > 0).astype(int)
    with pytest.raises(
        UnconvergedError, match="shots = 4, seed = 0: the head of l2 = 0 is not converged: separable"
    ):
        few_shot((X[:90], y), settings, shots=4)


def test_equal_features_with_another_label_are_counted():
    other = VALIDATION[0].copy()
    other[:3] = TRAIN[0][:3]
    labels = VALIDATION[1].copy()
    labels[:3] = (TRAIN[1][:3] + np.array([1, 2, 0])) % 3  # the third row is equal
    with pytest.raises(LeakageError, match="validation: row 2 equals a row of train in features and label"):
        select_penalty(TRAIN, ONE, validation=(other, labels), refit=False)
    table = select_penalty(TRAIN, ONE, validation=(other, labels), refit=False, duplicates="report")
    assert table.record["common_rows"] == {"train, validation": {"equal_rows": 1, "equal_features": 2}}


def test_rows_are_compared_in_one_dtype():
    shifted = TRAIN[0][:9].astype(np.float64) + np.eye(9, 4)  # rows 0 to 3 differ
    with pytest.raises(LeakageError, match=r"row 4 equals a row of train .* as do 4 more"):
        select_penalty(TRAIN, ONE, validation=(shifted, TRAIN[1][:9]))


def test_numbers_and_zeros_are_compared_by_value():
    """Targets with and without fractions, and zeros of both signs."""
    y = np.arange(90) / 2
    x = np.where(np.abs(X) < 0.3, np.float32(0), X)
    settings = ProbeSettings(loss="squared", l2=0.1)
    with pytest.raises(
        LeakageError, match="test: row 0 equals a row of train in features and label, as do 1 more"
    ):
        select_penalty(
            (x[:90], y), settings, test=(np.where(x == 0, -0.0, x)[[2, 4, 90]], np.array([1.0, 2.0, 7.0]))
        )


def test_a_class_that_no_test_row_has_is_reported():
    rows = TEST[1] != 2
    table = select_penalty(TRAIN, ONE, test=(TEST[0][rows], TEST[1][rows]))
    assert table.record["classes_absent_in_test"] == [2]


def test_a_choice_at_the_edge_is_reported():
    with pytest.warns(GridEdgeWarning, match="C: 1 of 1 choices are at the edge of the grid; extend it"):
        table = select_penalty(TRAIN, ProbeSettings(C=[1e-5, 1e-4, 1e-3]), validation=VALIDATION)
    assert table.record["choices_at_edge"] == 1


def test_a_target_of_one_class_in_a_subset_is_named():
    y = np.stack([Y[:90] == 0, np.arange(90) == 7], axis=1).astype(int)
    with pytest.raises(ValueError, match=r"fraction = 0.1, seed = .*y: expected two classes in rows"):
        label_efficiency((X[:90], y), ProbeSettings(loss="logistic", C=1.0), fractions=[0.1], seeds=[0, 1, 2])
