"""Reference of `dlcore.tensors`: a loop over the examples."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike


def over_examples(f: Callable[[np.ndarray], ArrayLike], x: ArrayLike, axis: int) -> np.ndarray:
    """Return f of each example in turn, along a new first axis."""
    x = np.asarray(x)
    return np.stack([np.asarray(f(x.take(index, axis))) for index in range(x.shape[axis])])
