"""Commands store compiled programs in a private folder, unless the user has chosen otherwise."""

import json
import os
import stat
import subprocess
import sys

import compilation_cache as environments
import jax
import pytest
from helpers import ROOT
from processes import COMMAND, call

from dlcore._core.compilation import compilation_cache as library
from dlcore.cli import cache, interrupts


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return the folder for caches of a user who has set none; settings of JAX are restored."""
    folder = tmp_path / "home"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    with library.restored_settings():
        jax.config.update(library.FOLDER, None)
        jax.config.update(library.ENABLED, True)
        yield folder


def folder_in_block() -> str | None:
    """Return the folder that JAX has inside the block of a command, and check that it has none outside."""
    with cache.cached_programs():
        inside = jax.config.values["jax_compilation_cache_dir"]
    assert jax.config.values["jax_compilation_cache_dir"] is None
    return inside


def test_the_default_is_the_private_folder(home, capsys):
    assert folder_in_block() == str(home / "dlcore" / "compiled" / library.folder_name())
    if os.name == "posix":
        assert stat.S_IMODE((home / "dlcore").stat().st_mode) == 0o700
    assert capsys.readouterr().err == ""


def test_off_means_none(home, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, "off")
    assert folder_in_block() is None
    assert not (home / "dlcore").exists()


def test_a_variable_moves_it(home, monkeypatch, tmp_path):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "moved"))
    assert folder_in_block() == str(tmp_path / "moved" / library.folder_name())
    assert not (home / "dlcore").exists()


def test_an_empty_variable_is_none(home, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, "")
    assert folder_in_block() == str(home / "dlcore" / "compiled" / library.folder_name())


@pytest.mark.parametrize("variable", ["", "moved"])
def test_a_folder_that_the_user_has_set_stays(variable, home, monkeypatch, tmp_path):
    monkeypatch.setenv(cache.VARIABLE, variable)
    jax.config.update(library.FOLDER, str(tmp_path / "chosen"))
    before = dict(jax.config.values)
    with cache.cached_programs():
        assert dict(jax.config.values) == before
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_the_user_has_disabled_stays_off(home):
    jax.config.update(library.ENABLED, False)
    assert folder_in_block() is None
    assert not (home / "dlcore").exists()


@pytest.mark.parametrize("variable", [False, True])
def test_a_folder_that_cannot_be_made_is_one_line(variable, home, monkeypatch, capsys):
    home.write_text("a file where the folder should be")
    interrupts.set_program_name("dlcore graph")
    if variable:
        monkeypatch.setenv(cache.VARIABLE, str(home))
    assert folder_in_block() is None
    message = capsys.readouterr().err
    name = cache.VARIABLE if variable else "compilation cache"
    assert message.startswith(f"dlcore graph: no cache of compiled programs: {name}: the folder {home}")
    assert message.count("\n") == 1


COMMANDS = {
    "graph": ("graph", "x + 1", "x=1"),
    "verify": ("verify", "--only", "losses.squared_error", "--dtype", "float32"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_uses_the_cache(name, home):
    """`call` checks that the settings of the process are as before."""
    done = call(*COMMANDS[name])
    assert done.returncode == 0, done.stderr
    assert (home / "dlcore" / "compiled" / library.folder_name()).is_dir()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("run", "--list"),
        ("graph", "--help"),
        ("run", "norms", "--help"),
        ("bench", "--quick", "--suite", "math", "--only", "linalg.vecdot", "--peers", "numpy"),
    ],
)
def test_help_and_measurements_make_no_folder(arguments, home):
    assert call(*arguments).returncode == 0
    assert not (home / "dlcore").exists()  # matplotlib makes a folder beside it


def user_process(arguments: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the environment of a user without a cache."""
    environment = environments.without() | {"PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(arguments, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)


EXPERIMENT = """
import jax
from dlcore.cli import experiment

def main(options, run):
    total = jax.jit(lambda x, y: x + y)(1, 2)
    return {"folder of programs": jax.config.jax_compilation_cache_dir, "sum": int(total)}

experiment.run(main, experiment.Options, "?")
"""


def test_an_experiment_uses_the_cache(tmp_path):
    """Run the script as Python does, without `dlcore run`."""
    (tmp_path / "sums.py").write_text(EXPERIMENT)
    arguments = [sys.executable, str(tmp_path / "sums.py"), "--out", str(tmp_path / "runs")]
    done = user_process(arguments, XDG_CACHE_HOME=str(tmp_path / "home"))
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "home" / "dlcore" / "compiled" / library.folder_name()
    assert json.loads(done.stdout.splitlines()[-1])["folder of programs"] == str(folder)
    assert list(folder.glob("*-cache"))


def test_a_command_without_a_home_ends_well(tmp_path):
    """A command prints its result and one line on standard error."""
    (tmp_path / "home").write_text("")
    done = user_process([*COMMAND, "graph", "x + 1", "x=1"], XDG_CACHE_HOME=str(tmp_path / "home" / "below"))
    assert done.returncode == 0
    assert "output" in done.stdout
    assert done.stderr.startswith("dlcore graph: no cache of compiled programs: compilation cache: the folder ")
    assert done.stderr.count("\n") == 1


def test_help_version_and_list_import_neither_jax_nor_extras(tmp_path):
    code = (
        "import sys\n"
        "from dlcore.cli import main\n"
        "for arguments in (['--help'], ['--version'], ['run', '--list']): main.main(arguments)\n"
        "assert not {'jax', 'numpy', 'rich', 'tyro', 'matplotlib'} & set(sys.modules)\n"
    )
    done = user_process([sys.executable, "-c", code], XDG_CACHE_HOME=str(tmp_path / "home"))
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "home" / "dlcore").exists()
