"""Every public function is exported by `jax.export` for CPU, CUDA, ROCm and TPU, without running there."""

import jax
import numpy as np
import pytest

from dlcore.verification.check import Check
from dlcore.verification.registry import all_checks

pytestmark = pytest.mark.any_mode

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
TRACED = [check for check in all_checks(np.dtype(np.float32)) if check.traced]


@pytest.mark.parametrize("check", TRACED, ids=lambda check: check.name)
def test_a_function_lowers_for_every_platform(check: Check):
    shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in check.inputs]
    artefact = jax.export.export(jax.jit(jax.vmap(check.function)), platforms=PLATFORMS)(*shapes)
    assert artefact.platforms == PLATFORMS
