"""What is measured: a function, its size, the inputs, what it must cost, and who else can do it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dlcore._core.types import Device
from dlcore.benchmark.accuracy import Judge
from dlcore.benchmark.tune_solver import Solver

Inputs = tuple[np.ndarray, ...]
Peer = Callable[..., Any]
"""Somebody else's function of the same inputs: NumPy's of arrays, PyTorch's of tensors, JAX's of placed arrays."""


class Work(NamedTuple):
    """One function at one size.

    Attributes:
      shape: the size in words.
      function: pure JAX, of the inputs; None where there is `ready`.
      inputs: of one call.
      judge: of the inputs, what judges an answer.
      peers: by library a function, or by name what minimises to a tolerance of its own.
      operations: multiplications and additions that the algorithm cannot do without.
      traffic: bytes that must be read and written at least once.
      counted: whether the compiler counts the operations: it does not look into libraries that it calls.
      ready: None where `function` is compiled as it stands; else (inputs, device) to a function of nothing, for a
        verb that calls its programs itself.
    """

    shape: str
    function: Callable[..., Any] | None
    inputs: Inputs
    judge: Callable[[Inputs], Judge]
    peers: Mapping[str, Peer | Mapping[str, Solver]]
    operations: float
    traffic: float
    counted: bool = True
    ready: Callable[[Inputs, Device], Callable[[], Any]] | None = None


class Family(NamedTuple):
    """The same function at growing sizes.

    Attributes:
      name: of the function in the library, such as "linalg.matmul".
      suite: the suite that it belongs to.
      sizes: from the smallest, each four times the one before in what they cost to read.
      make: (size) to the work.
      along: what the size counts.
      quick: what is made where it is only to be seen that all runs; None where `make` takes seconds.
    """

    name: str
    suite: str
    sizes: tuple[int, ...]
    make: Callable[[int], Work]
    along: str = "numbers"
    quick: Callable[[int], Work] | None = None
