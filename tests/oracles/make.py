"""Compute the optima that tests compare with, and write them: no code of the library takes part.

Command: python tests/oracles/make.py
Takes: about 40 seconds of one core with gmpy2.
"""

import os
import sys
import time
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads that wait for one another take ten times as long here
sys.path.insert(0, str(Path(__file__).parent.parent))

from oracles import stored_optima
from oracles.stored_problems import computed, stored_problems


def main() -> None:
    """Compute all optima, write the file, and print what it holds."""
    clock = time.perf_counter()
    found = {}
    for number, (name, stored) in enumerate(stored_problems().items()):
        found[name] = stored_optima.fingerprint(stored.problem), computed(stored)
        if number % 50 == 0:
            print(f"{time.perf_counter() - clock:6.1f} s  {name}", flush=True)
    stored_optima.save(found, stored_optima.FILE)
    size = stored_optima.FILE.stat().st_size
    print(f"{stored_optima.FILE}: {len(found)} optima, {size / 1024:.0f} KiB, {time.perf_counter() - clock:.0f} s")


if __name__ == "__main__":
    main()
