"""Progress of a call of `fit_heads`: a line on a terminal, or records for a function of the caller's."""

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from typing import TextIO

import numpy as np

from dlcore._core.compilation.compilations import Compilations

QUIET_SECONDS = 2.0
"""Seconds from the start of the call in which nothing is printed."""
INTERVAL_SECONDS = 0.2
"""Least time between two reports within a stage."""
LOG_SECONDS = 10.0
"""Least time between two lines where standard error is no terminal."""


@dataclasses.dataclass(frozen=True)
class HeadsProgress:
    """Progress of a call of `fit_heads`.

    Attributes:
      stage: "fit", "certify" or "refine"; ridge heads have "fit" alone, which certifies them too.
      heads: the number of heads that have passed the stage.
      total: the number of all heads: strengths times targets times the fit on all rows and the folds.
      worst_gap: the largest certified gap so far; nan before the first certificate.
      seconds_left: an estimate for the rest of the stage, without compilation; nan before the first head.

    >>> print(HeadsProgress("certify", heads=3, total=9, worst_gap=1.7e-9, seconds_left=12.0))
    certify: 3 of 9 heads, worst gap 2e-09, 12 s left
    """

    stage: str
    heads: int
    total: int
    worst_gap: float
    seconds_left: float

    def __str__(self) -> str:
        parts = [f"{self.stage}: {self.heads} of {self.total} heads"]
        if not math.isnan(self.worst_gap):
            parts.append(f"worst gap {self.worst_gap:.1g}")
        if not math.isnan(self.seconds_left):
            parts.append(f"{self.seconds_left:.0f} s left")
        return ", ".join(parts)


ProgressLike = bool | Callable[[HeadsProgress], object] | None
"""The argument `progress` of `fit_heads`."""


class Reporter:
    """Receiver of the progress of a call. The line is cleared on leaving the context.

    Attributes:
      callback: the function of the caller's; None for a line on standard error.
      worst_gap: the largest certified gap so far.
      total: the number of all heads.
    """

    def __init__(self, callback: Callable[[HeadsProgress], object] | None = None) -> None:
        self.callback, self.worst_gap, self.total = callback, math.nan, 0
        self._stream: TextIO | None = sys.stderr
        self._compilations = Compilations()
        self._start = self._last = self._stage_start = time.perf_counter()
        self._stage, self._width, self._compiled = "fit", 0, 0.0
        self._gaps: dict[str, np.ndarray] = {}
        self._passed: int | None = None

    def begin(self, stage: str, heads: int | None = None) -> None:
        """Begin a stage, from which time is counted.

        Args:
          stage: its name.
          heads: the number of heads that have passed it, if certificates do not count them.
        """
        self._stage, self._stage_start, self._compiled = stage, time.perf_counter(), self._compilations.seconds
        self._passed = heads
        if heads is not None:
            self.update(heads, ended=True)

    def certified(self, key: str, gap: np.ndarray) -> None:
        """Record the gaps of certified heads under a key, and report.

        Gaps already stored under that key are replaced.

        Args:
          key: the name of the heads.
          gap: the certified gaps of the heads.
        """
        self._gaps[key] = gap
        self.worst_gap = max(float(part.max()) for part in self._gaps.values())
        heads = sum(part.size for part in self._gaps.values()) if self._passed is None else self._passed
        self.update(heads, ended=True)

    def update(self, heads: int, *, ended: bool = False) -> None:
        """Report the number of heads that have passed the stage, at most once per interval.

        Args:
          heads: the number of heads.
          ended: whether a part of the stage has ended, which is always reported to a function.
        """
        now = time.perf_counter()
        if not (ended and self.callback) and now - self._last < self._interval():
            return
        self._last = now
        spent = now - self._stage_start - (self._compilations.seconds - self._compiled)
        left = max(0.0, spent) * (self.total - heads) / heads if heads else math.nan
        report = HeadsProgress(self._stage, heads, self.total, self.worst_gap, left)
        if self.callback is not None:
            self.callback(report)
        elif self._stream is not None and now - self._start >= QUIET_SECONDS:
            self._print(str(report))

    def _interval(self) -> float:
        return INTERVAL_SECONDS if self.callback is not None or is_terminal(self._stream) else LOG_SECONDS

    def _print(self, text: str) -> None:
        text = f"fit_heads: {text}"
        if is_terminal(self._stream):
            self._write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._write(text + "\n")

    def _write(self, text: str) -> None:
        """Write to standard error. A stream that is closed or broken is not written to again."""
        try:
            print(text, end="", file=self._stream, flush=True)
        except (OSError, ValueError):
            self._stream = None

    def __enter__(self) -> "Reporter":
        self._compilations.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._compilations.__exit__(*error)
        if self._width:
            self._write("\r" + " " * self._width + "\r")


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal. A closed or absent stream is not a terminal."""
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):
        return False


def read_progress(progress: object) -> Reporter | None:
    """Return the receiver of the progress of a call, or None if nothing is reported.

    Args:
      progress: True or False, None for True on a terminal only, or a function of `HeadsProgress`.

    Raises:
      TypeError: if `progress` is something else.
    """
    if progress is None:
        return Reporter() if is_terminal(sys.stderr) else None
    if isinstance(progress, bool):
        return Reporter() if progress else None
    if not callable(progress):
        raise TypeError(f"progress: expected True, False, None or a function, got {progress!r}")
    return Reporter(progress)
