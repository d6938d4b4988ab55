"""`dlcore verify`: the table, the files, and how it ends."""

import errno
import json

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import linalg
from dlcore.cli import verify
from dlcore.cli.main import main
from dlcore.verification import DeviceFacts, Outcome, Verification
from dlcore.verification.check import UNMEASURED_FACTOR, Check, Exact, run

ONE = ("verify", "--device", "cpu", "--dtype", "float32", "--only", "linalg.trace")


def test_it_prints_the_facts_then_the_table(capsys):
    main(ONE)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("device: cpu")
    assert lines[2] == "float32 products of this library: float32"
    assert any(line.split()[:2] == ["linalg.trace", "float32"] and line.split()[-1] == "pass" for line in lines)
    assert lines[-1] == "1 of 1 results within their bounds"


def test_it_writes_json_and_markdown(tmp_path, capsys):
    main([*ONE, "--json", str(tmp_path / "found.json"), "--markdown"])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["passed"]
    assert found["device"]["platform"] == "cpu"
    assert found["outcomes"][0]["function"] == "linalg.trace"
    assert "| linalg.trace | float32 |" in capsys.readouterr().out


def test_a_failure_is_shown_and_ends_with_1(monkeypatch, tmp_path, capsys):
    right = linalg.trace
    monkeypatch.setattr(linalg, "trace", lambda a: right(a) * jnp.asarray(1.001, a.dtype))
    with pytest.raises(SystemExit) as ended:
        main([*ONE, "--json", str(tmp_path / "found.json")])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert "FAIL" in printed.out
    assert "linalg.trace (float32): off by" in printed.err
    assert not json.loads((tmp_path / "found.json").read_text())["passed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "tpu"], "dlcore verify: device: no tpu here"),
        (["--only", "nothing"], "dlcore verify: only: there is no check of nothing"),
        (
            [*ONE[1:], "--json", "/nowhere/found.json"],
            "dlcore verify: --json: expected the path of a file",
        ),
    ],
)
def test_what_cannot_be_done_ends_as_one_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["verify", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_full_disk_keeps_the_older_file(monkeypatch, tmp_path, capsys):
    path = tmp_path / "found.json"
    path.write_text("older")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SystemExit) as ended:
        main([*ONE, "--json", str(path)])
    assert ended.value.code == 1
    assert "found.json cannot be written (No space left on device); what was there is" in capsys.readouterr().err
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def full(file: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_where_no_bound_has_been_measured_the_table_says_so():
    """And a result may be eight times what a CPU may be off by, not more."""
    facts = DeviceFacts("H100", "gpu", "TF32", "float32", "kept")
    x = np.ones(1, np.float32)
    check = Check("f", lambda x: {"": x}, lambda x: {"": Exact(x * (1 + 6 * 2.0**-23), 1.0)}, (x,))
    off = next(run(check, jnp.dtype("float32"), UNMEASURED_FACTOR))
    assert off.passed
    assert not next(run(check, jnp.dtype("float32"), 1)).passed
    (row,) = verify.rows(Verification(facts, (off,), bounds_measured=False))
    assert "not measured yet" in row


def test_an_outcome_that_could_not_be_compared_says_why():
    lost = Outcome("f", "", "float32", float("inf"), 0.0, "ulp", False, "ValueError: no such product")
    facts = DeviceFacts("H100", "gpu", "TF32", "float32", "kept")
    found = Verification(facts, (lost,), bounds_measured=False)
    assert found.to_json()["outcomes"][0]["error"] is None
    assert not found.passed
