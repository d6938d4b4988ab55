"""End of a command: signals at any moment, closed pipes, ASCII output, missing packages."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import ROOT
from processes import COMMAND, TIMEOUT_S, user_environment, wait_for

from dlcore import __version__

pytestmark = pytest.mark.any_mode

STATUS = Path("/proc/self/status")
needs_proc = pytest.mark.skipif(not STATUS.exists(), reason="/proc shows the signals that a process catches")

SET_HANDLERS = """
import os, signal, sys
for signum in signal.SIGHUP, signal.SIGTERM:
    signal.signal(signum, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.{})
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Program that sets handlers: background jobs ignore SIGINT, those of nohup SIGHUP, and children inherit that."""

LONG = {
    "verify": ("verify", "--dtype", "float32", "float64"),
    "bench": ("bench", "--suite", "all"),
    "run": ("run", "--steps", "1000000000", "--tol", "0"),
    "graph": ("graph", "endless:ignore_exceptions", "1"),
}
"""Commands that run longer than a test waits."""

ENDLESS = """
import time
import jax

def ignore_exceptions(x):
    while True:
        try:
            time.sleep(0.001)
        except BaseException:
            pass

def compute(x):
    print("under way", flush=True)
    with jax.ensure_compile_time_eval():  # otherwise the trace of the graph would only record the call
        jax.block_until_ready(jax.jit(lambda: jax.lax.while_loop(lambda i: i >= 0, lambda i: (i + 1) % 7, 0))())
"""
"""A user's module: a function that ignores every exception, and one that never returns from compiled code."""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    return tmp_path


def start(*arguments, cwd):
    """Start a command as a process, and wait until its signal handlers are set."""
    command = [sys.executable, "-c", SET_HANDLERS.format("SIG_DFL"), *COMMAND, *arguments]
    environment = user_environment(PYTHONPATH=str(ROOT))
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for(lambda: catches(process, signal.SIGTERM), process)
    return process


