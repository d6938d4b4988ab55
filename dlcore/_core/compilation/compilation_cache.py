"""JAX's persistent compilation cache in a private folder, so that no process compiles what another has compiled.

An entry of the cache is machine code, which XLA loads and runs.
Whoever can write into the folder can therefore run code as the user who reads it.
This module imports the standard library alone, and JAX when a setting is read or changed.
"""

import contextlib
import hashlib
import os
import platform
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SETTINGS: dict[str, Any] = {
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
    # With caches of XLA's own, the name of the folder is part of the key of every program.
    "jax_persistent_cache_enable_xla_caches": "none",
}
"""Settings of JAX beside the folder, so that every program is stored."""

FOLDER = "jax_compilation_cache_dir"
ENABLED = "jax_enable_compilation_cache"


def compilation_cache(path: str | os.PathLike[str] | None = None) -> Path:
    """Turn on JAX's persistent compilation cache, in a private folder of the user.

    A program that an earlier process has compiled is then read from the disk.
    Call it at the beginning of a script. It changes settings of JAX and starts no backend.

    - The default folder is `$XDG_CACHE_HOME/dlcore/compiled/NAME`, with `~/.cache` if the variable is not set.
      On macOS it is below `~/Library/Caches`, and on Windows below `%LOCALAPPDATA%`.
    - NAME holds the version of jaxlib and a digest of the platform and of the features of the processor.
      A program that was compiled for another processor is therefore not read.
    - Missing folders are made with mode 0700.
    - If JAX has a folder already, `compilation_cache()` changes nothing. The folder may come from
      `JAX_COMPILATION_CACHE_DIR`, from `jax.config` or from an earlier call.
    - With `JAX_ENABLE_COMPILATION_CACHE=false` JAX neither reads nor writes programs.
    - An entry that is damaged, or that cannot be written, causes a warning of JAX, and JAX compiles the program.
    - The folder grows without a limit, and it can be removed at any time.

    An entry is machine code, which XLA loads and runs. The folder must therefore belong to the user, and nobody
    else may write into it. The folder above it must belong to the user or the superuser. A folder further up that
    everybody can write into must have the sticky bit, as `/tmp` has.

    Args:
      path: a folder, used as it is, without NAME. It replaces the folder that JAX has.

    Returns:
      The absolute path of the folder, without symbolic links, or the folder that JAX had already.

    Raises:
      TypeError: if the path is no path.
      ValueError: if the path is empty, has a zero byte or is an address.
      OSError: if the path is a file, or if the folder cannot be made, is not private or cannot be written. The
        error names the folder.

    Source: JAX, https://docs.jax.dev/en/latest/persistent_compilation_cache.html.

    >>> import dlcore, jax
    >>> folder = dlcore.compilation_cache()
    >>> str(folder) == jax.config.jax_compilation_cache_dir
    True
    """
    if path is None:
        current = current_folder()
        return use_folder("compilation cache", default_folder()) if current is None else current
    return use_folder("path", path)


def use_folder(name: str, path: object) -> Path:
    """Make a private folder and store all compiled programs there; `name` begins the messages of errors."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache as jax_cache

    folder = make_private_folder(name, path)
    for setting, value in {**SETTINGS, FOLDER: str(folder)}.items():
        jax.config.update(setting, value)
    jax_cache.reset_cache()  # JAX keeps the folder of its first compilation
    return folder


def current_folder() -> Path | None:
    """Return the folder that JAX stores programs in, None if it has none."""
    import jax

    folder = getattr(jax.config, FOLDER)
    return Path(folder) if folder else None


def is_enabled() -> bool:
    """Return whether JAX may use a cache: False with JAX_ENABLE_COMPILATION_CACHE=false."""
    import jax

    return bool(getattr(jax.config, ENABLED))


@contextlib.contextmanager
def restored_settings() -> Iterator[None]:
    """Restore after the block the settings of the compilation cache, of the whole process."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache as jax_cache

    before = {name: getattr(jax.config, name) for name in (FOLDER, ENABLED, *SETTINGS)}
    try:
        yield
    finally:
        if any(getattr(jax.config, name) != value for name, value in before.items()):
            for name, value in before.items():
                jax.config.update(name, value)
            jax_cache.reset_cache()


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """Compile every program inside the block, also where a cache is set, so that compilations can be timed."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache as jax_cache

    with restored_settings():
        jax.config.update(ENABLED, False)
        jax_cache.reset_cache()  # JAX reads the setting at its first compilation only
        yield


def default_folder() -> Path:
    """Return the user's folder for programs of this jaxlib and processor. It need not exist."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = home / ".cache"
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(chosen):  # the specification says that a relative path is ignored
        base = Path(chosen)
    if not base.is_absolute():
        raise FileNotFoundError("compilation cache: the user has no home folder")
    return base / "dlcore" / "compiled" / folder_name()


def folder_name() -> str:
    """Return a name for the programs of this jaxlib and this kind of processor."""
    from jaxlib.version import __version__ as jaxlib  # loads no compiled code

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux; the version of Darwin names the family of chips
        lines = [platform.processor(), platform.version()]
    features = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}) or lines
    facts = "\n".join([jaxlib, platform.system(), platform.machine(), *features])
    return f"jaxlib-{jaxlib}-{platform.machine()}-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"


def make_private_folder(name: str, path: object) -> Path:
    """Return the real path of a folder, made with mode 0700 if missing; raise if it is not private.

    Args:
      name: the name of the argument in messages.
      path: a path of the caller.

    Raises:
      TypeError: if it is no path.
      ValueError: if it is no path of the file system.
      OSError: if it is no folder, cannot be made, is not private or cannot be written.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise TypeError(f"{name}: expected a path, got {path!r}")
    text = os.fspath(path)
    if not text or "\0" in text or "://" in text:
        raise ValueError(f"{name}: expected the path of a local folder, got {text!r}")
    folder = Path(os.path.realpath(text))  # whoever owns a link could change it later
    try:
        _make_folders(folder)
        if not folder.is_dir():
            raise NotADirectoryError(f"{name}: expected a folder, got the file {folder}")
    except OSError as error:
        if error.strerror is None:
            raise
        raise type(error)(f"{name}: the folder {folder} cannot be made ({error.strerror})") from error
    _check_private(name, folder)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(f"{name}: the folder {folder} cannot be written")
    return folder


def _make_folders(folder: Path) -> None:
    """Make a folder and its missing parents, each with mode 0700."""
    for part in [*reversed(folder.parents), folder]:
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)  # another process may be first


def _check_private(name: str, folder: Path) -> None:
    """Raise if another user could change the entries of a folder, or rename the folder."""
    if os.name != "posix":  # the profile of a user of Windows is private
        return
    user = os.geteuid()
    reason = "its entries are code that XLA runs; use another folder"
    for depth, part in enumerate([folder, *folder.parents]):
        status = part.stat()
        if (depth == 0 and status.st_uid != user) or (depth == 1 and status.st_uid not in (user, 0)):
            raise PermissionError(f"{name}: the folder {part} belongs to another user, and {reason}")
        # In a folder with the sticky bit, such as /tmp, a user can rename only what he owns.
        is_sticky = depth > 0 and status.st_mode & stat.S_ISVTX
        if status.st_mode & (0o002 if depth else 0o022) and not is_sticky:
            mode = f"{stat.S_IMODE(status.st_mode):04o}"
            raise PermissionError(f"{name}: other users can write into {part} (mode {mode}), and {reason}")
