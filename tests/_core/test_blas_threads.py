"""NumPy's BLAS has one thread for a block, and what it had before after it."""

import threading

import pytest
from numpy_blas import numpy_blas

from dlcore._core import blas_threads
from dlcore._core.blas_threads import SHORT, blas_threads_for, one_blas_thread

pytestmark = pytest.mark.any_mode


@pytest.fixture
def blas():
    """NumPy's BLAS with three threads, a number that the library does not set."""
    found = numpy_blas()
    with found.limit(3):
        yield found


def test_a_block_has_one_thread_and_the_caller_what_it_had(blas):
    with one_blas_thread() as is_limited:
        assert is_limited
        assert blas.num_threads == 1
    assert blas.num_threads == 3


def test_an_error_restores_the_threads(blas):
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        raise ZeroDivisionError
    assert blas.num_threads == 3


def test_the_last_of_several_blocks_restores_the_threads(blas):
    """Blocks of two threads overlap, and the first to begin ends first."""
    began, may_end = threading.Event(), threading.Event()

    def other() -> None:
        with one_blas_thread():
            began.set()
            may_end.wait(60)

    with one_blas_thread():
        thread = threading.Thread(target=other)
        thread.start()
        assert began.wait(60)
    assert blas.num_threads == 1
    may_end.set()
    thread.join(60)
    assert blas.num_threads == 3


def test_long_products_keep_the_threads(blas):
    with blas_threads_for(SHORT):
        assert blas.num_threads == 1
    with blas_threads_for(SHORT + 1):
        assert blas.num_threads == 3


def test_another_blas_keeps_its_threads(blas, monkeypatch):
    monkeypatch.setattr(blas_threads, "PREFIXES", ("absent_",))
    blas_threads._openblas.cache_clear()
    try:
        with one_blas_thread() as is_limited:
            assert not is_limited
            assert blas.num_threads == 3
    finally:
        blas_threads._openblas.cache_clear()
