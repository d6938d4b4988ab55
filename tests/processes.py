"""Commands as a user calls them, in a process of their own or in that of the tests; waiting for a process."""

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

PATIENCE = 200.0
"""Seconds for what takes less than ten on an idle machine."""


def wait_for(happened: Callable[[], Any], process: subprocess.Popen[Any]) -> None:
    """Wait for what a process does; fail where the process ends before it or `PATIENCE` runs out."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None, f"the process ended with {process.returncode}"
        assert time.monotonic() < deadline, f"nothing happened in {PATIENCE:.0f} s"
        time.sleep(0.005)


COMMAND = (sys.executable, "-m", "dlcore")


def environment_of_user(**more: str) -> dict[str, str]:
    """Copy the environment without the precision of the suite: an option of the experiment decides."""
    environment = {**os.environ, "COLUMNS": "200", **more}
    environment.pop("JAX_ENABLE_X64", None)
    return environment


def dlcore(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user does."""
    command = [*COMMAND, *map(str, arguments)]
    environment = environment_of_user()
    return subprocess.run(
        command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False, stdin=subprocess.DEVNULL
    )


USER_SETTINGS = {
    "jax_enable_x64": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
}
"""The settings of JAX that the suite changes, as a user has them."""


@contextlib.contextmanager
def settings_of_user() -> Iterator[None]:
    """Set JAX as a user has it, for the block."""
    before = {name: jax.config.values[name] for name in USER_SETTINGS}
    for name, value in USER_SETTINGS.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def state_of_process() -> dict[str, Any]:
    """Return the state of the process that a command might leave changed."""
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
    """The end of a command, as `subprocess.CompletedProcess` has it."""

    returncode: int
    stdout: str
    stderr: str


def call(*arguments: str | Path) -> Completed:
    """Run the command line in this process with the settings of a user; check that the process stays as it was."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with settings_of_user(), mock.patch.dict(os.environ, COLUMNS="200"):
        before = state_of_process()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main.main([*map(str, arguments)])
            except SystemExit as ended:
                if isinstance(ended.code, str):  # as Python itself does
                    print(ended.code, file=sys.stderr)
                status = 1 if isinstance(ended.code, str) else ended.code or 0
        assert state_of_process() == before
    return Completed(status, out.getvalue(), err.getvalue())
