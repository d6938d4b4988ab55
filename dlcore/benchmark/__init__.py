"""Benchmarks: what a device gains, judged before it is printed."""

from dlcore.benchmark.bench import Benchmark, bench

__all__ = ["Benchmark", "bench"]
