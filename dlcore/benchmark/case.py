"""Benchmark cases: a function at one size, with its inputs, accuracy check, cost and peers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from dlcore._core.types import Device
from dlcore.benchmark.accuracy import MakeChecker
from dlcore.benchmark.tune_solver import Solver

Inputs = tuple[np.ndarray, ...]

Peer = Callable[..., object]
"""A library's function of the same inputs: NumPy arrays, PyTorch tensors (after `torch` itself) or JAX arrays."""

Tensor: TypeAlias = Any
"""A PyTorch tensor. PyTorch is optional, so a type checker does not know its types."""

Bind = Callable[[Inputs, Device], Callable[[], object]]
"""A function that moves inputs to a device and returns a call without arguments."""


class FreshFit(NamedTuple):
    """Fit of heads that is measured in fresh processes.

    Attributes:
      fit: keyword arguments of `fit_heads`, which JSON can hold.
      loop: rows, features and classes of the L-BFGS loop that is the unit of compilation.
    """

    fit: Mapping[str, Any]
    loop: tuple[int, int, int]


class Case(NamedTuple):
    """Function at one size. Exactly one of `function` and `bind` is given.

    Attributes:
      shape: the size as text.
      inputs: the inputs of one call.
      make_checker: maps the inputs to the accuracy check of an answer.
      operations: multiplications and additions that the algorithm needs at least.
      traffic: bytes that must be read and written at least once.
      function: a pure JAX function of the inputs, compiled ahead of its first call.
      bind: for a function that calls its own compiled programs.
      peers: a function for each library.
      solvers: by title, "library, solver": iterative solvers with a tolerance of their own.
      xla_counts: whether XLA counts the operations; it does not see into the libraries that it calls.
      fresh: for the suite first.
    """

    shape: str
    inputs: Inputs
    make_checker: MakeChecker
    operations: float
    traffic: float
    function: Callable[..., object] | None = None
    bind: Bind | None = None
    peers: Mapping[str, Peer] = {}
    solvers: Mapping[str, Solver] = {}
    xla_counts: bool = True
    fresh: FreshFit | None = None


class CaseFamily(NamedTuple):
    """Function at growing sizes.

    Attributes:
      name: the name of the function, such as "linalg.matmul".
      suite: the suite that it belongs to.
      sizes: in increasing order, four times as many bytes to read from each to the next.
      make: returns the case of a size.
      size_unit: what the size counts.
      make_quick: returns a smaller case for `quick` runs; None if `make` takes only seconds.
      measure: replaces `measure_case`, with the same arguments; None if the cases are called in this process.
    """

    name: str
    suite: str
    sizes: tuple[int, ...]
    make: Callable[[int], Case]
    size_unit: str = "numbers"
    make_quick: Callable[[int], Case] | None = None
    measure: Callable[..., Any] | None = None
