"""Calls in a fresh process: the first call of `fit_heads`, warm calls, or one L-BFGS loop of optax.

`first_call.py` runs this file as a script. It imports only what a user of the function imports.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

LOOP_STEPS = 10
"""Steps of the loop of optax, whose compilation does not depend on them."""
LOOP_L2 = 1e-3
CHANGED_ROWS = 10
"""The second data set has the label of the next row in every tenth row."""


def main(arguments: Sequence[str]) -> None:
    """Run the task of a JSON object, and write its numbers to a file.

    Args:
      arguments: a JSON object with "task", a name of `TASKS`, and "data" and "output", names of files.
        The other entries are arguments of the task. "cache" is a folder of compiled programs or None.
    """
    options = json.loads(arguments[0])
    task, output, cache = TASKS[options.pop("task")], options.pop("output"), options.pop("cache")
    if cache is not None:
        use_cache(cache)
    with np.load(options.pop("data")) as data:
        x, y = data["x"], data["y"]
    with jax.default_device(jax.devices(options.pop("device"))[0]):
        numbers = task(x, y, **options)
    with open(output, "w", encoding="utf-8") as file:
        json.dump(numbers, file)


def use_cache(folder: str) -> None:
    """Keep every compiled program in a folder, and none of the files that XLA keeps for itself."""
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")


def time_calls(call: Callable[[], Any], warm_calls: int) -> tuple[Any, dict[str, Any]]:
    """Return the answer of the first call, and the seconds of the first and of the warm calls."""
    seconds, answer = [], None
    for k in range(1 + warm_calls):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
        answer = answer if k else result
    return answer, {"first": seconds[0], "warm": seconds[1:]}


def time_heads(x: np.ndarray, y: np.ndarray, fit: dict[str, Any], warm_calls: int) -> dict[str, Any]:
    """Time `fit_heads`, and count the programs compiled by the first call and by a call with other labels.

    Args:
      x: features, shape (rows, features).
      y: labels or targets, shape (rows,) or (rows, targets).
      fit: keyword arguments of `fit_heads`.
      warm_calls: the number of warm calls.

    Returns:
      "first" and "warm", seconds; "programs" and "programs, other labels"; "gap", the largest certified gap,
      also of the folds, relative to `Certificate.gap_tol(1.0)`.
    """
    from dlcore._core.compilation.compilations import Compilations
    from dlcore.heads import fit_heads

    counts = []
    with Compilations() as programs:

        def call() -> Any:
            heads = fit_heads(x, y, **fit)
            counts.append(programs.count)
            return heads

        heads, numbers = time_calls(call, warm_calls)
        before = programs.count
        fit_heads(x, other_labels(y), **fit)
    gap_tol = heads.certificate.gap_tol(1.0)
    gaps = [np.max(heads.certificate.gap / gap_tol)]
    if heads.fold_gap.size:
        gaps.append(np.max(heads.fold_gap / np.expand_dims(gap_tol, -2)))
    return numbers | {
        "programs": counts[0],
        "programs, other labels": programs.count - before,
        "gap": float(max(gaps)),
    }


def other_labels(y: np.ndarray) -> np.ndarray:
    """Return labels of which every tenth is that of the next row."""
    changed = y.copy()
    changed[::CHANGED_ROWS] = np.roll(y, -1, 0)[::CHANGED_ROWS]
    return changed


def fit_once(x: np.ndarray, y: np.ndarray, fit: dict[str, Any], answer: str) -> dict[str, Any]:
    """Fit heads once and save them, as a script of a user does."""
    from dlcore.heads import fit_heads

    heads = fit_heads(x, y, **fit)
    np.savez(answer, coef=heads.coef, intercept=heads.intercept)
    return {}


def time_optax_loop(x: np.ndarray, y: np.ndarray, warm_calls: int) -> dict[str, Any]:
    """Time one loop of `optax.lbfgs` with its own line search on a softmax objective, as a user writes it."""
    import jax.numpy as jnp
    import optax

    classes, solver = int(y.max()) + 1, optax.lbfgs()

    @jax.jit
    def run(x: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        def objective(params: dict[str, jax.Array]) -> jax.Array:
            logits = x @ params["weight"] + params["bias"]
            value = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
            return value + LOOP_L2 / 2 * jnp.sum(params["weight"] ** 2)

        value_and_grad = optax.value_and_grad_from_state(objective)

        def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
            step, params, state = carry
            value, grad = value_and_grad(params, state=state)
            updates, state = solver.update(grad, state, params, value=value, grad=grad, value_fn=objective)
            return step + 1, optax.apply_updates(params, updates), state

        params = {"weight": jnp.zeros((x.shape[1], classes), x.dtype), "bias": jnp.zeros(classes, x.dtype)}
        return jax.lax.while_loop(lambda carry: carry[0] < LOOP_STEPS, body, (0, params, solver.init(params)))[1]

    arrays = jax.block_until_ready(jax.device_put((x, y.astype(np.int32))))
    return time_calls(lambda: jax.block_until_ready(run(*arrays)), warm_calls)[1]


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "heads": time_heads,
    "once": fit_once,
    "optax loop": time_optax_loop,
}
"""Functions of (x, y, …) that return numbers, by name."""

if __name__ == "__main__":
    main(sys.argv[1:])
