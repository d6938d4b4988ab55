"""The same seed on the same device gives the same bits: twice in one process, and in a fresh one."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

SCRIPT = Path(__file__).parent / "repeated_fits.py"
NAMES = ("heads, logistic", "heads, softmax", "heads, squared", "sweep", "fit", "fit on batches")


@functools.cache
def told(run: int) -> list[dict[str, str]]:
    """Digests of the results of two runs in one process; another `run` is another process."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    environment["PYTHONHASHSEED"] = str(run)  # no order of a set decides
    done = subprocess.run([sys.executable, SCRIPT], env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_in_one_process_give_the_same_bits(name):
    first, second = told(1)
    assert set(first) == set(NAMES)
    assert first[name] == second[name]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_give_the_same_bits(name):
    assert told(1)[0][name] == told(2)[0][name]


def test_different_results_have_different_digests():
    assert len(set(told(1)[0].values())) == len(NAMES)