def catches(process, signum):
    """Return whether a process has a handler for a signal."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (mask,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return mask >> (signum - 1) & 1


def send_signal(process, signum):
    """Send a signal, and return the exit status, standard output and standard error."""
    with process:
        process.send_signal(signum)
        out, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, out, err


def assert_interrupted(result, signum):
    """Check the exit status and the single line on standard error."""
    status, out, err = result
    assert status == 128 + signum, err
    assert err.startswith("dlcore")
    assert err.endswith(": interrupted\n")
    assert err.count("\n") == 1
    assert out == ""


@needs_proc
@pytest.mark.parametrize("delay", [0.0, 0.2, 4.0])
@pytest.mark.parametrize("name", LONG)
def test_an_interrupt_ends_a_command_with_one_line(name, delay, folder):
    """Interrupt at the start, during the imports, and during the work."""
    process = start(*LONG[name], cwd=folder)
    time.sleep(delay)
    assert_interrupted(send_signal(process, signal.SIGINT), signal.SIGINT)
    assert [path for path in folder.rglob("*partial*") if path.is_dir()] == []


@needs_proc
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("name", ["run", "verify"])
def test_the_exit_status_names_the_signal(name, signum, folder):
    process = start(*LONG[name], cwd=folder)
    time.sleep(1.0)
    assert_interrupted(send_signal(process, signum), signum)


@needs_proc
def test_an_interrupt_ends_compiled_code_that_never_returns(folder):
    process = start("graph", "endless:compute", "1", cwd=folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "under way\n"
    with pytest.raises(subprocess.TimeoutExpired):  # it is in compiled code, and stays there
        process.wait(2.0)
    assert_interrupted(send_signal(process, signal.SIGINT), signal.SIGINT)


@needs_proc
def test_an_ignored_signal_stays_ignored(folder):
    """Ignore SIGINT, as a shell does for a background job."""
    command = [sys.executable, "-c", SET_HANDLERS.format("SIG_IGN"), *COMMAND, "run", "--list"]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as process:
        wait_for(lambda: catches(process, signal.SIGTERM) or process.poll() is not None, process)
        status, out, _ = send_signal(process, signal.SIGINT)
    assert status == 0
    assert "logistic_regression" in out


@needs_proc
@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", LONG)
def test_interrupts_at_many_moments(name, folder):
    for delay in (0.05, 0.15, 0.3, 0.5, 1.0, 2.0, 4.0, 8.0):
        process = start(*LONG[name], cwd=folder)
        time.sleep(delay)
        assert_interrupted(send_signal(process, signal.SIGINT), signal.SIGINT)


@needs_proc
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_an_interrupt_near_the_end_has_full_effect_or_none(folder):
    """Check that the process ends as interrupted or normally, until it is gone."""
    start_time = time.monotonic()
    complete = start("graph", "x*y", "x=1", "y=2", cwd=folder).communicate()
    duration = time.monotonic() - start_time
    for part in range(10):
        process = start("graph", "x*y", "x=1", "y=2", cwd=folder)
        time.sleep(duration * (0.5 + part / 10))
        result = status, out, err = send_signal(process, signal.SIGINT)
        assert status in (0, 130), result
        assert (out, err) == complete if status == 0 else err == "dlcore graph: interrupted\n"


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


@pytest.mark.parametrize("name", SHORT)
def test_a_closed_pipe_ends_a_command_quietly(name, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, *SHORT[name]]
    done = subprocess.run(
        command, cwd=tmp_path, env=user_environment(), stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
    assert list(tmp_path.rglob("*partial*")) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full exists on Linux only")
@pytest.mark.parametrize("name", ["help", "list", "graph", "verify"])
def test_output_on_a_full_disk_fails_with_one_line(name, tmp_path):
    command = [*COMMAND, *SHORT[name]]
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            command, cwd=tmp_path, env=user_environment(), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr.endswith(b"No space left on device\n")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}], ids=str)
@pytest.mark.parametrize("name", SHORT)
def test_output_in_ascii(name, encoding, tmp_path):
    environment = user_environment(PYTHONCOERCECLOCALE="0", **encoding)
    done = subprocess.run(
        [*COMMAND, *SHORT[name]], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode("ascii").splitlines()
    assert lines
    if name in ("norms", "nodes"):
        result = json.loads(lines[-1])  # escaped
        assert result == json.loads((tmp_path / result["folder"] / "result.json").read_text(encoding="utf-8"))


@pytest.mark.skipif(sys.platform != "linux", reason="on other systems a path is Unicode")
def test_a_folder_whose_name_is_not_unicode(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff"
    done = subprocess.run(
        [*COMMAND, "run", "norms", "--quick", "--out", folder],
        cwd=tmp_path, env=user_environment(), capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    result = json.loads(done.stdout.splitlines()[-1])
    assert json.loads((Path(result["folder"]) / "result.json").read_text(encoding="utf-8")) == result


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell closes them")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(closed, tmp_path):
    script = f'{sys.executable} -m dlcore graph "x*y" x=1 y=2 --html graph.html {closed}'
    environment = user_environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "graph.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


EXTRAS = "rich tyro matplotlib safetensors pyarrow flatbuffers sklearn scipy"


def run_without(packages, *arguments):
    """Run the command line in a process that cannot import `packages`."""
    code = (
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({packages!r}.split()))\n"
        f"sys.argv = ['dlcore', *{arguments!r}]\n"
        "runpy.run_module('dlcore', run_name='__main__', alter_sys=True)"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "beginning"),
    [
        ((), "usage: dlcore COMMAND"),
        (("--help",), "usage: dlcore COMMAND"),
        (("--version",), f"{__version__}\n"),
        (("run", "--list"), "certified_tables  "),
    ],
)
def test_help_version_and_list_import_neither_extras_nor_jax(arguments, beginning):
    done = run_without(f"{EXTRAS} jax jaxlib optax chex numpy", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(beginning)


def test_the_help_of_run_needs_no_scikit_learn(tmp_path):
    """The run itself names the package, and leaves no folder of results."""
    done = run_without("sklearn", "run", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("experiments: certified_tables, ")
    assert "usage: dlcore run logistic_regression" in done.stdout
    done = run_without("sklearn", "run", "--quick", "--out", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("dlcore run logistic_regression: it needs sklearn")
    assert done.stderr.endswith("install it with: pip install 'dlcore-jax[all]'\n")
    assert not list((tmp_path / "logistic_regression").iterdir())


@pytest.mark.parametrize("arguments", [("verify",), ("graph", "x", "x=1"), ("bench",), ("run",), ("run", "norms")])
def test_a_command_that_lacks_a_package_names_it(arguments):
    done = run_without(EXTRAS, *arguments)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"dlcore {arguments[0]}")
    assert "needs" in done.stderr
    assert "install it with: pip install 'dlcore-jax[" in done.stderr
