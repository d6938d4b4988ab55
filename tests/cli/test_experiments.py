"""Experiments: each runs with the settings of a user, and its expectations are met."""

import ast
import json
import re
import subprocess
import sys

import jax
import pytest
from helpers import DTYPE, ROOT
from processes import call, dlcore, user_environment

SCRIPTS = {path.stem: path for path in sorted((ROOT / "experiments").glob("[!_]*.py"))}
NEEDS_PROCESS = ("larger_than_memory",)
"""Experiments that measure the memory of their process."""
QUICK = ("computation_graph", "derivative_error", "gradient_descent", "local_minima", "tensors")
"""Experiments that are not slow: each compiles in less than five seconds."""

IS_DEFAULT_MODE = DTYPE == "float32" and jax.device_count() == 1


@pytest.mark.skipif(not IS_DEFAULT_MODE, reason="an experiment sets its precision and device itself")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in SCRIPTS]
)
def test_the_expectations_of_an_experiment_are_met(name, tmp_path):
    run = dlcore if name in NEEDS_PROCESS else call
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


def test_an_unmet_expectation_ends_with_status_1(tmp_path):
    """Run a copy of an experiment with a wrong exact derivative; its files are kept."""
    broken = tmp_path / "derivative_error.py"
    broken.write_text(SCRIPTS["derivative_error"].read_text().replace("exact = np.exp", "exact = 2 * np.exp"))
    command = [sys.executable, str(broken), "--quick", "--out", str(tmp_path / "runs")]
    environment = user_environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert "NOT AS EXPECTED: float32, forward" in done.stdout
    assert done.stderr.strip() == "dlcore run derivative_error: not everything came as expected"
    assert False in json.loads(done.stdout.splitlines()[-1])["expected"].values()
    assert len(list((tmp_path / "runs" / "derivative_error").iterdir())) == 1


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_experiment_imports_scikit_learn_for_its_help(name):
    """An import outside of all functions would run before the help."""
    imports = [node for node in ast.parse(SCRIPTS[name].read_text()).body if isinstance(node, ast.ImportFrom)]
    assert imports
    assert not [node.module for node in imports if (node.module or "").partition(".")[0] == "sklearn"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_docstring_has_question_command_time_and_result(name):
    docstring = ast.get_docstring(ast.parse(SCRIPTS[name].read_text())) or ""
    question, *rest = docstring.splitlines()
    assert question.endswith("?")
    assert f"dlcore run {name}" in docstring
    for part in ("Command:", "Takes:", "Expected:"):
        assert any(line.startswith(part) for line in rest), part


def test_the_list_shows_every_experiment_with_its_question():
    done = call("run", "--list")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(SCRIPTS)
    assert all(line.endswith("?") for line in lines)


def test_help_states_no_duration():
    """Check the help of --quick: a busy machine takes ten times as long as an idle one."""
    for command in (("run", "norms", "--help"), ("bench", "--help")):
        help_text = " ".join(call(*command).stdout.replace("│", " ").split())
        quick = help_text.partition("--quick, --no-quick")[2].partition("(default")[0]
        assert "to see that" in quick
        assert not re.search(r"second|minute|\b\d+ s\b", quick)
