"""Counting of the programs that JAX compiles, and their seconds."""

import threading
import time

import jax

EVENTS = ("jaxpr_trace_duration", "jaxpr_to_mlir_module_duration", "backend_compile_duration")
"""What JAX reports of a program: tracing, lowering and compiling it. The last comes once for each program."""


class Compilations:
    """Context that counts the programs that this thread compiles.

    A program that JAX reads from its persistent cache is counted too.

    Attributes:
      names: the names of the programs, in the order of their compilation.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._spans: list[tuple[float, float]] = []
        self._thread = threading.get_ident()

    @property
    def count(self) -> int:
        """The number of programs."""
        return len(self.names)

    @property
    def seconds(self) -> float:
        """The time during which programs were traced, lowered or compiled. The trace of a part lies in another."""
        total, last = 0.0, 0.0
        for start, end in sorted(self._spans):
            total += max(0.0, end - max(start, last))
            last = max(last, end)
        return total

    def _listen(self, event: str, duration_secs: float, **about: str | int | float) -> None:
        if threading.get_ident() == self._thread and event.endswith(EVENTS):
            now = time.perf_counter()
            self._spans.append((now - duration_secs, now))
            if event.endswith(EVENTS[-1]):
                self.names.append(str(about.get("fun_name", "")).removeprefix("jit(").removesuffix(")"))

    def __enter__(self) -> "Compilations":
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._listen)
