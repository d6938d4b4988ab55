"""Threads of the host: results in the order of the work, in the context of the caller."""

import multiprocessing
import threading

import numpy as np
import pytest

from dlcore._core import threads
from dlcore._core.threads import map_on_threads, runs_of

pytestmark = pytest.mark.any_mode


def test_results_are_in_the_order_of_the_work():
    assert map_on_threads(lambda number: 2 * number, list(range(50))) == [2 * number for number in range(50)]


def test_all_but_the_first_piece_have_another_thread():
    names = map_on_threads(lambda _: threading.get_ident(), [0, 1])
    assert names[0] == threading.get_ident() != names[1]


def test_threads_do_about_overflow_what_the_caller_does():
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        map_on_threads(lambda power: np.float64(2) ** power, [1.0, 5000.0])
    with np.errstate(over="ignore"):
        assert map_on_threads(lambda power: np.float64(2) ** power, [1.0, 5000.0]) == [2.0, np.inf]


@pytest.mark.parametrize("failing", [0, 3])
def test_an_error_of_a_piece_is_the_callers_and_comes_after_all_others_have_ended(failing):
    ended = []

    def work(number):
        if number == failing:
            raise KeyError(number)
        ended.append(number)

    with pytest.raises(KeyError):
        map_on_threads(work, list(range(5)))
    assert sorted(ended) == [number for number in range(5) if number != failing]


@pytest.mark.parametrize(("cores", "most", "count"), [(1, 9, 1), (3, 9, 3), (8, 2, 2), (64, 99, 5), (2, 0, 1)])
def test_there_is_a_run_for_each_core(cores, most, count, monkeypatch):
    monkeypatch.setattr(threads, "core_count", lambda: cores)
    runs = runs_of([1, 2, 3, 4, 5], most)
    assert len(runs) == count
    assert [each for run in runs for each in run] == [1, 2, 3, 4, 5]
    assert max(map(len, runs)) - min(map(len, runs)) <= 1


def _doubled():
    return map_on_threads(lambda number: 2 * number, [1, 2, 3])


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning", "ignore:This process:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system can not fork")
def test_a_forked_process_has_threads_of_its_own():
    assert _doubled() == [2, 4, 6]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_doubled).get(timeout=60) == [2, 4, 6]
