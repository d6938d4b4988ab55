"""Fits on several threads: the path of one thread to rounding, and the same bits for every chunk and interrupt."""

import signal
import subprocess
import sys
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import DTYPE, EPS, ROOT, assert_close
from processes import TIMEOUT_S
from seams import use_threads

from dlcore import Objective, Status, descent, fit
from dlcore.losses import sigmoid_cross_entropy
from dlcore.models import logistic

pytestmark = pytest.mark.devices

RNG = np.random.default_rng(0)
ROWS = 1_003  # no multiple of three
X = RNG.normal(size=(ROWS, 4)).astype(DTYPE)
Y = (X[:, 0] + RNG.logistic(size=ROWS) > 0).astype(DTYPE)
S = RNG.random(ROWS) * (RNG.random(ROWS) < 0.7)
PROBLEM = Objective(logistic, sigmoid_cross_entropy, 1e-2)
RULES = {
    "gradient descent": descent.gradient_descent(0.5),
    "momentum": descent.momentum(0.1),
    "nesterov": descent.nesterov(0.5),
    "adam": descent.adam(0.02),
    "accelerated": descent.accelerated(0.5),  # restarts
    "optax": optax.chain(optax.clip_by_global_norm(1.0), optax.add_decayed_weights(1e-3), optax.sgd(0.2, 0.9)),
}


def recorded(params):
    return params


@pytest.fixture
def cores(monkeypatch):
    """Return a function that sets the number of threads of a pass. It is 3 at the start of a test."""

    def use(count: int) -> None:
        use_threads(count, monkeypatch)

    use(3)
    return use


def assert_same_bits(fitted, expected) -> None:
    assert (fitted.steps, fitted.status, fitted.message) == (expected.steps, expected.status, expected.message)
    arrays = [
        (
            fit.params,
            fit.value,
            fit.gradient_norm,
            fit.history.value,
            fit.history.gradient_norm,
            fit.history.recorded,
        )
        for fit in (fitted, expected)
    ]
    chex.assert_trees_all_equal(*arrays, strict=True)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("weights", [None, pytest.param(S, marks=pytest.mark.slow)], ids=["", "weights"])
def test_three_threads_take_the_path_of_one(name, weights, cores):
    data, rule = ((X, Y) if weights is None else (X, Y, weights)), RULES[name]
    fitted = fit(PROBLEM, data, rule, tol=0, max_steps=40, record=recorded)
    cores(1)
    one = fit(PROBLEM, data, rule, tol=0, max_steps=40, record=recorded)
    assert (fitted.steps, fitted.status) == (one.steps, one.status) == (40, Status.OUT_OF_STEPS)
    assert_close(fitted.history.value, one.history.value, units=8 * ROWS**0.5)
    # A rule may amplify the rounding of a gradient: adam divides by the root of a small second moment.
    jax.tree.map(lambda a, b: assert_close(a, b, units=100 * ROWS**0.5), fitted.params, one.params)
    jax.tree.map(
        lambda a, b: assert_close(a, b, units=100 * ROWS**0.5), fitted.history.recorded, one.history.recorded
    )


@pytest.mark.parametrize("name", ["gradient descent", "nesterov", "adam"])
def test_three_threads_converge_if_one_does(name, cores):
    fitted = fit(PROBLEM, (X, Y), RULES[name], tol=1e-6)
    cores(1)
    one = fit(PROBLEM, (X, Y), RULES[name], tol=1e-6)
    assert fitted.status is one.status is Status.CONVERGED
    assert abs(fitted.steps - one.steps) <= 1
    assert_close(fitted.value, one.value, units=8 * ROWS**0.5)


@pytest.mark.parametrize("name", RULES)
def test_neither_the_chunk_nor_a_second_run_changes_a_bit(name, cores):
    first = fit(PROBLEM, (X, Y), RULES[name], tol=0, max_steps=60, record=recorded)
    for chunk in (1, 7, 1000):
        assert_same_bits(
            fit(PROBLEM, (X, Y), RULES[name], tol=0, max_steps=60, record=recorded, chunk=chunk), first
        )


def test_a_history_of_several_calls_changes_no_bit(cores):
    """A call keeps at most 1,024 steps."""
    whole, parted = (
        fit(PROBLEM, (X, Y), RULES["nesterov"], tol=0, max_steps=1_100, record=recorded, chunk=chunk)
        for chunk in (1_100, 100)
    )
    assert len(whole.history.value) == 1_101
    assert_same_bits(parted, whole)


