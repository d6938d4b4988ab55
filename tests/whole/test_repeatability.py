"""The same seed on the same device gives the same bits: twice in one process, and in a fresh one."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import repeated_fits
from helpers import ROOT

SCRIPT = Path(repeated_fits.__file__)
NAMES = ("heads, logistic", "heads, softmax", "heads, squared", "sweep", "fit", "fit on batches")
COMPILED = ["as set", pytest.param("anew", marks=pytest.mark.slow)]
"""A fresh process reads the programs that JAX keeps on the disk, or compiles all of them anew."""


@functools.cache
def told_here(run: int) -> dict[str, str]:
    """Digests of the results in this process; another `run` computes everything again."""
    del run
    return repeated_fits.everything()


@functools.cache
def told_by_another(compiled: str) -> dict[str, Any]:
    """What a fresh process says, whose sets have another order."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    environment["PYTHONHASHSEED"] = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    if compiled == "anew":
        environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    done = subprocess.run([sys.executable, SCRIPT], env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_in_one_process_give_the_same_bits(name):
    assert set(told_here(1)) == set(NAMES)
    assert told_here(1)[name] == told_here(2)[name]


@pytest.mark.parametrize("compiled", COMPILED)
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_give_the_same_bits(name, compiled):
    assert told_here(1)[name] == told_by_another(compiled)["digests"][name]


def test_the_two_processes_order_sets_differently():
    assert told_by_another(COMPILED[0])["hash"] != hash(repeated_fits.HASHED)


def test_different_results_have_different_digests():
    assert len(set(told_here(1).values())) == len(NAMES)
