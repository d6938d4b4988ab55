"""The threads of NumPy's BLAS, which wait for each other and are slow where another process has a core.

OpenBLAS gives each product to all cores. A thread that has no core holds up the others, in each product anew. With
one busy process beside it, a short product on two threads takes twenty times as long as on one.
"""

import contextlib
import ctypes
import functools
import importlib.util
import threading
from collections.abc import Callable, Iterator

PREFIXES = ("scipy_openblas_", "openblas_")
"""Beginnings of the names of OpenBLAS's functions: in NumPy's wheels, and as most systems have it."""
SUFFIXES = ("64_", "")
"""Ends of them, for indices of 64 bits and of 32."""

SHORT = 2**32
"""Products that one thread computes in a fraction of a second."""

_lock = threading.Lock()
_blocks = 0
_threads_before = 1


@contextlib.contextmanager
def one_blas_thread() -> Iterator[bool]:
    """Limit NumPy's OpenBLAS to one thread in all of this process, for the block.

    Blocks may overlap in several threads. The last one to end restores the number of threads.

    Yields:
      Whether there is a limit. Another BLAS than OpenBLAS, and one that is not found, keeps its threads.

    Example:
      >>> import numpy as np
      >>> with one_blas_thread() as is_limited:
      ...     square = np.ones((2, 2)) @ np.ones((2, 2))
    """
    global _blocks, _threads_before
    functions = _openblas()
    if functions is None:
        yield False
        return
    get_threads, set_threads = functions
    with _lock:
        if _blocks == 0:
            _threads_before = get_threads()
            set_threads(1)
        _blocks += 1
    try:
        yield True
    finally:
        with _lock:
            _blocks -= 1
            if _blocks == 0:
                set_threads(_threads_before)


def blas_threads_for(products: int) -> contextlib.AbstractContextManager[object]:
    """Return `one_blas_thread` for at most `SHORT` products, and else a context that changes nothing."""
    return one_blas_thread() if products <= SHORT else contextlib.nullcontext()


@functools.cache
def _openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """Return the functions that get and set the number of threads, or None for another BLAS."""
    module = importlib.util.find_spec("numpy.linalg._umath_linalg")
    if module is None or module.origin is None:
        return None
    try:
        library = ctypes.CDLL(module.origin)  # loaded before; its symbols include those of its BLAS
    except OSError:
        return None
    for prefix in PREFIXES:
        for suffix in SUFFIXES:
            get_threads = getattr(library, f"{prefix}get_num_threads{suffix}", None)
            set_threads = getattr(library, f"{prefix}set_num_threads{suffix}", None)
            if get_threads is not None and set_threads is not None:
                get_threads.argtypes, get_threads.restype = (), ctypes.c_int
                set_threads.argtypes, set_threads.restype = (ctypes.c_int,), None
                return get_threads, set_threads
    return None
