"""How time grows with rows, features, models and classes, and how much memory heads take above their data."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore import Objective
from dlcore.losses import sigmoid_cross_entropy, softmax_cross_entropy
from dlcore.measuring import measure
from dlcore.models import LinearParams, logistic, softmax

MEMORY = """
import json, os, sys
import numpy as np
import dlcore
def data(rows, features):
    rng = np.random.default_rng(0)
    x = np.empty((rows, features), np.float32)
    for first in range(0, rows, 4096):
        x[first:first + 4096] = rng.standard_normal((len(x[first:first + 4096]), features), dtype=np.float32)
    return x, (x[:, 0] + rng.logistic(size=rows) > 0).astype(np.int64)
rows, features = map(int, sys.argv[1:])
small = data(4096, features)
dlcore.fit_heads(*small, l2=[1e-3])
with open("/proc/self/statm") as file:
    before = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
x, y = data(rows, features)
heads = dlcore.fit_heads(x, y, l2=[1e-3])
with open("/proc/self/status") as file:  # ru_maxrss would be at least that of the parent process
    peak = next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
print(json.dumps({"data": x.nbytes + y.nbytes, "above": peak - before, "status": str(heads.status[0])}))
"""
"""Peak memory above what was held after a small fit, which compiles and loads all."""


def lines(quick: bool, repeats: int) -> dict[str, Any]:
    """Value and gradient of float32; the slope is that of log time against log size, 1 where time is a line."""
    rows, features = (2**10, 8) if quick else (2**18, 128)
    most = 5
    sizes: dict[str, tuple[list[int], Callable[[int], Callable[[], Any]]]] = {
        "rows": ([rows * 2**k // 4 for k in range(most)], lambda n: _logistic(n, features, None)),
        "features": ([features * 2**k // 4 for k in range(most)], lambda m: _logistic(rows, m, None)),
        "models": ([2**k for k in range(4, 4 + most)], lambda count: _logistic(rows // 8, features, count)),
        "classes": ([2**k for k in range(3, 3 + most)], lambda count: _softmax(rows // 8, features, count)),
    }
    growth, notes = {}, []
    for name, (along, make) in sizes.items():
        contestants = {str(size): make(size) for size in along}
        timings = measure(contestants, min(repeats, 7))
        seconds = [timings[str(size)].median for size in along]
        slope = float(np.polyfit(np.log(along), np.log(seconds), 1)[0])
        growth[name] = {"sizes": along, "seconds": [round(s, 6) for s in seconds], "slope": round(slope, 3)}
        spelt = ", ".join(f"{size}: {1e3 * s:.2f}" for size, s in zip(along, seconds, strict=True))
        notes.append(f"{name}: slope {slope:.2f}; ms of {spelt}")
    memory = _memory(2**13 if quick else 2**20, 128)
    notes.append(
        f"memory: fit_heads took {memory['ratio']:.2f} × X and y at its peak, both among it; {memory['status']}"
    )
    return {"growth": growth, "memory": memory, "notes": notes}


def _memory(rows: int, features: int) -> dict[str, Any]:
    """In a fresh process."""
    command = [sys.executable, "-c", MEMORY, str(rows), str(features)]
    done = subprocess.run(command, env=os.environ, text=True, capture_output=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "ratio": round(found["above"] / found["data"], 3)}


def _logistic(rows: int, features: int, models: int | None) -> Callable[[], Any]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, features), dtype=np.float32)
    objective = Objective(logistic, sigmoid_cross_entropy, 0.01)
    data = objective.prepare((x, (x[:, 0] > 0).astype(np.float32)))
    leading = () if models is None else (models,)
    weight = 0.1 * rng.standard_normal((*leading, features), dtype=np.float32)
    params = LinearParams(weight, np.zeros(leading, np.float32))
    return lambda: (objective.value_and_grad if models is None else objective.values_and_grads)(params, data)


def _softmax(rows: int, features: int, classes: int) -> Callable[[], Any]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, features), dtype=np.float32)
    objective = Objective(softmax, softmax_cross_entropy, 0.01)
    data = objective.prepare((x, rng.integers(0, classes, rows)))
    weight = 0.1 * rng.standard_normal((features, classes), dtype=np.float32)
    params = LinearParams(weight, np.zeros(classes, np.float32))
    return lambda: objective.value_and_grad(params, data)
