"""Ctrl-C during `dlcore fit`: no file is half-written, and the same command goes on from its checkpoint."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from processes import TIMEOUT_S, user_environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a child")

N, M = 400, 30

INTERRUPTED = """
import os, signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # the parent process may ignore it

from dlcore.__main__ import main
from dlcore.heads.checkpoint import StageCache

stages, once = [], StageCache.once


def once_then_interrupt(self, name, *arguments, **options):
    found = once(self, name, *arguments, **options)
    stages.append(name)
    if len(stages) == 2:
        os.kill(os.getpid(), signal.SIGINT)
    return found


StageCache.once = once_then_interrupt
main()
"""
"""Program that runs `dlcore` and interrupts itself when its second stage is done."""


def arguments(folder: Path, out: str) -> list[str]:
    options = [
        "fit",
        folder / "t.npz",
        "--target",
        "y",
        "--l2",
        "1e-4:1:12",
        "--folds",
        "4",
        "--out",
        folder / out,
    ]
    return list(map(str, options))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = user_environment(PYTHONPATH=str(ROOT))
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
    )


def test_an_interrupted_fit_goes_on(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, M)) * np.geomspace(1, 1e-2, M)
    np.savez(tmp_path / "t.npz", x=x, y=(x[:, 0] + 0.5 * rng.normal(size=N) > 0).astype(int))
    interrupted = run("-c", INTERRUPTED, *arguments(tmp_path, "out"))
    assert interrupted.returncode == 128 + signal.SIGINT, interrupted.stderr
    assert "dlcore fit: interrupted" in interrupted.stderr
    assert f"the same command goes on from {tmp_path / 'out.checkpoint'}" in interrupted.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.checkpoint", "t.npz"]
    for name in ("out", "whole"):
        done = run("-m", "dlcore", *arguments(tmp_path, name))
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "t.npz", "whole"]
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "whole")]
    assert models[0] == models[1]
