"""Ctrl-C during `dlcore fit`: no file is half-written, and the same command goes on from its checkpoint."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from processes import TIMEOUT_S, user_environment, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a child")

N, M = 400, 30


def command(folder: Path, out: str) -> list[str]:
    arguments = (
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
    )
    return [sys.executable, "-m", "dlcore", *map(str, arguments)]


def test_an_interrupted_fit_goes_on(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, M)) * np.geomspace(1, 1e-2, M)
    np.savez(tmp_path / "t.npz", x=x, y=(x[:, 0] + 0.5 * rng.normal(size=N) > 0).astype(int))
    environment = user_environment(PYTHONPATH=str(ROOT))
    options = {"cwd": ROOT, "env": environment, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    checkpoint = tmp_path / "out.checkpoint"
    with subprocess.Popen(command(tmp_path, "out"), **options) as process:
        wait_for(checkpoint.exists, process)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 128 + signal.SIGINT
    assert "dlcore fit: interrupted" in error
    assert f"the same command goes on from {checkpoint}" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.checkpoint", "t.npz"]
    for name in ("out", "whole"):
        done = subprocess.run(command(tmp_path, name), check=False, **options)
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "t.npz", "whole"]
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "whole")]
    assert models[0] == models[1]
