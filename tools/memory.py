"""Peak memory of `fit_heads`, X and y included, above that of the process before.

Each size has a fresh process, which first fits 4,096 rows to load and compile everything.

Command: scripts/bench memory [--rows 1048576 2097152] [--features 128]
Takes: half a minute each.
"""

import dataclasses
import json
import os
import subprocess
import sys

import tyro

from dlcore.cli import console

PROCESS = """
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


@dataclasses.dataclass
class Options:
    """Options of the command."""

    rows: tuple[int, ...] = (2**20,)
    """Numbers of rows; each has its own process."""
    features: int = 128
    """Number of float32 columns."""


def main(options: Options) -> None:
    """Measure all sizes, and print a table and one line of JSON."""
    results, table = {}, []
    for rows in options.rows:
        command = [sys.executable, "-c", PROCESS, str(rows), str(options.features)]
        process = subprocess.run(command, env=os.environ, text=True, capture_output=True, check=True)
        result = json.loads(process.stdout.splitlines()[-1])
        result["ratio"] = round(result["above"] / result["data"], 3)
        results[rows] = result
        mebibytes = (f"{result[name] / 2**20:,.0f}" for name in ("data", "above"))
        table.append([f"{rows:,} × {options.features}", *mebibytes, f"{result['ratio']:.2f}", result["status"]])
    header = ["x", "x and y, MiB", "peak, MiB", "×", "ended"]
    console.print_table("Peak memory of fit_heads, x and y included", header, table)
    console.print_result({"benchmark": "memory", "features": options.features, "rows": results})


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
