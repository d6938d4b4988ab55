"""Settings by which the tests and their processes compile programs: from a persistent cache, and quickly."""

import os
from collections.abc import MutableMapping
from importlib import metadata
from pathlib import Path

from dlcore._core.compilation import compilation_cache as library  # imports no JAX

QUICK = ["--xla_backend_optimization_level=0"]
"""XLA then compiles most programs of tests in less than half the time. They run slower, and are small."""
OLDER = ["--xla_cpu_use_fusion_emitters=false"]
"""Further options, of jaxlib before 0.11."""
FOLDER = Path(__file__).parent.parent / ".test_cache"
"""The default folder, which git ignores."""


def enable(environment: MutableMapping[str, str] = os.environ) -> None:
    """Point JAX at a folder of compiled programs, before JAX is imported.

    Each version of jaxlib and each kind of processor has a folder of its own, as in the library.
    A folder that the user has chosen for JAX stays.

    Args:
      environment: the variables to change; those of this process if omitted.
    """
    folder = environment.get("DLCORE_TEST_CACHE") or str(FOLDER)
    if folder == "off":
        environment.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")  # the command line uses none either
        return
    if "JAX_COMPILATION_CACHE_DIR" in environment:
        return
    environment[library.FOLDER.upper()] = str(Path(folder).absolute() / library.folder_name())
    for name, value in library.SETTINGS.items():
        environment[name.upper()] = str(value)


def compile_quickly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make XLA compile quickly, before JAX is imported.

    `DLCORE_TEST_OPTIMIZE=1` and flags of the user leave it as it is.

    Args:
      environment: the variables to change; those of this process if omitted.
    """
    if "XLA_FLAGS" in environment or environment.get("DLCORE_TEST_OPTIMIZE"):
        return
    version = tuple(map(int, metadata.version("jaxlib").split(".")[:2]))
    environment["XLA_FLAGS"] = " ".join(QUICK + (OLDER if version < (0, 11) else []))


def without(environment: MutableMapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of a user who has set no cache."""
    names = [library.FOLDER, library.ENABLED, *library.SETTINGS, "dlcore_cache", "xdg_cache_home"]
    return {name: value for name, value in environment.items() if name.lower() not in names}
