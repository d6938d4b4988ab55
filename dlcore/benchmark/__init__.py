"""Benchmarks of dlcore against other libraries, in which inaccurate or implausible results are excluded."""

from dlcore.benchmark.bench import Benchmark, bench

__all__ = ["Benchmark", "bench"]
