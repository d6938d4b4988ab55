"""How a command ends: signals at any moment, closed pipes, ASCII output, packages that are not installed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import ROOT
from processes import COMMAND, PATIENCE, environment_of_user, wait_for

from dlcore import __version__

pytestmark = pytest.mark.any_mode

STATUS = Path("/proc/self/status")
needs_proc = pytest.mark.skipif(not STATUS.exists(), reason="the signals that a process catches are in /proc")

SET_SIGINT = "import os, signal, sys; signal.signal(signal.SIGINT, signal.{}); os.execv(sys.argv[1], sys.argv[1:])"
"""Whoever runs the tests in the background ignores SIGINT, and a child inherits that."""

LONG = {
    "verify": ("verify", "--dtype", "float32", "float64"),
    "bench": ("bench", "--suite", "all"),
    "run": ("run", "--steps", "1000000000", "--tol", "0"),
    "graph": ("graph", "endless:swallows", "1"),
}
"""Commands that do not end by themselves while a test waits."""

ENDLESS = """
import time
import jax

def swallows(x):
    while True:
        try:
            time.sleep(0.001)
        except BaseException:
            pass

def computes(x):
    print("under way", flush=True)
    jax.block_until_ready(jax.jit(lambda: jax.lax.while_loop(lambda i: i >= 0, lambda i: (i + 1) % 7, 0))())
