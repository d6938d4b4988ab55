"""Progress of `fit_heads`: what a function is told, what a terminal shows, and what ends a call."""

import io
import math
import sys
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_heads

from dlcore import fit_heads
from dlcore.heads import HeadsProgress, progress
from dlcore.heads.solvers import lbfgs_sweep

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = (X[:, 0] + RNG.normal(size=60) > 0).astype(int)
GIVEN: dict[str, Any] = {"l2": [0.01, 0.1, 1.0], "folds": 2}
TOTAL = 9


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def at_once(monkeypatch):
    """Print every report, however early."""
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(progress, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared"])
def test_a_function_is_told_every_stage(loss):
    records: list[HeadsProgress] = []
    heads = fit_heads(X, Y, loss=loss, progress=records.append, **GIVEN)
    expected = fit_heads(X, Y, loss=loss, progress=False, **GIVEN)
    assert_same_heads(heads, expected)
    assert {record.total for record in records} == {TOTAL}
    last = {record.stage: record for record in records}
    assert list(last)[:2] == (["fit"] if loss == "squared" else ["fit", "certify"])
    worst = max(heads.certificate.gap.max(), heads.fold_gap.max())
    for stage, record in last.items():
        assert record.heads == TOTAL or stage == "refine"
    assert records[-1].worst_gap == worst
    for stage in last:
        done = [record.heads for record in records if record.stage == stage]
        assert done == sorted(done)
        assert all(0 <= heads <= TOTAL for heads in done)
    assert all(record.seconds_left >= 0 or math.isnan(record.seconds_left) for record in records)
    assert last["fit"].seconds_left == 0


def test_heads_that_their_certificate_refutes_have_a_stage_of_refinement(monkeypatch):
    """Float32 takes heads for converged whose certified gap is too large, where nothing stops it before."""
    monkeypatch.setattr(lbfgs_sweep, "FLOAT32_GAP", 0.0)
    records: list[HeadsProgress] = []
    heads = fit_heads(X, Y, tol=1e-15, progress=records.append, **GIVEN)
    refined = [record for record in records if record.stage == "refine"]
    assert refined
    assert all(record.heads <= TOTAL for record in refined)
    assert records[-1].worst_gap == max(heads.certificate.gap.max(), heads.fold_gap.max())


@pytest.mark.parametrize("shown", [True, None])
def test_a_terminal_shows_one_line_and_clears_it(shown, monkeypatch, at_once):
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    fit_heads(X, Y, progress=shown, **GIVEN)
    text = stream.getvalue()
    assert "\n" not in text
    lines = text.split("\r")
    assert "fit_heads: certify: 9 of 9 heads, worst gap " in text
    assert lines[-1] == ""
    assert lines[-2].strip() == ""
    assert len(lines[-2]) >= max(len(line.rstrip()) for line in lines[-4:-2])


def test_a_file_gets_lines_and_nothing_unless_asked_for(monkeypatch, at_once):
    for shown, expected in ((None, False), (False, False), (True, True)):
        monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
        fit_heads(X, Y, progress=shown, **GIVEN)
        lines = stream.getvalue().splitlines()
        assert bool(lines) == expected
        assert all(line.startswith("fit_heads: ") for line in lines)


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_process_without_standard_error_is_silent(stream, monkeypatch, at_once):
    closed = Terminal()
    closed.close()
    monkeypatch.setattr(sys, "stderr", None if stream is None else closed)
    fit_heads(X, Y, **GIVEN)


def test_short_calls_are_silent_on_a_terminal(monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", math.inf)
    monkeypatch.setattr(progress, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    fit_heads(X, Y, **GIVEN)
    assert stream.getvalue() == ""


@pytest.mark.parametrize("loss", ["logistic", "squared"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_of_the_function_ends_the_call_and_the_checkpoint_stays(loss, error, tmp_path):
    calls = []

    def fail(record: HeadsProgress) -> None:
        calls.append(record)
        if record.worst_gap > 0:  # after the first certificate
            raise error("stop")

    with pytest.raises(error, match="stop"):
        fit_heads(X, Y, loss=loss, checkpoint=tmp_path / "c", progress=fail, **GIVEN)
    assert (tmp_path / "c").exists()
    records: list[HeadsProgress] = []
    resumed = fit_heads(X, Y, loss=loss, checkpoint=tmp_path / "c", progress=records.append, **GIVEN)
    assert_same_heads(resumed, fit_heads(X, Y, loss=loss, **GIVEN))
    assert records[0].heads > 0


@pytest.mark.parametrize("given", ["yes", 1, 0.5, []])
def test_other_values_are_refused(given, compiles):
    first = compiles()
    with pytest.raises(TypeError, match=r"^progress: expected True, False, None or a function, got"):
        fit_heads(X, Y, progress=given, **GIVEN)
    assert compiles() == first


def test_records_are_text():
    record = HeadsProgress("certify", 3, 9, 1.7e-9, 12.4)
    assert str(record) == "certify: 3 of 9 heads, worst gap 2e-09, 12 s left"
    assert str(HeadsProgress("fit", 0, 9, math.nan, math.nan)) == "fit: 0 of 9 heads"


@pytest.mark.parametrize("verbose", [0, 1])
def test_estimators_print_if_they_are_verbose(verbose, monkeypatch, at_once):
    estimators = pytest.importorskip("dlcore.sklearn")
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    estimators.LogisticRegression(verbose=verbose).fit(X, Y)
    assert bool(stream.getvalue()) == bool(verbose)


def test_a_file_gets_fewer_lines_than_a_terminal(monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(progress, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LOG_SECONDS", math.inf)
    for stream, is_written in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        fit_heads(X, Y, progress=True, **GIVEN)
        assert bool(stream.getvalue()) == is_written
