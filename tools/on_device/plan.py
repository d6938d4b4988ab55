"""Parts of a visit, most important first."""

from collections.abc import Mapping
from typing import NamedTuple

from on_device.estimate import Work, seconds_of
from on_device.parts import bench, facts, passes, products, tests, verify

BUDGET_S = 480.0
"""Seconds of a visit."""


class Part(NamedTuple):
    """Part of a visit, which runs in a process of its own.

    Attributes:
      name: the name in the JSON file and on the command line.
      question: what the project learns.
      target: "module:function", called with a `Request` and a function that saves an incomplete result.
      work: the work at full size.
      fields: names that the result has.
      environment: variables of its process.
    """

    name: str
    question: str
    target: str
    work: Work
    fields: tuple[str, ...]
    environment: Mapping[str, str] = {}

    @property
    def estimate(self) -> float:
        """The estimated seconds on an H200."""
        return seconds_of(self.work)


def _verify(dtype: str) -> Part:
    question = f"is every public function right in {dtype}?"
    return Part(f"verify-{dtype}", question, "on_device.parts.verify:run", verify.work(dtype), verify.FIELDS)


def _bench(suite: str, question: str) -> Part:
    # A rehearsal has a second simulated CPU, in the place of the CPU beside the device. GPUs ignore the variable.
    environment = {"JAX_NUM_CPU_DEVICES": "2"}
    work = bench.work(suite)
    return Part(f"bench-{suite}", question, "on_device.parts.bench:run", work, bench.FIELDS, environment)


PARTS = (
    Part(
        "facts",
        "which device, driver and versions, and how fast are they at best?",
        "on_device.parts.facts:run",
        facts.work(),
        facts.FIELDS,
    ),
    _verify("float32"),
    Part(
        "passes",
        "how near to the memory's bandwidth are value and gradient?",
        "on_device.parts.passes:run",
        passes.work(),
        passes.FIELDS,
    ),
    Part(
        "products",
        "what do float64 and each algorithm of products cost, and how wrong are they?",
        "on_device.parts.products:run",
        products.work(),
        products.FIELDS,
    ),
    _verify("float64"),
    _bench("sweep", "how much faster than the CPU are sweeps and paths of heads?"),
    _bench("fit", "how much faster than the CPU are single fits?"),
    _bench("gradient", "how much faster than the CPU are value and gradient?"),
    Part(
        "tests",
        "do the tests that say something on an accelerator pass?",
        "on_device.parts.tests:run",
        tests.work(),
        tests.FIELDS,
        tests.ENVIRONMENT,
    ),
    _bench("math", "how much faster than the CPU are single functions?"),
)
