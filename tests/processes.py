"""Commands as a user calls them, in a new process or in that of the tests, and waiting for a process."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
from helpers import ROOT

from dlcore.cli import main

TIMEOUT_S = 200.0
"""Seconds to wait for an event that takes less than ten on an idle machine."""


def wait_for(happened: Callable[[], Any], process: subprocess.Popen[Any]) -> None:
    """Wait for an event of a process. Fail if the process ends first or after `TIMEOUT_S` seconds."""
    deadline = time.monotonic() + TIMEOUT_S
    while not happened():
        assert process.poll() is None, f"the process ended with {process.returncode}"
        assert time.monotonic() < deadline, f"nothing happened in {TIMEOUT_S:.0f} s"
        time.sleep(0.005)


COMMAND = (sys.executable, "-m", "dlcore")


def user_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a user, without the precision of the suite."""
    environment = {**os.environ, "COLUMNS": "200", **variables}
    environment.pop("JAX_ENABLE_X64", None)
    return environment


def dlcore(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a new process, as a user does."""
    command = [*COMMAND, *map(str, arguments)]
    environment = user_environment()
    return subprocess.run(
        command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False, stdin=subprocess.DEVNULL
    )


USER_SETTINGS = {
    "jax_enable_x64": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
}
"""The defaults of the JAX settings that the suite changes."""


@contextlib.contextmanager
def user_settings() -> Iterator[None]:
    """Restore the default JAX settings for the block."""
    before = {name: jax.config.values[name] for name in USER_SETTINGS}
    for name, value in USER_SETTINGS.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def process_state() -> dict[str, Any]:
    """Return the state of the process that a command could change."""
    return {
        "arguments": sys.argv,
        "handlers": [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)],
        "settings of JAX": dict(jax.config.values),
        "settings of NumPy": np.geterr(),
        "folder": Path.cwd(),
        "modules searched": [*sys.path],
        "environment": dict(os.environ),
    }


class Completed(NamedTuple):
    """The exit status and output of a command, like `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def call(*arguments: str | Path) -> Completed:
    """Run the command line in this process with default settings. Check that it leaves the process unchanged."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with user_settings(), mock.patch.dict(os.environ, COLUMNS="200"):
        before = process_state()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main.main([*map(str, arguments)])
            except SystemExit as ended:
                if isinstance(ended.code, str):  # as Python itself does
                    print(ended.code, file=sys.stderr)
                status = 1 if isinstance(ended.code, str) else ended.code or 0
        assert process_state() == before
    return Completed(status, out.getvalue(), err.getvalue())
