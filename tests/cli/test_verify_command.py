"""Command `dlcore verify`: the table, the files and the exit status."""

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

ARGUMENTS = ("verify", "--device", "cpu", "--dtype", "float32", "--only", "linalg.trace")


def test_the_device_is_printed_before_the_table(capsys):
    main(ARGUMENTS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("device: cpu")
    assert lines[2] == "float32 products of this library: float32"
    assert any(line.split()[:2] == ["linalg.trace", "float32"] and line.split()[-1] == "pass" for line in lines)
    assert lines[-1] == "1 of 1 results within their bounds"


def test_json_and_markdown(tmp_path, capsys):
    main([*ARGUMENTS, "--json", str(tmp_path / "results.json"), "--markdown"])
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["passed"]
    assert results["device"]["platform"] == "cpu"
    assert results["outcomes"][0]["function"] == "linalg.trace"
    assert "| linalg.trace | float32 |" in capsys.readouterr().out


def test_a_failure_is_printed_and_ends_with_status_1(monkeypatch, tmp_path, capsys):
    trace = linalg.trace
    monkeypatch.setattr(linalg, "trace", lambda a: trace(a) * jnp.asarray(1.001, a.dtype))
    with pytest.raises(SystemExit) as ended:
        main([*ARGUMENTS, "--json", str(tmp_path / "results.json")])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert "FAIL" in printed.out
    assert "linalg.trace (float32): off by" in printed.err
    assert not json.loads((tmp_path / "results.json").read_text())["passed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "tpu"], "dlcore verify: device: no tpu here"),
        (["--only", "nothing"], "dlcore verify: only: there is no check of nothing"),
        (
            [*ARGUMENTS[1:], "--json", "/nowhere/results.json"],
            "dlcore verify: --json: expected the path of a file",
        ),
    ],
)
def test_a_wrong_request_ends_with_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["verify", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_full_disk_keeps_the_previous_file(monkeypatch, tmp_path, capsys):
    path = tmp_path / "results.json"
    path.write_text("older")
    monkeypatch.setattr("os.fsync", fail_with_full_disk)
    with pytest.raises(SystemExit) as ended:
        main([*ARGUMENTS, "--json", str(path)])
    assert ended.value.code == 1
    assert "results.json cannot be written (No space left on device); what was there is" in capsys.readouterr().err
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def fail_with_full_disk(file: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_device_without_measured_bounds():
    """Check the table, and that errors up to eight times the bound of a CPU pass."""
    facts = DeviceFacts("H100", "gpu", "TF32", "float32", "kept")
    x = np.ones(1, np.float32)
    check = Check("f", lambda x: {"": x}, lambda x: {"": Exact(x * (1 + 6 * 2.0**-23), 1.0)}, (x,))
    outcome = next(run(check, jnp.dtype("float32"), UNMEASURED_FACTOR))
    assert outcome.passed
    assert not next(run(check, jnp.dtype("float32"), 1)).passed
    (row,) = verify.rows(Verification(facts, (outcome,), bounds_measured=False))
    assert "not measured yet" in row


def test_a_failed_comparison_has_no_error_in_json():
    outcome = Outcome("f", "", "float32", float("inf"), 0.0, "ulp", False, "ValueError: no such product")
    facts = DeviceFacts("H100", "gpu", "TF32", "float32", "kept")
    verification = Verification(facts, (outcome,), bounds_measured=False)
    assert verification.to_json()["outcomes"][0]["error"] is None
    assert not verification.passed
