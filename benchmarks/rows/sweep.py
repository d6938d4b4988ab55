"""2,000 settings of gradient descent, 569 × 30, 500 steps each, against Python loops of compiled fits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import Objective, descent, fit, sweep
from dlcore.losses import sigmoid_cross_entropy
from dlcore.measuring import Timing, measure
from dlcore.models import logistic
from rows.contest import figures

L2 = 0.01


def rates(quick: bool, repeats: int) -> dict[str, Any]:
    """200 rates × 10 seeds; a loop does every twentieth setting, and its time counts twenty times."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    x, y = ((x - x.mean(0)) / x.std(0)).astype(np.float32), y.astype(np.float32)
    settings = {
        "rate": np.repeat(np.geomspace(0.01, 0.3, 4 if quick else 200), 10),
        "seed": np.tile(np.arange(10), 4 if quick else 200),
    }
    steps, part = (20, 20) if quick else (500, 20)
    objective = Objective(logistic, sigmoid_cross_entropy, L2)
    data, key = objective.prepare((x, y)), jax.random.key(0)
    chosen = range(0, len(settings["rate"]), part)

    def ours() -> Any:
        make = descent.gradient_descent
        swept = sweep(objective, (x, y), lambda s: make(s["rate"]), settings, key=key, tol=0, max_steps=steps)
        return jax.tree.map(np.asarray, swept.params)

    def loop(chunk: int | None) -> Any:
        found = []
        for i in chosen:
            rule = descent.gradient_descent(settings["rate"][i])
            own = jax.random.fold_in(key, settings["seed"][i])
            fitted = fit(objective, data, rule, key=own, tol=0, max_steps=steps, chunk=chunk)
            found.append(jax.tree.map(np.asarray, fitted.params))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *found)

    @jax.jit
    def plain(x: Any, y: Any, rate: Any) -> Any:
        def value(theta: Any) -> Any:
            z = x @ theta[0] + theta[1]
            return jnp.mean(jnp.logaddexp(0.0, z) - y * z) + L2 / 2 * jnp.sum(theta[0] ** 2)

        def update(_: Any, theta: Any) -> Any:
            return jax.tree.map(lambda now, slope: now - rate * slope, theta, jax.grad(value)(theta))

        return jax.lax.fori_loop(0, steps, update, (jnp.zeros(x.shape[1]), jnp.zeros(())))

    def loop_of_plain() -> Any:
        found = [jax.tree.map(np.asarray, plain(x, y, np.float32(settings["rate"][i]))) for i in chosen]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *found)

    loops = {
        "loop of fit": lambda: loop(None),
        "loop of fit, one chunk": lambda: loop(steps + 1),
        "loop of a plain fori_loop": loop_of_plain,
    }
    timings = measure({"dlcore": ours, **loops}, repeats if quick else min(repeats, 5))
    for name in loops:
        timings[name] = Timing(part * timings[name].first, part * timings[name].calls)
    mine = ours().weight[list(chosen)]
    agree = all(np.allclose(mine, run()[0], rtol=1e-3, atol=1e-4) for run in loops.values())
    return {
        "shape": list(x.shape),
        "models": len(settings["rate"]),
        "contestants": {name: figures(timing, timings["dlcore"].median) for name, timing in timings.items()},
        "agree": agree,
        "notes": [
            f"loops: every {part}th setting, times {part}; the plain loop has no rule for stopping, no record"
        ],
    }
