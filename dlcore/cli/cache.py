"""The persistent compilation cache of a command."""

import contextlib
import os
from collections.abc import Iterator

from dlcore._core.compilation import compilation_cache
from dlcore.cli import interrupts

VARIABLE = "DLCORE_CACHE"
"""Environment variable: a folder for the programs of all processors, or "off"."""


@contextlib.contextmanager
def cached_programs() -> Iterator[None]:
    """Store the compiled programs of the block on the disk, and read what earlier commands have stored.

    A folder that the user has set for JAX stays, as does `JAX_ENABLE_COMPILATION_CACHE=false`. If no folder can
    be made, a line on standard error says so, and the command runs without the cache.
    """
    chosen = os.environ.get(VARIABLE, "")
    with compilation_cache.restored_settings():
        has_cache = compilation_cache.current_folder() is not None or not compilation_cache.is_enabled()
        if chosen != "off" and not has_cache:
            try:
                if chosen:
                    compilation_cache.use_folder(VARIABLE, os.path.join(chosen, compilation_cache.folder_name()))
                else:
                    compilation_cache.compilation_cache()
            except (OSError, ValueError) as error:
                interrupts.warn(f"no cache of compiled programs: {error}")
        yield
