"""The words that every floor uses: arrays, trees of arrays, losses."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Array = jax.Array
"""A JAX array, concrete or traced."""

Numeric = jax.Array | np.ndarray | np.generic | bool | int | float
"""What a hyper-parameter or an eager argument may be: anything that JAX takes as one array."""

Params = Any
"""A pytree of arrays. The library's own models use NamedTuples with the fields `weight` and `bias`."""

Loss = Callable[[Array, Array], Array]
"""(prediction, target) of ONE example to a scalar."""

Device = Any
"""A `jax.Device`, a name that JAX gives at run time only and a type checker does not accept."""
