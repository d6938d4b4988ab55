"""JAX's persistent compilation cache for the tests and every process that they start."""

import hashlib
import os
import platform
from collections.abc import MutableMapping
from pathlib import Path

FOLDER = Path(__file__).parent.parent / ".test_cache"
"""The default folder, which git ignores."""


def enable(environment: MutableMapping[str, str] = os.environ) -> None:
    """Point JAX at a folder of compiled programs, before JAX is imported.

    A program is compiled for the processor at hand, so each kind of processor has a folder of its own.
    A folder that the user has chosen for JAX stays.

    Args:
      environment: the variables to change; those of this process if omitted.
    """
    folder = environment.get("DLCORE_TEST_CACHE") or str(FOLDER)
    if folder == "off" or "JAX_COMPILATION_CACHE_DIR" in environment:
        return
    environment["JAX_COMPILATION_CACHE_DIR"] = str(Path(folder).absolute() / processor())
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    environment["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    # With caches of XLA's own, the name of the folder is part of the key of every program.
    environment["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"


def processor() -> str:
    """Return a name for the kind of processor: its architecture and a digest of its features."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        lines = [platform.processor()]
    features = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}) or lines
    return f"{platform.machine()}-{hashlib.sha256(''.join(features).encode()).hexdigest()[:12]}"
