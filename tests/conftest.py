"""The suite runs in float32 or float64, on one or several CPU devices, as JAX's environment variables say."""

import jax
import pytest
from helpers import compilations

from dlcore.objective.cores import clear_programs

# Scripts that tests run in processes of their own.
collect_ignore = ["repeated_fits.py", "sharded_steps.py"]

# What JAX would convert or broadcast without a word is an error in the library.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_report_header() -> str:
    x64 = jax.config.read("jax_enable_x64")
    return f"jax {jax.__version__}, {'float64' if x64 else 'float32'}, {jax.device_count()} devices"


@pytest.fixture
def compiles():
    """A function that tells how many programs XLA has compiled since the test began."""
    start = len(compilations)
    return lambda: len(compilations) - start


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    """The compiled programs of one file of tests do not outlive it: there are gigabytes of them in all."""
    yield
    jax.clear_caches()
    clear_programs()
