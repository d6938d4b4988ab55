"""Parts of a visit, most important first."""

from on_device.part import Part
from on_device.parts import bench, facts, passes, products, tests, verify

BUDGET_S = 480.0
"""Seconds of a visit."""


def _verify(dtype: str) -> Part:
    question = f"is every public function right in {dtype}?"
    return Part(f"verify-{dtype}", question, "on_device.parts.verify:run", verify.work(dtype), verify.FIELDS)


def _bench(suite: str, question: str) -> Part:
    return Part(f"bench-{suite}", question, "on_device.parts.bench:run", bench.work(suite), bench.FIELDS)


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
