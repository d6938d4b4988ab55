"""The threads of NumPy's BLAS, as threadpoolctl counts them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest


class NumpyBlas:
    """The BLAS that NumPy has loaded."""

    def __init__(self, library: Any) -> None:
        self._library = library

    @property
    def num_threads(self) -> int:
        """Return the number of its threads."""
        return self._library.get_num_threads()

    @contextlib.contextmanager
    def limit(self, count: int) -> Iterator[None]:
        """Set the number of its threads for a block."""
        before = self.num_threads
        self._library.set_num_threads(count)
        try:
            yield
        finally:
            self._library.set_num_threads(before)


def numpy_blas() -> NumpyBlas:
    """Return NumPy's OpenBLAS. The test is skipped where NumPy has another BLAS."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    for library in threadpoolctl.ThreadpoolController().lib_controllers:
        if library.internal_api == "openblas" and "numpy" in library.filepath:
            return NumpyBlas(library)
    pytest.skip("NumPy has no OpenBLAS of its own here")