@pytest.mark.parametrize("name", ["nesterov", "optax"])
def test_an_interrupted_fit_resumes_with_the_same_bits(name, cores, tmp_path):
    whole = fit(PROBLEM, (X, Y), RULES[name], tol=0, max_steps=50, record=recorded)

    def interrupt(progress):
        if progress.step >= 20:
            raise KeyboardInterrupt

    path = tmp_path / "fit"
    with pytest.raises(KeyboardInterrupt):
        fit(
            PROBLEM, (X, Y), RULES[name],
            tol=0, max_steps=50, record=recorded, chunk=10, callback=interrupt, checkpoint=path,
        )  # fmt: skip
    assert_same_bits(
        fit(PROBLEM, (X, Y), RULES[name], tol=0, max_steps=50, record=recorded, checkpoint=path), whole
    )


def test_a_checkpoint_resumes_with_another_number_of_threads_to_rounding(cores, tmp_path):
    """The fit starts on three threads and ends on one. Their number belongs to the machine."""
    rule = RULES["nesterov"]
    arguments: dict[str, Any] = {"tol": 0, "chunk": 10}
    whole = fit(PROBLEM, (X, Y), rule, max_steps=50, **arguments)
    path = tmp_path / "fit"
    fit(PROBLEM, (X, Y), rule, max_steps=20, checkpoint=path, **arguments)
    cores(1)
    fitted = fit(PROBLEM, (X, Y), rule, max_steps=50, checkpoint=path, **arguments)
    assert (fitted.steps, fitted.status) == (whole.steps, whole.status)
    # The first entries are those of three threads. The last evaluation of the first fit is repeated.
    np.testing.assert_array_equal(fitted.history.value[:20], whole.history.value[:20])
    assert_close(fitted.history.value, whole.history.value, units=8 * ROWS**0.5)
    jax.tree.map(lambda a, b: assert_close(a, b, units=100 * ROWS**0.5), fitted.params, whole.params)


INTERRUPTED = """
import signal, sys, threading, numpy as np, dlcore
from dlcore import Objective, descent, losses, models
sys.path.insert(0, "tests")
from seams import use_threads
use_threads(3)
signal.signal(signal.SIGINT, signal.default_int_handler)  # the parent process may ignore it
data = np.load(sys.argv[1])
problem = Objective(models.logistic, losses.sigmoid_cross_entropy, 1e-2)
try:
    dlcore.fit(problem, (data["x"], data["y"]), descent.nesterov(0.5), tol=0, max_steps=10**7, chunk=20,
               checkpoint=sys.argv[2], callback=lambda now: now.step == 200 and print("under way", flush=True))
except KeyboardInterrupt:
    named = sum(thread.name.startswith("dlcore") for thread in threading.enumerate())
    print("interrupted beside", named, "threads")
"""


def test_ctrl_c_ends_a_fit_at_once_and_leaves_no_thread_and_a_valid_checkpoint(cores, tmp_path):
    """A real SIGINT arrives after step 200, and the process then ends by itself."""
    table, path = tmp_path / "data.npz", tmp_path / "fit"
    np.savez(table, x=X, y=Y)
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(table), str(path)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "under way\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert output.startswith("interrupted beside "), output
    resumed = fit(PROBLEM, (X, Y), RULES["nesterov"], tol=0, max_steps=10**7, chunk=1, checkpoint=path,
                  callback=lambda progress: True)  # fmt: skip
    whole = fit(PROBLEM, (X, Y), RULES["nesterov"], tol=0, max_steps=resumed.steps)
    assert resumed.steps > 20
    assert resumed.history.value.tobytes() == whole.history.value.tobytes()


def test_a_callback_stops_a_fit(cores):
    seen = []
    rule = RULES["gradient descent"]
    fitted = fit(
        PROBLEM, (X, Y), rule, chunk=5, callback=lambda now: seen.append(now.step) or now.step >= 10, tol=0
    )
    assert (fitted.status, fitted.steps, len(fitted.history.value), seen) == (Status.STOPPED, 10, 11, [5, 10])
    assert float(fitted.value) == fitted.history.value[-1]


def test_divergence_is_reported(cores):
    fitted = fit(PROBLEM, (X, Y), descent.gradient_descent(1e6), max_steps=500)
    assert fitted.status is Status.DIVERGED
    assert "1/L" in fitted.message


