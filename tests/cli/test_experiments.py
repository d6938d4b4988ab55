"""Every experiment runs with the settings of a user, and what it expects comes so."""

import ast
import json
import re
import subprocess
import sys

import jax
import pytest
from helpers import DTYPE, ROOT
from processes import call, dlcore, environment_of_user

SCRIPTS = {path.stem: path for path in sorted((ROOT / "experiments").glob("[!_]*.py"))}
OWN_PROCESS = ("larger_than_memory",)
"""Experiments that measure their process."""
QUICK = ("computation_graph", "derivative_error", "gradient_descent", "local_minima", "tensors")
"""Experiments of every run: each compiles for less than five seconds."""

ONCE = DTYPE == "float32" and jax.device_count() == 1


@pytest.mark.skipif(not ONCE, reason="an experiment chooses its own precision and device: once is enough")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in SCRIPTS]
)
def test_what_an_experiment_expects_comes_so(name, tmp_path):
    run = dlcore if name in OWN_PROCESS else call
    done = run("run", name, "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["experiment"], result["quick"]) == (name, True)
    assert len(result["expected"]) >= 3
    assert all(value is True for value in result["expected"].values())
    (folder,) = (tmp_path / name).iterdir()
    assert result["folder"] == str(folder)
    assert json.loads((folder / "result.json").read_text()) == result
    assert result["pictures"]
    for picture in result["pictures"]:
        start = (folder / picture).read_bytes()[:200]
        assert start.startswith(b"\x89PNG") or b"<svg" in start or b"<!DOCTYPE html>" in start


def test_what_does_not_come_as_expected_fails(tmp_path):
    """A copy of an experiment with a wrong exact derivative says so, keeps its files, and ends with 1."""
    broken = tmp_path / "derivative_error.py"
    broken.write_text(SCRIPTS["derivative_error"].read_text().replace("exact = np.exp", "exact = 2 * np.exp"))
    command = [sys.executable, str(broken), "--quick", "--out", str(tmp_path / "runs")]
    environment = environment_of_user(PYTHONPATH=str(ROOT))
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert "NOT AS EXPECTED: float32, forward" in done.stdout
    assert done.stderr.strip() == "dlcore run derivative_error: not everything came as expected"
    assert False in json.loads(done.stdout.splitlines()[-1])["expected"].values()
    assert len(list((tmp_path / "runs" / "derivative_error").iterdir())) == 1


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_header_says_question_command_time_and_result(name):
    header = ast.get_docstring(ast.parse(SCRIPTS[name].read_text())) or ""
    question, *rest = header.splitlines()
    assert question.endswith("?")
    assert f"dlcore run {name}" in header
    for part in ("Command:", "Takes:", "Expected:"):
        assert any(line.startswith(part) for line in rest), part


def test_the_list_shows_every_experiment_with_its_question():
    done = call("run", "--list")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(SCRIPTS)
    assert all(line.endswith("?") for line in lines)


def test_help_promises_no_time():
    """How long a run takes is the machine's: under load, ten times as long as on an idle one."""
    for command in (("run", "norms", "--help"), ("bench", "--help")):
        told = " ".join(call(*command).stdout.replace("│", " ").split())
        said = told.partition("--quick, --no-quick")[2].partition("(default")[0]
        assert "to see that" in said
        assert not re.search(r"second|minute|\b\d+ s\b", said)
