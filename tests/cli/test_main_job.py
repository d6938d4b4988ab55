"""Main job: it runs as a user runs it, and meets the expectations of its docstring."""

import json
import re
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from helpers import DTYPE, ROOT
from processes import COMMAND, TIMEOUT_S, call, dlcore, user_environment

from dlcore import LinearHeads, __version__, certify
from dlcore.cli import main


@pytest.fixture(scope="module")
def main_job(tmp_path_factory):
    """Run the main job with the default options, except for the folder and the dtype of the suite."""
    out = tmp_path_factory.mktemp("runs")
    done = dlcore("run", "--out", out, "--dtype", DTYPE.name)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return out, done, json.loads(done.stdout.splitlines()[-1])


def test_the_main_job_reaches_the_optimum_four_ways(main_job):
    _, _, result = main_job
    assert result["experiment"] == "logistic_regression"
    assert result["dtype"] == DTYPE.name
    runs = {run["name"]: run for run in result["runs"]}
    assert list(runs) == ["hand_written", "optax_sgd", "numpy", "optax_adam"]
    for run in runs.values():
        assert run["status"] == "converged"
        assert 0 <= run["gap"] <= 1.1e-8 * run["value"]
        assert run["accuracy"] >= 0.97
        assert run["log_loss"] < 0.1
        assert run["gradient_norm"] < 2e-6
    for name in ("hand_written", "optax_sgd", "numpy"):
        assert 20_000 <= runs[name]["steps"] <= 21_500
    assert runs["optax_adam"]["steps"] < 7_000


def test_the_main_job_agrees_at_every_step(main_job):
    difference = main_job[2]["largest_difference"]
    assert difference["optax"] <= (1e-12 if np.float64 == DTYPE else 1e-6)
    assert difference["numpy"] <= (1e-12 if np.float64 == DTYPE else 1e-3)


def test_the_main_job_writes_a_complete_folder(main_job):
    out, done, result = main_job
    (folder,) = (out / "logistic_regression").iterdir()
    assert str(folder) == result["folder"]
    pictures = {"gap.png", "path.png", "probabilities.png"}
    names = {path.name for path in folder.iterdir()}
    assert names == {"result.json", "history.jsonl", "parameters.safetensors", *pictures}
    assert json.loads((folder / "result.json").read_text()) == result
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == sum(run["steps"] + 1 for run in result["runs"])
    first = rows[0]
    assert (first["run"], first["step"]) == ("hand_written", 0)
    assert first["value"] == pytest.approx(np.log(2))
    parameters = safetensors.numpy.load_file(folder / "parameters.safetensors")
    assert parameters["hand_written.weight"].shape == (30,)
    assert parameters["hand_written.bias"].shape == ()
    assert parameters["hand_written.weight"].dtype == DTYPE
    for name in pictures:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert "J − J* ≤" in done.stdout
    assert done.stdout.count("converged") == 8  # in a row of the table and an entry of the JSON each


