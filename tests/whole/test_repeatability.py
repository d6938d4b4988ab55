"""The same seed on the same device gives the same bits, twice in one process and in a new process."""

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
"""A new process reads compiled programs from the disk, or compiles all of them."""


@functools.cache
def bits_here(run: int) -> dict[str, str]:
    """Return checksums of the results in this process. Each `run` computes them again."""
    del run
    return repeated_fits.all_bits()


@functools.cache
def bits_of_new_process(compiled: str) -> dict[str, Any]:
    """Return checksums of the results in a new process, in which sets have another order."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    environment["PYTHONHASHSEED"] = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    if compiled == "anew":
        environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    done = subprocess.run([sys.executable, SCRIPT], env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_in_one_process_give_the_same_bits(name):
    assert set(bits_here(1)) == set(NAMES)
    assert bits_here(1)[name] == bits_here(2)[name]


@pytest.mark.parametrize("compiled", COMPILED)
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_give_the_same_bits(name, compiled):
    assert bits_here(1)[name] == bits_of_new_process(compiled)["digests"][name]


def test_the_two_processes_order_sets_differently():
    assert bits_of_new_process(COMPILED[0])["hash"] != hash(repeated_fits.HASHED)


def test_different_results_have_different_digests():
    assert len(set(bits_here(1).values())) == len(NAMES)
