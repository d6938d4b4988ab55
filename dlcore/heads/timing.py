"""Seconds of a call of `fit_heads`: compiling, solving and certifying."""

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple

from dlcore._core.compilation.compilations import Compilations


class HeadsTiming(NamedTuple):
    """Seconds of a call of `fit_heads`, after its arguments were checked.

    Attributes:
      compile: tracing and compiling programs, or reading them from JAX's persistent cache.
      run: solving and scoring.
      certify: the certificates.
      programs: the names of the programs that were compiled or read. A later call with these shapes has none, or
        only those that harder heads need: `accumulate_with_hessian`, or `accumulate` once more, in float64. On a
        CPU Newton's method and small or wide tables use NumPy and compile no pass.
    """

    compile: float
    run: float
    certify: float
    programs: tuple[str, ...]


class Stopwatch:
    """Clock of a call. As a context it times the call."""

    def __init__(self) -> None:
        self._compilations = Compilations()
        self._certify = self._start = self._seconds = 0.0

    def __enter__(self) -> "Stopwatch":
        self._compilations.__enter__()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self._seconds = time.perf_counter() - self._start
        self._compilations.__exit__(*error)

    @contextlib.contextmanager
    def certifying(self) -> Iterator[None]:
        """Count what is done inside as certification. No program is compiled there."""
        start = time.perf_counter()
        yield
        self._certify += time.perf_counter() - start

    def timing(self) -> HeadsTiming:
        """Return the seconds of the call."""
        compile_s = self._compilations.seconds
        run = max(0.0, self._seconds - compile_s - self._certify)
        return HeadsTiming(compile_s, run, self._certify, tuple(self._compilations.names))
