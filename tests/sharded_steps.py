"""Run by test_devices.py in a process of its own, with a number of CPU devices and of threads: prints one line."""

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
TOLD: dict[str, Any] = {}
OBJECTIVE = Objective(logistic, sigmoid_cross_entropy, 0.01)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(20_011, 16)).astype(np.dtype(jax.numpy.result_type(float)))
Y = (X[:, 0] + RNG.normal(size=len(X)) > 0).astype(X.dtype)
S = RNG.random(len(X)) * (RNG.random(len(X)) < 0.8)
START = LinearParams(np.zeros(16, X.dtype), np.zeros((), X.dtype))
KEY = jax.random.key(0)


def said(tree: Any) -> Any:
    """As numbers that JSON keeps to the last bit."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, float).tolist(), jax.tree.leaves(tree))


@jax.jit
def downhill(params: LinearParams, gradient: LinearParams) -> LinearParams:
    return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient)


def steps_without_waiting(data: Any) -> Any:
    """Each depends on the one before, and nobody looks at any of them."""
    params = jax.device_put(START, NamedSharding(data.mesh, PartitionSpec()))
    for _ in range(STEPS):
        params = downhill(params, OBJECTIVE.value_and_grad(params, data)[1])
    return params


def in_a_program(data: Any) -> Any:
    """The same with each step a program of the caller's own."""

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
TOLD["value and gradient"] = said(OBJECTIVE.value_and_grad(point, data))
TOLD["of two models"] = said(OBJECTIVE.values_and_grads(both, data))
TOLD["hvp"] = said(OBJECTIVE.hvp(point, point, data))
TOLD["hessian"] = said(OBJECTIVE.hessian(point, data))
TOLD["without weights"] = said(OBJECTIVE.value_and_grad(point, OBJECTIVE.prepare((X, Y), devices=devices)))
TOLD["rows that divide"] = said(
    OBJECTIVE.value_and_grad(point, OBJECTIVE.prepare((X[:16_000], Y[:16_000]), devices=devices))
)
TOLD["safe step"] = said(descent.lipschitz_step(OBJECTIVE, data))
TOLD["steps"] = said(steps_without_waiting(data))

before = len(compilations)
rule = descent.gradient_descent(0.5)
fitted = fit(OBJECTIVE, data, rule, params=START, tol=0, max_steps=STEPS, chunk=7)
fit(OBJECTIVE, (2 * X, Y, S), descent.gradient_descent(0.1), params=START, devices=devices, max_steps=30)
TOLD["compilations"] = len(compilations) - before
TOLD["fit"] = said(fitted.params)
again = fit(OBJECTIVE, (X, Y, S), rule, params=START, tol=0, max_steps=STEPS, devices=devices)
TOLD["fit again"] = said(again.params)
TOLD["placed"] = [len(fitted.params.weight.devices()), len(data.x.addressable_shards)]
size = 125 * devices
batched = [
    fit(OBJECTIVE, data, rule, params=START, key=KEY, batch_size=size, max_steps=50, tol=0, chunk=c)
    for c in (7, 50)
]
TOLD["batches"] = [said((b.params, b.history.value)) for b in batched]

together: list[Any] = [None, None]


def work(i: int) -> None:
    together[i] = said(steps_without_waiting(data))


threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
TOLD["threads"] = together
try:
    TOLD["in a program"] = said(in_a_program(data))
except RuntimeError as error:
    TOLD["in a program"] = str(error)
try:
    TOLD["under a transformation"] = said(jax.grad(OBJECTIVE.value)(point, data))
except RuntimeError as error:
    TOLD["under a transformation"] = str(error)
if not isinstance(TOLD["in a program"], str):
    small = dataclasses.replace(data, block=500)
    compiled: Any = jax.jit(OBJECTIVE.value_and_grad).lower(point, small).compile()
    TOLD["collectives"] = compiled.as_text().count(" all-reduce(")
    TOLD["temporary"] = compiled.memory_analysis().temp_size_in_bytes / X.nbytes
json.dump(TOLD, sys.stdout)