def test_the_saved_parameters_are_the_certified_ones(main_job):
    """Load the parameters and certify them again on the same split."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    out, _, result = main_job
    (folder,) = (out / "logistic_regression").iterdir()
    parameters = safetensors.numpy.load_file(folder / "parameters.safetensors")
    table, labels = load_breast_cancer(return_X_y=True)
    split: Any = train_test_split(table, labels, test_size=0.2, stratify=labels, random_state=0)
    x, _, y, _ = split
    x = ((x - x.mean(0)) / x.std(0)).astype(DTYPE)
    for run in result["runs"]:
        heads = LinearHeads(parameters[f"{run['name']}.weight"], parameters[f"{run['name']}.bias"], result["l2"])
        certificate = certify(heads, x, y)
        assert certificate.gap == pytest.approx(run["gap"], rel=1e-9)
        assert certificate.value == pytest.approx(run["value"], rel=1e-12)


def test_divergence_ends_with_a_rate_that_converges(tmp_path):
    done = call("run", "logistic_regression", "--out", tmp_path, "--learning-rate", "1e5", "--steps", "2000")
    assert done.returncode == 2
    assert done.stdout == ""
    message = done.stderr.strip().splitlines()[-1]
    assert "diverged at step" in message
    assert "gradient descent with rate 0.301" in message
    assert list((tmp_path / "logistic_regression").iterdir()) == []


def test_options_are_used(tmp_path):
    done = call(
        "run", "--steps", "300", "--learning-rate", "0.1", "--l2", "0.01", "--seed", "3", "--out", tmp_path
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["learning_rate"], result["l2"]) == (0.1, 0.01)
    assert [run["steps"] for run in result["runs"]] == [300] * 4
    assert {run["status"] for run in result["runs"]} == {"out of steps"}
    assert result["largest_difference"]["numpy"] < 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "tpu"], "device: no tpu here; JAX found cpu:0"),
        (["--learning-rate", "nan"], "--learning-rate: expected a finite number above 0, got nan"),
        (["--adam-learning-rate", "0"], "--adam-learning-rate: expected a finite number above 0, got 0"),
        (["--l2", "-1"], "--l2: expected a finite number of at least 0, got -1.0"),
        (["--steps", "10000000000"], "--steps: expected an integer of at most"),
        (["--seed", "-1"], "--seed: expected an integer of at least 0, got -1"),
    ],
)
def test_wrong_options_end_with_one_line(options, message, tmp_path):
    done = call("run", "--out", tmp_path, *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    done = call("run", "--out", tmp_path / "file")
    assert done.returncode == 2
    assert "out: the folder" in done.stderr
    assert "cannot be written (Not a directory); name another" in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


RESET_SIGINT = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Program that resets SIGINT and runs a command: tests that run in the background ignore SIGINT."""


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing(signum, status, tmp_path):
    """Send the signal after the progress bar has shown the first steps of the first descent."""
    experiment = ["run", "--out", str(tmp_path), "--steps", "5000000", "--tol", "0"]
    command = [sys.executable, "-c", RESET_SIGINT, *COMMAND, *experiment]
    environment = user_environment(TTY_COMPATIBLE="1", TTY_INTERACTIVE="1")  # the bar is drawn into a pipe
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as running:
        assert running.stderr is not None
        shown = ""
        while not re.search(r"by hand .*[1-9]\d*/5000000", shown) and (line := running.stderr.readline()):
            shown += line
        running.send_signal(signum)
        out, rest = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == status, shown + rest
    assert rest.endswith("dlcore run logistic_regression: interrupted\n")
    assert "Traceback" not in shown + rest
    assert out == ""
    assert list((tmp_path / "logistic_regression").iterdir()) == []


def test_the_experiments_of_a_wheel_are_inside_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(main, "__file__", str(tmp_path / "dlcore" / "cli" / "main.py"))
    assert main.experiments_folder() == tmp_path / "dlcore" / "_experiments"
    (tmp_path / "pyproject.toml").touch()
    assert main.experiments_folder() == tmp_path / "experiments"


def test_help_names_every_option():
    done = call("run", "--help")
    assert done.returncode == 0
    assert "logistic_regression" in done.stdout.splitlines()[0]
    for option in ("--steps", "--learning-rate", "--l2", "--seed", "--device", "--dtype", "--out"):
        assert option in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("fly",),
            "dlcore: there is no command 'fly'; there are run, graph, fit, predict, certify, export, bench and ",
        ),
        (("run", "fly"), "dlcore run: there is no experiment 'fly'; there are "),
    ],
)
def test_an_unknown_command_or_experiment(arguments, message):
    done = call(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_usage_and_version():
    for arguments in ((), ("--help",), ("-h",)):
        assert "usage: dlcore COMMAND" in call(*arguments).stdout
    assert call("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "norms", "--pairs", "0"),
        ("bench", "--quick", "--only", "losses.nothing"),
        ("verify", "--only", "nothing"),
    ],
)
def test_a_wrong_request_ends_a_process_with_one_line(arguments):
    """Run commands as processes; `test_graph_command` does the same for `dlcore graph`."""
    done = dlcore(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"dlcore {arguments[0]}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
