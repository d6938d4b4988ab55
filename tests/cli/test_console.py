"""Folder of a run, table and result: they are complete, or the error names the problem."""

import json

import pytest

from dlcore.cli import console
from dlcore.devices import find_device

pytestmark = pytest.mark.any_mode


def test_a_folder_appears_complete(tmp_path):
    with console.run_folder(tmp_path, "trial") as partial:
        console.write_json(partial / "result.json", {"J": 0.5, "name": "∇"})
        assert not console.final_folder(partial).exists()
    folder = console.final_folder(partial)
    assert json.loads((folder / "result.json").read_text(encoding="utf-8")) == {"J": 0.5, "name": "∇"}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_folder_of_a_failed_run_does_not_appear(tmp_path, failure):
    def fail():
        with console.run_folder(tmp_path, "trial") as partial:
            (partial / "half").write_text("written")
            raise failure

    with pytest.raises(failure):
        fail()
    assert list((tmp_path / "trial").iterdir()) == []


def test_two_runs_in_one_second_have_two_folders(tmp_path, monkeypatch):
    for process, text in enumerate(("one", "two", "three")):
        monkeypatch.setattr("os.getpid", lambda process=process: process)
        with console.run_folder(tmp_path, "trial") as partial:
            (partial / "text").write_text(text)
    texts = sorted((path / "text").read_text() for path in (tmp_path / "trial").iterdir())
    assert texts == ["one", "three", "two"]


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"out: the folder .*file.trial cannot be written"):
        console.run_folder(tmp_path / "file", "trial").__enter__()


def test_the_result_is_one_line(capsys):
    console.print_result({"a": [1, 2], "name": "J − J*"})
    assert json.loads(capsys.readouterr().out) == {"a": [1, 2], "name": "J − J*"}


def test_a_table_does_not_break_words(capsys):
    console.print_table("title", ["", "status"], [["by hand", "precision floor"]], ["below"])
    out = capsys.readouterr().out
    assert "by hand  precision floor" in out
    assert "below" in out
    assert all(len(line) <= console.TABLE_WIDTH for line in out.splitlines())


def test_a_device_is_found_by_its_name():
    assert find_device("cpu").platform == "cpu"
    assert find_device().platform == find_device("auto").platform
    with pytest.raises(ValueError, match="device: no tpu here; JAX found cpu"):
        find_device("tpu")
    with pytest.raises(ValueError, match="device: expected one of auto, cpu, gpu, tpu, got 'abacus'"):
        find_device("abacus")