def test_a_certificate_stops_a_fit(cores):
    fitted = fit(PROBLEM, (X, Y), RULES["nesterov"], tol=1e-4, stop="certificate")
    assert fitted.status is Status.CONVERGED
    assert fitted.certificate is not None
    assert fitted.certificate.gap <= 1e-4 * fitted.certificate.value


def test_other_settings_compile_nothing(cores, compiles):
    x, y = X[:901], Y[:901]  # shapes that no other test uses
    fit(PROBLEM, (x, y), descent.gradient_descent(0.1), max_steps=5)
    assert compiles() == 2  # a pass, and all else of a step
    fit(Objective(logistic, sigmoid_cross_entropy, 0), (2 * x, 1 - y), descent.gradient_descent(0.2), tol=0.1)
    fit(PROBLEM, (x, y), descent.gradient_descent(1.0), max_steps=30, chunk=3, tol=0)
    assert compiles() == 2


def test_line_searches_and_minibatches_stay_one_program(cores):
    """A line search evaluates J inside the update. It and minibatches have the bits of one thread."""

    def fits():
        with jax.numpy_dtype_promotion("standard"):  # Optax relies on it in float64
            searched = fit(PROBLEM, (X, Y), optax.lbfgs(), tol=1e-4)
        batches = fit(PROBLEM, (X, Y), RULES["adam"], batch_size=100, key=jax.random.key(0), max_steps=20)
        return searched, batches, fit(PROBLEM, (X, Y), RULES["adam"], max_steps=20)

    of_three = fits()
    cores(1)
    of_one = fits()
    assert of_three[0].status is Status.CONVERGED
    for fitted, expected in zip(of_three[:2], of_one[:2], strict=True):
        assert_same_bits(fitted, expected)
    assert of_three[2].history.value.tobytes() != of_one[2].history.value.tobytes()  # three threads did add


def test_a_traced_fit_runs_on_one_thread(cores):
    """A derivative by l2 has the bits of one thread."""

    def value(l2):
        problem = Objective(logistic, sigmoid_cross_entropy, l2)
        return fit(problem, (X, Y), RULES["gradient descent"], max_steps=20, tol=0).value

    def derived():
        return jax.jvp(value, (jnp.asarray(1e-2, DTYPE),), (jnp.asarray(1.0, DTYPE),))

    of_three = derived()
    cores(1)
    chex.assert_trees_all_equal(of_three, derived())


def test_threads_sum_the_first_gradient_to_rounding(cores):
    """Each addition rounds by at most eps."""
    fitted = fit(PROBLEM, (X, Y), RULES["gradient descent"], max_steps=1)
    gradient = X.astype(float).T @ (0.5 - Y.astype(float)) / ROWS
    exact = np.hypot(np.linalg.norm(gradient), np.mean(0.5 - Y.astype(float)))
    assert abs(fitted.history.gradient_norm[0] - exact) <= ROWS * EPS * np.abs(X).mean(0).sum()


IN_THREADS = """
import sys, threading, numpy as np, dlcore
from dlcore import Objective, descent, losses, models
sys.path.insert(0, "tests")
from seams import use_threads
use_threads(2)
rng = np.random.default_rng(0)
x = rng.normal(size=(3000, 12)).astype(np.float32)
y = (x[:, 0] + rng.logistic(size=3000) > 0).astype(np.float32)
problem = Objective(models.logistic, losses.sigmoid_cross_entropy, 1e-2)
def once():
    return dlcore.fit(problem, (x, y), descent.nesterov(0.5), max_steps=60, tol=0)
first = once()
for other in (True, False):
    fits = []
    def work():
        for _ in range({repeats}):
            fits.append(once())
            if other:
                dlcore.fit_heads(x[:600], y[:600], l2=np.geomspace(1e-3, 1, 4), folds=2)
    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(len(fits), all((fit.params.weight == first.params.weight).all() for fit in fits), flush=True)
"""


@pytest.mark.parametrize("repeats", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_fits_in_several_threads_of_the_caller_end_with_the_same_bits(repeats):
    """The threads of the caller run `fit_heads` too in the first half of the test."""
    done = subprocess.run(
        [sys.executable, "-c", IN_THREADS.format(repeats=repeats)],
        cwd=ROOT, text=True, capture_output=True, timeout=240, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"{4 * repeats} True"] * 2
