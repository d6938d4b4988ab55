"""The set-up of every run: dtype, devices, compilation cache and markers.

JAX's environment variables choose the mode: `JAX_ENABLE_X64=1` for float64, `JAX_NUM_CPU_DEVICES=4 NPROC=4` for
four simulated devices. `DLCORE_TEST_CACHE` names the folder of compiled programs; `off` means none.
`DLCORE_TEST_OPTIMIZE=1` compiles with XLA's defaults.
"""

import os
from pathlib import Path

import compilation_cache

# Both are inherited by child processes, and read when NumPy and JAX are imported.
# Matrices of tests are small, and BLAS threads that wait for busy cores cost tenfold.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
compilation_cache.enable()
compilation_cache.compile_quickly()

import jax  # noqa: E402
import pytest  # noqa: E402
import slow_tests  # noqa: E402
from helpers import compilations  # noqa: E402
from seams import clear_compiled_programs, share_mlir_context  # noqa: E402

# Scripts that tests run in processes of their own.
collect_ignore = ["oracles", "repeated_fits.py", "sharded_steps.py"]

# A silent conversion or broadcast by JAX is an error in the library.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_report_header() -> str:
    """Return the line that says in which mode the tests run."""
    x64 = jax.config.read("jax_enable_x64")
    cache = jax.config.values["jax_compilation_cache_dir"] or "off"
    dtype = "float64" if x64 else "float32"
    flags = os.environ.get("XLA_FLAGS", "none")
    return f"jax {jax.__version__}, {dtype}, {jax.device_count()} devices, cache: {cache}, XLA_FLAGS: {flags}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that `slow.txt` names, unless single tests were asked for by name."""
    if not any("::" in argument for argument in config.args):
        x64 = jax.config.read("jax_enable_x64")
        slow_tests.mark(items, Path(__file__).parent, check_variants=not x64)


@pytest.fixture
def compiles():
    """Return a function that counts the programs compiled since the test began.

    JAX reports a program that it reads from the persistent cache too.
    """
    start = len(compilations)
    return lambda: len(compilations) - start


MAX_BYTES = 2 * 2**30
"""Resident memory of a worker above which compiled programs are cleared after a file of tests."""


@pytest.fixture(autouse=True, scope="module")
def one_mlir_context():
    """Lower the programs of a file of tests in one MLIR context."""
    with share_mlir_context():
        yield


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    """Clear compiled programs after a file if they hold gigabytes. The persistent cache keeps them."""
    yield
    statm = Path("/proc/self/statm")
    if statm.exists() and int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > MAX_BYTES:
        clear_compiled_programs()


@pytest.fixture(autouse=True, scope="module")
def check_any_mode(request):
    """Check that a file marked any_mode runs no program in the dtype of the run.

    The file computes with NumPy, or sets a mode itself. In a float32 run no program may be compiled outside x64
    mode. The caches are cleared first, because a cached program is not compiled again.
    """
    marked = request.node.get_closest_marker("any_mode") and not jax.config.read("jax_enable_x64")
    if marked:
        clear_compiled_programs()
    start = len(compilations)
    yield
    if marked:
        assert all(compilations[start:]), f"{request.node.name} is marked any_mode and computes in float32"
