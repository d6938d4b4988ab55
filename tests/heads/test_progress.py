"""`fit_heads` reports its progress to a function or on stderr; the reports change no bit."""

import io
import sys

import numpy as np
import pytest
from helpers import assert_same_heads

from dlcore import fit_heads
from dlcore.heads import progress as module
from dlcore.heads.progress import Progress, Reporter

pytestmark = pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = (X[:, 0] + RNG.normal(size=40) > 0).astype(int)
L2 = [0.01, 0.1, 1.0]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_a_function_receives_what_is_done(loss):
    reports: list[Progress] = []
    heads = fit_heads(X, Y, loss=loss, l2=L2, folds=2, progress=reports.append)
    assert_same_heads(heads, fit_heads(X, Y, loss=loss, l2=L2, folds=2, progress=False))
    works = {"heads fitted": 9, "fits certified": 3} if loss == "logistic" else {"fits certified": 3}
    assert {report.work: report.total for report in reports} == works
    for work, total in works.items():
        done = [report.done for report in reports if report.work == work]
        assert done == sorted(done)
        assert done[-1] == total
    assert reports[-1].worst_gap == max(heads.certificate.gap.max(), heads.fold_gap.max())
    assert reports[-1].seconds_left == 0


def test_an_error_of_the_function_ends_the_call_and_loses_nothing(tmp_path):
    """The stages that are done are in the checkpoint, and the next call goes on behind them."""
    path = tmp_path / "heads.npz"

    def stop(report):
        if report.work == "fits certified" and report.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_heads(X, Y, l2=L2, folds=2, checkpoint=path, progress=stop)
    reports: list[Progress] = []
    resumed = fit_heads(X, Y, l2=L2, folds=2, checkpoint=path, progress=reports.append)
    assert not [report for report in reports if report.work == "heads fitted"]
    assert_same_heads(resumed, fit_heads(X, Y, l2=L2, folds=2))


def test_a_terminal_shows_a_line_and_clears_it(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    fit_heads(X, Y, loss="squared", l2=L2, folds=2)
    shown = terminal.getvalue()
    assert shown.startswith("\rfit_heads: 1 of 3 fits certified, worst gap ")
    assert shown.endswith(" \r")
    assert "\n" not in shown


def test_a_fast_call_in_a_terminal_is_silent(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(module, "PATIENCE_S", 1e9)
    fit_heads(X, Y, loss="squared", l2=L2, folds=2)
    assert not terminal.getvalue()


@pytest.mark.parametrize("progress", [None, False])
def test_elsewhere_it_is_silent(progress, monkeypatch, capsys):
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    fit_heads(X, Y, loss="squared", l2=L2, folds=2, progress=progress)
    assert capsys.readouterr() == ("", "")


def test_lines_that_were_asked_for_are_written_to_a_file_too(capsys):
    fit_heads(X, Y, loss="squared", l2=L2, folds=2, progress=True)
    assert capsys.readouterr().err.startswith("fit_heads: 1 of 3 fits certified, worst gap ")


def test_the_seconds_left_are_without_compilation(monkeypatch):
    """Ten seconds passed, of which six compiled; two of eight heads are done, so twelve seconds are left."""
    now, reports = [0.0], []
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    compiled = [0.0]
    reporter = Reporter(reports.append, lambda: compiled[0])
    now[0], compiled[0] = 10.0, 6.0
    reporter.report("heads fitted", 2, 8)
    assert str(reports[0]) == "2 of 8 heads fitted, 12 s left"


@pytest.mark.parametrize("progress", [1, "yes", [True]])
def test_anything_else_is_refused(progress):
    message = r"progress: expected True, False, None or a function of a Progress, got "
    with pytest.raises(TypeError, match=message):
        fit_heads(X, Y, l2=1.0, progress=progress)
