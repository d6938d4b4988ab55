"""Few-shot probes and label efficiency: each cell is the fit of its subset, and few programs are compiled."""

import numpy as np
import pytest
from oracles.probe_oracle import logistic_newton, softmax_newton, softmax_value
from probe_problems import CLASSES, TEST, TRAIN, VALIDATION, X, Y, coef_of, record_of
from sklearn.metrics import accuracy_score, log_loss

from dlcore import GridEdgeWarning
from dlcore._core.compilation.compilations import Compilations
from dlcore.probing import ProbeSettings, few_shot, few_shot_rows, label_efficiency, stratified_rows

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:C. .* choices are at the edge:dlcore.GridEdgeWarning"),
]

C = [0.01, 0.1, 1.0]
SETTINGS = ProbeSettings(C=C, metrics=("accuracy", "log_loss"), tol=1e-10)


def probabilities(optimum, x):
    z = x.astype(np.float64) @ optimum.coef.T + optimum.intercept
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def efficiency():
    return label_efficiency(
        TRAIN, SETTINGS, fractions=[0.2, 0.4, 0.7, 1.0], seeds=[0, 1], validation=VALIDATION, test=TEST
    )


def test_every_cell_is_the_optimum_of_its_subset(efficiency):
    x, y = TRAIN
    for fraction, seed in {(f, s) for f, s in zip(efficiency["fraction"], efficiency["seed"], strict=True)}:
        rows = stratified_rows(y, round(fraction * 90), seed)
        cells = efficiency.select(fraction=fraction, seed=seed)
        optima = [softmax_newton(x[rows], y[rows], 1 / (c * len(rows)), CLASSES) for c in C]
        losses = [log_loss(VALIDATION[1], probabilities(optimum, VALIDATION[0])) for optimum in optima]
        np.testing.assert_allclose(cells["score"], -np.array(losses), rtol=1e-4)
        best = int(np.argmin(losses))
        assert cells["chosen"].tolist() == [k == best for k in range(3)]
        assert set(cells["status"]) == {"converged"}
        np.testing.assert_allclose(cells["l2"], [1 / (c * len(rows)) for c in C], rtol=1e-12)
        (head,) = cells.heads.values()
        value = softmax_value(
            x[rows], y[rows], cells["l2"][best], np.asarray(head.coef), np.asarray(head.intercept)
        )
        assert abs(value - optima[best].value) <= cells["gap"][best] + 1e-14
        assert value - optima[best].value <= 1e-10 * value
        p = probabilities(optima[best], TEST[0])
        assert cells["test_accuracy"][best] == accuracy_score(TEST[1], p.argmax(1))
        np.testing.assert_allclose(cells["test_log_loss"][best], log_loss(TEST[1], p), rtol=1e-4)
        assert np.isnan(np.delete(cells["test_accuracy"], best)).all()


def test_seeds_with_equal_subsets_are_one_row_that_names_them(efficiency):
    assert set(efficiency.select(fraction=1.0)["seeds"]) == {"0,1"}
    assert set(efficiency.select(fraction=0.2)["seeds"]) == {"0", "1"}
    assert len(efficiency) == 3 * (2 + 2 + 2 + 1)
    assert [entry["fraction"] for entry in efficiency.record["equal_subsets"]] == [1.0]
    first, second = (efficiency.select(fraction=0.4, seed=seed) for seed in (0, 1))
    assert (first["score"] != second["score"]).all()


def test_the_record_says_what_was_done(efficiency):
    record = record_of(efficiency)
    assert record["settings"]["seeds"] == [0, 1]
    assert record["settings"]["C"] == C
    assert record["settings"]["scoring"] == "log_loss"
    assert record["rows"].keys() == {"train", "validation", "test"}
    assert len(record["rows"]["train"]["sha256"]) == 64
    assert record["device"].startswith(("cpu", "TFRT_CPU", "cuda"))
    assert record["versions"].keys() >= {"dlcore", "jax", "numpy"}


def test_equal_arguments_give_equal_tables_and_a_seed_changes_them():
    runs = [few_shot(TRAIN, ProbeSettings(C=1.0), shots=[2], seeds=[seed], test=TEST) for seed in (3, 3, 4)]
    for name in runs[0].columns:
        np.testing.assert_array_equal(runs[0][name], runs[1][name])
    assert runs[0].record == runs[1].record
    assert runs[0]["gap"] != runs[2]["gap"]
    assert runs[0].record != runs[2].record


