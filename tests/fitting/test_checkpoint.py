"""Checkpoints: a resumed fit has the same bits, and a failed write loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import DTYPE, ROOT, breast_cancer
from processes import wait_for

from dlcore import Objective, Status, descent, fit
from dlcore.fitting import checkpoint
from dlcore.losses import sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from dlcore.models import LinearParams, linear, logistic, mlp, softmax

PROBLEM = Objective(logistic, sigmoid_cross_entropy, 1e-3)
KEY = jax.random.key(5)


def recorded(params):
    return params


def other_record(params):
    return params


class BreakError(Exception):
    """An exception that ends a fit from outside."""


def until(step: int):
    """Return a callback that interrupts the fit at a step."""

    def callback(progress):
        if progress.step >= step:
            raise BreakError

    return callback


RULES = {
    "ours": (descent.adam(0.01), {}),
    "optax": (optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.01, mu_dtype=jnp.bfloat16)), {}),
    "random keys": (optax.noisy_sgd(0.1, 1e-4, key=jax.random.key(0)), {}),
    "batches": (descent.momentum(0.01), {"batch_size": 64, "key": KEY}),
}


def assert_same_fit(fitted: Any, expected: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, fitted.params, expected.params)
    jax.tree.map(np.testing.assert_array_equal, fitted.history.recorded, expected.history.recorded)
    np.testing.assert_array_equal(fitted.history.value, expected.history.value)
    np.testing.assert_array_equal(fitted.history.gradient_norm, expected.history.gradient_norm)
    assert (fitted.steps, fitted.status, fitted.message) == (expected.steps, expected.status, expected.message)


@pytest.mark.parametrize("name", RULES)
def test_an_interrupted_fit_resumes_with_the_same_bits(name, tmp_path):
    """An exception interrupts the fit twice, and only the file connects its parts."""
    rule, more = RULES[name]
    path = tmp_path / "fit.npz"
    arguments: Any = {"tol": 0, "max_steps": 300, "record": recorded, **more}
    with jax.numpy_dtype_promotion("standard"):
        whole = fit(PROBLEM, breast_cancer(), rule, **arguments)
        for step in (70, 200):
            with pytest.raises(BreakError):
                fit(PROBLEM, breast_cancer(), rule, **arguments, checkpoint=path, chunk=17, callback=until(step))
            assert path.exists()
        seen = []
        resumed = fit(PROBLEM, breast_cancer(), rule, **arguments, checkpoint=path, callback=seen.append)
    assert_same_fit(resumed, whole)
    assert seen[0].step > 200
    assert [entry.name for entry in tmp_path.iterdir()] == ["fit.npz"]


def test_a_finished_fit_returns_at_once_and_takes_more_steps_if_allowed(tmp_path):
    rule, path = descent.gradient_descent(0.2), tmp_path / "fit.npz"
    short = fit(PROBLEM, breast_cancer(), rule, tol=0, max_steps=50, record=recorded, checkpoint=path)
    again = fit(PROBLEM, breast_cancer(), rule, tol=0, max_steps=50, record=recorded, checkpoint=path)
    assert_same_fit(again, short)
    more = fit(PROBLEM, breast_cancer(), rule, tol=0, max_steps=80, record=recorded, checkpoint=path)
    assert_same_fit(more, fit(PROBLEM, breast_cancer(), rule, tol=0, max_steps=80, record=recorded))
    assert more.status is Status.OUT_OF_STEPS


def test_a_fit_stopped_by_its_callback_resumes(tmp_path):
    rule, path = descent.nesterov(0.01), tmp_path / "fit.npz"
    stopped = fit(
        PROBLEM, breast_cancer(), rule, max_steps=60, checkpoint=path, chunk=9, callback=lambda p: p.step > 20
    )
    assert (stopped.status, stopped.steps) == (Status.STOPPED, 27)
    resumed = fit(PROBLEM, breast_cancer(), rule, max_steps=60, checkpoint=path)
    assert_same_fit(resumed, fit(PROBLEM, breast_cancer(), rule, max_steps=60))


@pytest.mark.parametrize("name", ["logistic", "softmax", "mlp"])
def test_a_file_with_earlier_names_of_losses_and_models_resumes(name, tmp_path, monkeypatch):
    x, y = breast_cancer()
    objective, labels = {
        "logistic": (PROBLEM, y),
        "softmax": (Objective(softmax, softmax_cross_entropy, 1e-3), y.astype(int)),
        "mlp": (Objective(mlp((x.shape[1], 4, 1)), squared_error), y),
    }[name]
    arguments: dict[str, Any] = {"tol": 0, "key": KEY, "checkpoint": tmp_path / "fit.npz"}
    describe, path = checkpoint._describe, tmp_path / "fit.npz"

    def describe_as_before(value, ancestors=()):
        text = describe(value, ancestors)
        for old, new in checkpoint.RENAMED:
            text = text.replace(new, old)
        return text

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_describe", describe_as_before)
        fit(objective, (x, labels), descent.adam(0.01), max_steps=4, **arguments)
    assert any(old.encode() in path.read_bytes() for old, _ in checkpoint.RENAMED)
    assert fit(objective, (x, labels), descent.adam(0.01), max_steps=6, **arguments).steps == 6


def test_resuming_compiles_nothing_new(compiles, tmp_path):
    x, y = breast_cancer()
    data, path = (x[:341], y[:341]), tmp_path / "fit.npz"
    for steps in (20, 40, 60):
        fit(PROBLEM, data, descent.adam(0.01), max_steps=steps, checkpoint=path)
    assert compiles() == 1


def test_a_checkpoint_is_written_at_intervals(tmp_path, monkeypatch):
    """A short fit writes once, at the end. At an interval of 0 s it writes after every chunk too."""
    written = []
    real = checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda path, problem, tree: written.append(1) or real(path, problem, tree)
    )
    arguments: Any = {"tol": 0, "max_steps": 50, "chunk": 10}
    fit(PROBLEM, breast_cancer(), descent.adam(0.01), checkpoint=tmp_path / "one.npz", **arguments)
    assert len(written) == 1
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", 0.0)
    fit(PROBLEM, breast_cancer(), descent.adam(0.01), checkpoint=tmp_path / "two.npz", **arguments)
    assert len(written) == 1 + 6 + 1  # five chunks, the evaluation that ends it, and the end


def test_a_failed_write_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    """Three calls fail in turn, as on a full disk."""
    path = tmp_path / "fit.npz"
    fit(PROBLEM, breast_cancer(), descent.adam(0.01), max_steps=20, checkpoint=path)
    before = path.read_bytes()
    for module, name in ((np, "savez"), (os, "fsync"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fails)
            with pytest.raises(OSError, match="no space left"):
                fit(PROBLEM, breast_cancer(), descent.adam(0.01), max_steps=40, checkpoint=path)
        assert path.read_bytes() == before
    assert fit(PROBLEM, breast_cancer(), descent.adam(0.01), max_steps=40, checkpoint=path).steps == 40


def fails(*arguments, **named):
    raise OSError("no space left")


KILLED = """
import sys
from helpers import breast_cancer
from dlcore import Objective, descent, fit
from dlcore.fitting import checkpoint
from dlcore.losses import sigmoid_cross_entropy
from dlcore.models import logistic

