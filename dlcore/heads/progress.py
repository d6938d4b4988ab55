"""Progress of `fit_heads`: what is done, the worst gap so far, and the seconds that are left."""

import math
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, TypeAlias

FITTED, CERTIFIED = "heads fitted", "fits certified"
"""The kinds of work. A fit has the heads of all strengths of one fold and target."""
PATIENCE_S = 2.0
"""Seconds before a terminal shows progress that was not asked for."""
REDRAW_S = 0.1
"""The shortest time between two changes of the line."""


class Progress(NamedTuple):
    """Report on a running call of `fit_heads`.

    Attributes:
      work: the kind of work, "heads fitted" or "fits certified".
      done: how many are done.
      total: how many there are.
      worst_gap: the largest gap that was certified so far; nan before the first certificate.
      seconds_left: an estimate for the rest of this kind of work, without compilation; nan before any is done.

    >>> print(Progress("heads fitted", 30, 150, float("nan"), 12.3))
    30 of 150 heads fitted, 12 s left
    """

    work: str
    done: int
    total: int
    worst_gap: float
    seconds_left: float

    def __str__(self) -> str:
        parts = [f"{self.done} of {self.total} {self.work}"]
        parts += [] if math.isnan(self.worst_gap) else [f"worst gap {self.worst_gap:.1g}"]
        parts += [] if math.isnan(self.seconds_left) else [f"{self.seconds_left:.0f} s left"]
        return ", ".join(parts)


ProgressLike: TypeAlias = bool | Callable[[Progress], object] | None
"""What callers pass: whether progress is shown, a function that receives it, or None for the default."""


class Reporter:
    """Reporter of a call's progress. As a context it removes its line from the terminal."""

    def __init__(self, progress: ProgressLike, compile_seconds: Callable[[], float]) -> None:
        """Choose where reports go.

        Args:
          progress: as `fit_heads` takes it.
          compile_seconds: a function that returns the seconds of compilation so far.

        Raises:
          TypeError: if `progress` is neither True, False, None nor a function.
        """
        if not (progress is None or isinstance(progress, bool) or callable(progress)):
            raise TypeError(f"progress: expected True, False, None or a function of a Progress, got {progress!r}")
        self._line: TerminalLine | None = None
        self._receive: Callable[[Progress], object] | None = None
        if callable(progress):
            self._receive = progress
        elif progress or (progress is None and _is_terminal()):
            self._line = TerminalLine(0.0 if progress else PATIENCE_S)
            self._receive = self._line.show
        self._compile_seconds = compile_seconds
        self._work, self._worst_gap = "", math.nan
        self._start = self._compiled = 0.0
        self._last = self._now()

    def report(self, work: str, done: int, total: int, gap: float = math.nan) -> None:
        """Report that some work is done.

        Args:
          work: the kind of work.
          done: how many are done.
          total: how many there are.
          gap: the largest gap of what was certified just now.
        """
        self._worst_gap = max(self._worst_gap, gap) if self._worst_gap >= 0 else gap
        if self._receive is None:
            return
        if work != self._work:
            self._work, self._start = work, self._last
        self._last = self._now()
        left = (self._last - self._start) * (total - done) / done if done else math.nan
        self._receive(Progress(work, done, total, self._worst_gap, left))

    def _now(self) -> float:
        """Return the time in seconds, without compilation."""
        return time.perf_counter() - self._compile_seconds()

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.clear()


class TerminalLine:
    """A line on stderr that is written over; where stderr is no terminal, a line for each report."""

    def __init__(self, patience: float) -> None:
        """Show nothing for `patience` seconds."""
        self._next = time.monotonic() + patience
        self._width = 0
        self._over = _is_terminal()

    def show(self, progress: Progress) -> None:
        """Show the progress, unless the line has just changed."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + REDRAW_S
        text = f"fit_heads: {progress}"
        if self._over:
            print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the line from a terminal."""
        if self._over and self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=sys.stderr, flush=True)


def _is_terminal() -> bool:
    """Return whether stderr is a terminal. It is None in a program without a console."""
    return sys.stderr is not None and sys.stderr.isatty()