def test_few_programs_are_compiled_for_many_sizes_and_seeds():
    """Three numbers of rows: each has a pass in float32 and at most one in float64."""
    x, y = np.tile(X, (3, 1)), np.tile(Y, 3)
    x = x + np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    settings = ProbeSettings(C=C)
    with Compilations() as compiled:
        table = label_efficiency(
            (x[:400], y[:400]),
            settings,
            fractions=[0.02, 0.05, 0.1, 0.3, 0.5, 0.8, 1.0],
            seeds=range(3),
            validation=(x[400:], y[400:]),
            refit=False,
        )
    assert len(set(table["rows"])) == 7
    assert compiled.names.count("accumulate") <= 6
    assert set(compiled.names) - {"_logits"} <= {"accumulate", "observe", "advance", "accumulate_with_hessian"}
    with Compilations() as again:
        few_shot((x[:400], y[:400]), settings, shots=[20], seeds=[9], validation=(x[400:], y[400:]))
    assert again.count <= 2  # 60 rows are another number of rows


def test_a_refit_adds_the_validation_rows():
    table = few_shot(
        TRAIN, ProbeSettings(C=C, tol=1e-10), shots=[6], seeds=[2], validation=VALIDATION, test=TEST, refit=True
    )
    best = table.select(stage="sweep", chosen=True)
    refit = table.select(stage="refit")
    assert refit["C"] == best["C"]
    rows = few_shot_rows(TRAIN[1], 6, 2)
    x, y = np.concatenate([TRAIN[0][rows], VALIDATION[0]]), np.concatenate([TRAIN[1][rows], VALIDATION[1]])
    optimum = softmax_newton(x, y, 1 / (refit["C"][0] * len(x)), CLASSES)
    head = refit.heads[0]
    np.testing.assert_allclose(np.asarray(head.coef), optimum.coef, atol=1e-4)
    assert refit["test_accuracy"][0] == accuracy_score(TEST[1], probabilities(optimum, TEST[0]).argmax(1))
    assert np.isnan(table.select(stage="sweep")["test_accuracy"]).all()


def test_padded_rows_change_nothing():
    """Five sizes have three numbers of rows, so that two of them are padded."""
    shots = [2, 3, 5, 7, 8]
    table = few_shot(TRAIN, ProbeSettings(C=1.0, tol=1e-10), shots=shots, seeds=[0])
    for row, k in enumerate(shots):
        rows = few_shot_rows(TRAIN[1], k, 0)
        optimum = softmax_newton(TRAIN[0][rows], TRAIN[1][rows], 1 / len(rows), CLASSES)
        np.testing.assert_allclose(coef_of(table, row), optimum.coef, atol=1e-4)
        np.testing.assert_allclose(table["l2"][row], 1 / len(rows), rtol=1e-15)


def test_labels_may_be_strings_with_class_weights():
    names = np.array(["no", "yes"])
    y = names[(X[:, 0] > 0.3).astype(int)]
    settings = ProbeSettings(loss="logistic", C=1.0, class_weight={"no": 1.0, "yes": 2.0}, tol=1e-10)
    table = label_efficiency((X[:90], y[:90]), settings, fractions=[0.5], test=(X[120:], y[120:]))
    rows = stratified_rows(y[:90], 45, 0)
    twice = np.concatenate([rows, rows[y[rows] == "yes"]])
    optimum = logistic_newton(X[twice], (y[twice] == "yes").astype(int), 1 / len(twice))
    head = table.heads[0]
    np.testing.assert_allclose(np.asarray(head.coef), optimum.coef, atol=1e-4)
    assert head.predict(X[120:]).dtype == names.dtype
    assert table["test_accuracy"][0] == (head.predict(X[120:]) == y[120:]).mean()


def test_a_warning_says_how_many_choices_are_at_the_edge():
    with pytest.warns(GridEdgeWarning, match=r"C: \d of 2 choices are at the edge"):
        few_shot(TRAIN, ProbeSettings(C=[1e-5, 1e-4, 1e-3]), shots=[2], seeds=[0, 1], validation=VALIDATION)


def test_targets_that_are_numbers():
    y = X[:, 0] * 2.0 + 1
    table = label_efficiency(
        (X[:90], y[:90]), ProbeSettings(loss="squared", l2=1e-9), fractions=[0.3, 0.6], test=(X[120:], y[120:])
    )
    np.testing.assert_allclose(table["test_r2"], 1, atol=1e-6)
