"""Benchmarks: what a device gains, judged before it is printed."""

from dlcore.benchmark.interface import Benchmark, bench

__all__ = ["Benchmark", "bench"]
