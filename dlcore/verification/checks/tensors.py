"""Checks of functions of one example that run over many."""

import numpy as np

from dlcore import tensors
from dlcore._core.types import Array
from dlcore.reference import tensors as reference
from dlcore.verification.check import Check, Exact, Results


def checks(dtype: np.dtype) -> list[Check]:
    """Return a check with examples on the last axis, a shared argument and reordered axes."""
    random = np.random.default_rng(0)
    x = random.normal(size=(4, 3, 2, 5)).astype(dtype)
    factor = random.normal(size=(4, 3, 2)).astype(dtype)

    def compute(x: Array, factor: Array) -> Results:
        layout = tensors.Layout("height width example")
        over_examples = tensors.over_examples(lambda example, factor: (example * factor).sum(0), layout)
        return {"values": over_examples(x, factor), "axes": layout.rearrange(x, "example width height")}

    def expected(x: np.ndarray, factor: np.ndarray) -> dict[str, Exact]:
        def over_examples(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
            pairs = zip(x, factor, strict=True)
            return np.stack([reference.over_examples(lambda row, b=b: (row * b).sum(0), a, 2) for a, b in pairs])

        values, magnitudes = over_examples(x, factor), over_examples(np.abs(x), np.abs(factor))
        return {
            "values": Exact(values, 1.0, 3 * magnitudes, unit="n·ulp"),
            "axes": Exact(x.transpose(0, 3, 2, 1), 0.0),
        }

    return [Check("tensors.over_examples", compute, expected, (x, factor), covers=("tensors.Layout",))]