"""
"""A module of a user: one function loses every exception, the other never comes back from compiled code."""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    return tmp_path


def started(*arguments, cwd):
    """Return a command as a process whose handlers are set."""
    command = [sys.executable, "-c", SET_SIGINT.format("SIG_DFL"), *COMMAND, *arguments]
    environment = environment_of_user(PYTHONPATH=str(ROOT))
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for(lambda: catches(process, signal.SIGTERM), process)
    return process


def catches(process, kind):
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (mask,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return mask >> (kind - 1) & 1


def ends(process, kind):
    """Send a signal; return the status, standard output and standard error."""
    with process:
        process.send_signal(kind)
        out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def assert_interrupted(end, kind):
    status, out, err = end
    assert status == 128 + kind, err
    assert err.startswith("dlcore")
    assert err.endswith(": interrupted\n")
    assert err.count("\n") == 1
    assert out == ""


@needs_proc
@pytest.mark.parametrize("delay", [0.0, 0.2, 4.0])
@pytest.mark.parametrize("verb", LONG)
def test_an_interrupt_ends_every_command_in_one_line(verb, delay, folder):
    """At once, during the imports, and at work."""
    process = started(*LONG[verb], cwd=folder)
    time.sleep(delay)
    assert_interrupted(ends(process, signal.SIGINT), signal.SIGINT)
    assert [path for path in folder.rglob("*partial*") if path.is_dir()] == []


@needs_proc
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("verb", ["run", "verify"])
def test_whoever_asks_gets_the_status_of_the_signal(verb, kind, folder):
    process = started(*LONG[verb], cwd=folder)
    time.sleep(1.0)
    assert_interrupted(ends(process, kind), kind)


@needs_proc
def test_compiled_code_that_never_comes_back_is_ended_too(folder):
    process = started("graph", "endless:computes", "1", cwd=folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "under way\n"
    assert_interrupted(ends(process, signal.SIGINT), signal.SIGINT)


@needs_proc
def test_an_ignored_signal_stays_ignored(folder):
    """A shell starts a job in the background so: Ctrl-C is for another one."""
    command = [sys.executable, "-c", SET_SIGINT.format("SIG_IGN"), *COMMAND, "run", "--list"]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as process:
        wait_for(lambda: catches(process, signal.SIGTERM) or process.poll() is not None, process)
        status, out, _ = ends(process, signal.SIGINT)
    assert status == 0
    assert "logistic_regression" in out


@needs_proc
@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("verb", LONG)
def test_interrupts_at_many_moments(verb, folder):
    for delay in (0.05, 0.15, 0.3, 0.5, 1.0, 2.0, 4.0, 8.0):
        process = started(*LONG[verb], cwd=folder)
        time.sleep(delay)
        assert_interrupted(ends(process, signal.SIGINT), signal.SIGINT)


@needs_proc
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_an_interrupt_near_the_end_comes_in_time_or_too_late(folder):
    """The process ends as interrupted, or as if nothing had come; the end of a process is no hole."""
    began = time.monotonic()
    whole = started("graph", "x*y", "x=1", "y=2", cwd=folder).communicate()
    taken = time.monotonic() - began
    for part in range(24):
        process = started("graph", "x*y", "x=1", "y=2", cwd=folder)
        time.sleep(taken * (0.5 + part / 24))
        end = status, out, err = ends(process, signal.SIGINT)
        assert status in (0, 130), end
        assert (out, err) == whole if status == 0 else err == "dlcore graph: interrupted\n"


SHORT = {
    "help": ("--help",),
    "version": ("--version",),
    "list": ("run", "--list"),
    "graph": ("graph", "x*y", "x=1", "y=2"),
    "options": ("verify", "--help"),
    "verify": ("verify", "--dtype", "float32", "--only", "losses.huber"),
    "bench": ("bench", "--quick", "--only", "linalg.vecdot", "--peers", "numpy"),
    "norms": ("run", "norms", "--quick"),
    "nodes": ("run", "computation_graph", "--quick"),
}


@pytest.mark.parametrize("verb", SHORT)
def test_a_closed_pipe_ends_every_command_quietly(verb, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, *SHORT[verb]]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment_of_user(), stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
    assert list(tmp_path.rglob("*partial*")) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
@pytest.mark.parametrize("verb", ["help", "list", "graph", "verify"])
def test_output_on_a_full_disk_fails_in_one_line(verb, tmp_path):
    command = [*COMMAND, *SHORT[verb]]
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment_of_user(), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr.endswith(b"No space left on device\n")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}], ids=str)
@pytest.mark.parametrize("verb", SHORT)
def test_output_in_ascii(verb, encoding, tmp_path):
    environment = environment_of_user(PYTHONCOERCECLOCALE="0", **encoding)
    done = subprocess.run(
        [*COMMAND, *SHORT[verb]], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode("ascii").splitlines()
    assert lines
    if verb in ("norms", "nodes"):
        result = json.loads(lines[-1])  # escaped, so that nothing is lost
        assert result == json.loads((tmp_path / result["folder"] / "result.json").read_text(encoding="utf-8"))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a path is Unicode")
def test_a_folder_whose_name_is_no_text(tmp_path):
    place = os.fsencode(tmp_path) + b"/\xff"
    done = subprocess.run(
        [*COMMAND, "run", "norms", "--quick", "--out", place],
        cwd=tmp_path, env=environment_of_user(), capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    result = json.loads(done.stdout.splitlines()[-1])
    assert json.loads((Path(result["folder"]) / "result.json").read_text(encoding="utf-8")) == result


@pytest.mark.skipif(os.name != "posix", reason="a shell closes them")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(closed, tmp_path):
    script = f'{sys.executable} -m dlcore graph "x*y" x=1 y=2 --html graph.html {closed}'
    environment = environment_of_user(PYTHONPATH=str(ROOT))
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "graph.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


EXTRAS = "rich tyro matplotlib safetensors pyarrow sklearn scipy"


def without(packages, *arguments):
    """Run the command line in a process that cannot import `packages`."""
    code = (
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({packages!r}.split()))\n"
        f"sys.argv = ['dlcore', *{arguments!r}]\n"
        "runpy.run_module('dlcore', run_name='__main__', alter_sys=True)"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        ((), "usage: dlcore COMMAND"),
        (("--help",), "usage: dlcore COMMAND"),
        (("--version",), f"{__version__}\n"),
        (("run", "--list"), "certified_tables  "),
    ],
)
def test_what_tells_of_the_program_imports_neither_extras_nor_jax(arguments, begins):
    done = without(f"{EXTRAS} jax jaxlib optax chex numpy", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(begins)


@pytest.mark.parametrize("arguments", [("verify",), ("graph", "x", "x=1"), ("bench",), ("run",), ("run", "norms")])
def test_a_command_that_lacks_a_package_names_it(arguments):
    done = without(EXTRAS, *arguments)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"dlcore {arguments[0]}")
    assert "needs" in done.stderr
    assert "install it with: pip install 'dlcore-jax[" in done.stderr
