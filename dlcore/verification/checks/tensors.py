"""Functions of one example over many, wherever the axis of the examples stands."""

from typing import Any

import numpy as np

from dlcore import tensors
from dlcore._core.types import Array
from dlcore.reference import tensors as twins
from dlcore.verification.check import Check, Exact


def checks(dtype: np.dtype) -> list[Check]:
    """The examples last, an argument that all of them share; and the axes in another order."""
    random = np.random.default_rng(0)
    x = random.normal(size=(4, 3, 2, 5)).astype(dtype)
    shared = random.normal(size=(4, 3, 2)).astype(dtype)

    def of(x: Array, shared: Array) -> dict[str, Any]:
        layout = tensors.Layout("height width example")
        many = tensors.over_examples(lambda one, shared: (one * shared).sum(0), layout)
        return {"values": many(x, shared), "axes": layout.rearrange(x, "example width height")}

    def twin(x: np.ndarray, shared: np.ndarray) -> dict[str, Exact]:
        def many(x: np.ndarray, shared: np.ndarray) -> np.ndarray:
            return twins.over_examples(lambda one: (one * shared).sum(0), x, 2)

        pairs = list(zip(x, shared, strict=True))
        terms = np.stack([many(np.abs(one), np.abs(other)) for one, other in pairs])
        return {
            "values": Exact(np.stack([many(*pair) for pair in pairs]), 1.0, 3 * terms, unit="n·ulp"),
            "axes": Exact(x.transpose(0, 3, 2, 1), 0.0),
        }

    return [Check("tensors.over_examples", of, twin, (x, shared), covers=("tensors.Layout",))]
