"""The seconds of a call of `fit_heads`, and the programs that it compiled."""

import time

import jax
import numpy as np
import pytest
from seams import clear_compiled_programs

from dlcore import Heads, fit_heads
from dlcore.heads.solvers import cost_model

pytestmark = pytest.mark.any_mode

X = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
Y = (X[:, 0] + np.random.default_rng(1).normal(size=90) > 0).astype(int)
HARD = X * np.array([1, 1e-3, 1e3], np.float32)


@pytest.mark.parametrize(
    ("loss", "programs"),
    [
        ("logistic", ("accumulate", "observe", "advance")),
        ("squared", ("_of_products", "heads_of")),
    ],
)
def test_the_first_call_names_its_programs_and_the_second_has_none(loss, programs, compiled_passes):
    clear_compiled_programs()
    start = time.perf_counter()
    first = fit_heads(X, Y, loss=loss, l2=np.geomspace(1e-2, 1.0, 5)).timing
    seconds = time.perf_counter() - start
    second = fit_heads(X, 1 - Y, loss=loss, l2=np.geomspace(1e-1, 2.0, 5)).timing
    assert first is not None
    assert second is not None
    assert set(first.programs) == set(programs)
    assert (second.programs, second.compile) == ((), 0)
    assert min(first.compile, first.run, first.certify, second.run, second.certify) > 0
    assert first.compile + first.run + first.certify <= seconds


def test_a_fallback_is_named(compiled_passes):
    fit_heads(X, Y, l2=[1e-2, 1.0])
    hard = fit_heads(HARD, Y, l2=[1e-9, 1e-8], max_steps=12)
    assert hard.timing is not None
    assert "accumulate_with_hessian" in hard.timing.programs


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="NumPy makes the passes on a CPU")
@pytest.mark.parametrize("x", [X, HARD])
def test_small_tables_on_a_cpu_compile_nothing(x):
    clear_compiled_programs()
    heads = fit_heads(x, Y, l2=[1e-9, 1e-2])
    assert heads.timing is not None
    assert (heads.timing.programs, heads.timing.compile) == ((), 0)


def test_a_file_does_not_keep_it(tmp_path):
    fit_heads(X, Y, l2=1.0).save(tmp_path / "heads")
    assert Heads.load(tmp_path / "heads").timing is None


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="NumPy makes the passes on a CPU")
@pytest.mark.parametrize(
    ("rows", "columns", "strengths", "is_compiled"),
    [
        (1000, 2, 4, False),  # as many logits as NumPy takes
        (1000, 2, 5, True),
        (2**14 + 1, 256, 1, False),  # one wide head of a table without a copy
        (2**14 + 2, 256, 1, False),
        (2**14 + 1, 256, 2, False),  # as many numbers as NumPy takes for any heads
        (2**14 + 2, 256, 2, True),
        (2**14 + 65, 255, 1, True),
    ],
)
def test_shapes_say_whether_numpy_or_a_compiled_program_makes_the_passes(
    rows, columns, strengths, is_compiled, monkeypatch
):
    clear_compiled_programs()
    monkeypatch.setattr(cost_model, "HOST_LOGITS", 4000)
    monkeypatch.setattr(cost_model, "HOST_NUMBERS", (2**14 + 1) * 256)
    x = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    heads = fit_heads(x, x[:, 0] > 0.1 * x[:, 1], l2=np.geomspace(1e-4, 1, strengths))
    assert heads.timing is not None
    assert set(heads.timing.programs) == ({"accumulate", "observe", "advance"} if is_compiled else set())