checkpoint.CHECKPOINT_SECONDS = 0.0  # write after every chunk
problem = Objective(logistic, sigmoid_cross_entropy, 1e-3)
fit(problem, breast_cancer(), descent.adam(0.01), tol=0, max_steps=10**7, chunk=5, checkpoint=sys.argv[1])
"""


def killed_while_writing(path: Path, delay: float) -> int:
    """Kill a process `delay` seconds after it wrote a checkpoint, and return the steps in the file."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], env=environment) as process:
        try:
            wait_for(lambda: path.exists() and path.stat().st_mtime_ns != before, process)
            time.sleep(delay)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}  # the file is complete after every kill
    names = [name for name, *_ in json.loads(bytes(arrays["about"]))["leaves"]]
    return int(arrays[f"leaf{names.index('[0].step')}"])


@pytest.mark.parametrize("kills", [1, pytest.param(8, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_kill_9_loses_only_the_steps_since_the_last_checkpoint(kills, tmp_path):
    """The delays vary the moment of the kill. The fit ends with the bits of an uninterrupted fit."""
    path = tmp_path / "fit.npz"
    steps_at_kill = [killed_while_writing(path, delay=0.003 + 0.0037 * kill) for kill in range(kills)]
    assert steps_at_kill == sorted(set(steps_at_kill))
    assert steps_at_kill[0] > 0
    steps = steps_at_kill[-1] + 50
    ended, whole = (
        fit(PROBLEM, breast_cancer(), descent.adam(0.01), tol=0, max_steps=steps, checkpoint=file)
        for file in (path, None)
    )
    assert_same_fit(ended, whole)


def other_data():
    x, y = breast_cancer()
    x = x.copy()
    x[0, 0] += 1
    return x, y


def with_weights():
    return *breast_cancer(), np.ones(569)


CHANGES = {
    "l2": ({"objective": Objective(logistic, sigmoid_cross_entropy, 1e-2)}, "l2 was 0.001.*, is 0.0(1|09)"),
    "loss": ({"objective": Objective(linear, squared_error, 1e-3)}, "loss was .*sigmoid.*, is .*squared_error"),
    "rate": ({"optimizer": descent.adam(0.02)}, "optimizer was .*0.01.*, is .*0.02"),
    "rule": ({"optimizer": descent.momentum(0.01)}, "optimizer was .*adam.*, is .*momentum"),
    "data": ({"data": other_data()}, "contents of x was"),
    "weights": ({"data": with_weights()}, "contents of weights was None"),
    "shape": ({"data": tuple(part[:500] for part in breast_cancer())}, "shape of x was"),
    "start": ({"params": LinearParams(np.ones(30, DTYPE), np.zeros((), DTYPE))}, "start was"),
    "batches": ({"batch_size": 64, "key": KEY}, "batches was none, is of 64 rows"),
    "record": ({"record": other_record}, "record was .*recorded, is .*other_record"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_of_another_problem_is_refused_and_kept(name, tmp_path):
    path = tmp_path / "fit.npz"
    usual: Any = {
        "objective": PROBLEM,
        "data": breast_cancer(),
        "optimizer": descent.adam(0.01),
        "record": recorded,
    }
    fit(**usual, max_steps=5, checkpoint=path)
    before = path.read_bytes()
    changed, message = CHANGES[name]
    with pytest.raises(ValueError, match=f"fit.npz is of another problem: .*{message}.*; pass another path"):
        fit(**{**usual, **changed}, max_steps=5, checkpoint=path)
    assert path.read_bytes() == before


COPIES = [1]


def copies(params):
    """Return a list whose length a checkpoint does not describe."""
    return [params.bias] * len(COPIES)


def test_other_recorded_results_are_named(tmp_path, monkeypatch):
    path = tmp_path / "fit.npz"
    fit(PROBLEM, breast_cancer(), descent.adam(0.01), max_steps=5, record=copies, checkpoint=path)
    monkeypatch.setattr(sys.modules[__name__], "COPIES", [1, 2])
    with pytest.raises(ValueError, match="of another problem: the results of record differ"):
        fit(PROBLEM, breast_cancer(), descent.adam(0.01), max_steps=5, record=copies, checkpoint=path)


def test_recorded_arrays_of_different_lengths_are_named(tmp_path):
    path = tmp_path / "fit.npz"
    checkpoint.save(path, {}, {"value": np.zeros(3), "norm": np.zeros(2)})
    with pytest.raises(ValueError, match=r"recorded arrays of one length, got the lengths \[2, 3\]"):
        checkpoint.load(path, {}, {"value": np.zeros(0), "norm": np.zeros(0)})


def test_the_numbers_inside_closures_count(tmp_path):
    """Optax hides its rate in a closure. Another rate is another problem, and an equal new closure is not."""
    path = tmp_path / "fit.npz"
    for _ in range(2):
        fit(PROBLEM, breast_cancer(), optax.sgd(0.1, momentum=0.9), max_steps=5, checkpoint=path)
    for other in (optax.sgd(0.2, momentum=0.9), optax.sgd(0.1, momentum=0.8)):
        with pytest.raises(ValueError, match="of another problem: optimizer was"):
            fit(PROBLEM, breast_cancer(), other, max_steps=5, checkpoint=path)


@pytest.mark.parametrize("damage", ["empty", "half", "text", "flipped"])
def test_a_damaged_file_is_named_and_kept(damage, tmp_path):
    path = tmp_path / "fit.npz"
    fit(PROBLEM, breast_cancer(), descent.adam(0.01), max_steps=5, checkpoint=path)
    good = path.read_bytes()
    middle = good.index(b"leaf2.npy") + 160
    bad = {
        "empty": b"",
        "half": good[: len(good) // 2],
        "text": b"weights of mine",
        "flipped": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
    }[damage]
    path.write_bytes(bad)
    with pytest.raises(ValueError, match=r"fit\.npz is damaged, or no checkpoint of dlcore"):
        fit(PROBLEM, breast_cancer(), descent.adam(0.01), max_steps=5, checkpoint=path)
    assert path.read_bytes() == bad


def test_wrong_paths_are_named(tmp_path):
    for path in (tmp_path / "no folder" / "fit.npz", tmp_path):
        with pytest.raises(ValueError, match="checkpoint: expected the path of a file in a folder that exists"):
            fit(PROBLEM, breast_cancer(), descent.adam(0.01), checkpoint=path)
    with pytest.raises(TypeError, match="checkpoint: expected a path, got 3"):
        fit(PROBLEM, breast_cancer(), descent.adam(0.01), checkpoint=3)  # pyright: ignore[reportArgumentType]


def test_a_traced_fit_has_no_checkpoint_and_no_certificate(tmp_path):
    def bias(l2, **arguments):
        problem = Objective(logistic, sigmoid_cross_entropy, l2)
        return fit(problem, breast_cancer(), descent.adam(0.01), max_steps=5, **arguments).params.bias

    l2 = jnp.asarray(0.1, DTYPE)
    for arguments in ({"checkpoint": tmp_path / "fit.npz"}, {"stop": "certificate"}):
        with pytest.raises(TypeError, match=r"cannot be traced|do not work under jax\.jvp"):
            jax.jvp(lambda l2, more=arguments: bias(l2, **more), (l2,), (l2,))
    assert not any(tmp_path.iterdir())
