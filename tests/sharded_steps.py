"""A script of test_devices.py: it runs on several CPU devices and threads and prints one line."""

import dataclasses
import json
import os
import sys
import threading
from typing import Any

import jax
import numpy as np
from helpers import compilations
from jax.sharding import NamedSharding, PartitionSpec

from dlcore import Objective, descent, fit
from dlcore.losses import sigmoid_cross_entropy
from dlcore.models import LinearParams, logistic

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
STEPS = 200
RESULTS: dict[str, Any] = {}
OBJECTIVE = Objective(logistic, sigmoid_cross_entropy, 0.01)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(20_011, 16)).astype(np.dtype(jax.numpy.result_type(float)))
Y = (X[:, 0] + RNG.normal(size=len(X)) > 0).astype(X.dtype)
S = RNG.random(len(X)) * (RNG.random(len(X)) < 0.8)
START = LinearParams(np.zeros(16, X.dtype), np.zeros((), X.dtype))
KEY = jax.random.key(0)


def to_lists(tree: Any) -> Any:
    """Return the leaves as lists of numbers, which JSON keeps to the last bit."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, float).tolist(), jax.tree.leaves(tree))


@jax.jit
def downhill(params: LinearParams, gradient: LinearParams) -> LinearParams:
    return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient)


def async_steps(data: Any) -> Any:
    """Return the parameters after steps that depend on each other, none of which is waited for."""
    params = jax.device_put(START, NamedSharding(data.mesh, PartitionSpec()))
    for _ in range(STEPS):
        params = downhill(params, OBJECTIVE.value_and_grad(params, data)[1])
    return params


def jitted_steps(data: Any) -> Any:
    """Return the parameters after steps that are jitted by the caller."""

    @jax.jit
    def step(params: LinearParams) -> LinearParams:
        return downhill(params, OBJECTIVE.value_and_grad(params, data)[1])

    params = START
    for _ in range(STEPS):
        params = step(params)
    return params


devices = int(os.environ["JAX_NUM_CPU_DEVICES"])
data = OBJECTIVE.prepare((X, Y, S), devices=devices)
point = LinearParams(np.linspace(-1, 1, 16).astype(X.dtype), np.asarray(0.3, X.dtype))
both = jax.tree.map(lambda leaf: np.stack([leaf, -leaf]), point)
RESULTS["value and gradient"] = to_lists(OBJECTIVE.value_and_grad(point, data))
RESULTS["of two models"] = to_lists(OBJECTIVE.values_and_grads(both, data))
RESULTS["hvp"] = to_lists(OBJECTIVE.hvp(point, point, data))
RESULTS["hessian"] = to_lists(OBJECTIVE.hessian(point, data))
RESULTS["without weights"] = to_lists(OBJECTIVE.value_and_grad(point, OBJECTIVE.prepare((X, Y), devices=devices)))
RESULTS["rows that divide"] = to_lists(
    OBJECTIVE.value_and_grad(point, OBJECTIVE.prepare((X[:16_000], Y[:16_000]), devices=devices))
)
RESULTS["safe step"] = to_lists(descent.lipschitz_step(OBJECTIVE, data))
RESULTS["steps"] = to_lists(async_steps(data))

before = len(compilations)
rule = descent.gradient_descent(0.5)
fitted = fit(OBJECTIVE, data, rule, params=START, tol=0, max_steps=STEPS, chunk=7)
fit(OBJECTIVE, (2 * X, Y, S), descent.gradient_descent(0.1), params=START, devices=devices, max_steps=30)
RESULTS["compilations"] = len(compilations) - before
RESULTS["fit"] = to_lists(fitted.params)
again = fit(OBJECTIVE, (X, Y, S), rule, params=START, tol=0, max_steps=STEPS, devices=devices)
RESULTS["fit again"] = to_lists(again.params)
RESULTS["placed"] = [len(fitted.params.weight.devices()), len(data.x.addressable_shards)]
size = 125 * devices
batched = [
    fit(OBJECTIVE, data, rule, params=START, key=KEY, batch_size=size, max_steps=50, tol=0, chunk=c)
    for c in (7, 50)
]
RESULTS["batches"] = [to_lists((b.params, b.history.value)) for b in batched]

together: list[Any] = [None, None]


def work(i: int) -> None:
    together[i] = to_lists(async_steps(data))


threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
RESULTS["threads"] = together
try:
    RESULTS["in a program"] = to_lists(jitted_steps(data))
except RuntimeError as error:
    RESULTS["in a program"] = str(error)
try:
    RESULTS["under a transformation"] = to_lists(jax.grad(OBJECTIVE.value)(point, data))
except RuntimeError as error:
    RESULTS["under a transformation"] = str(error)
if not isinstance(RESULTS["in a program"], str):
    small = dataclasses.replace(data, block=500)
    compiled: Any = jax.jit(OBJECTIVE.value_and_grad).lower(point, small).compile()
    RESULTS["collectives"] = compiled.as_text().count(" all-reduce(")
    RESULTS["temporary"] = compiled.memory_analysis().temp_size_in_bytes / X.nbytes
json.dump(RESULTS, sys.stdout)
