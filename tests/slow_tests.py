"""The tests that `slow.txt` names: `scripts/test` leaves them out, and `scripts/test --all` runs them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

FILE = Path(__file__).with_name("slow.txt")


class Entry(NamedTuple):
    """A line of the file.

    Attributes:
      choice: "only" or "not"; empty where the whole test is slow.
      variants: the variants that stay, after "only", or those that are slow, after "not".
    """

    choice: str
    variants: Sequence[str]

    def is_slow(self, variant: str) -> bool:
        """Return whether a variant of the test is slow."""
        return not self.choice or (variant in self.variants) == (self.choice == "not")


def read_entries(text: str) -> dict[str, Entry]:
    """Return the entries by the name of the test."""
    lines = [line.split(" | ") for line in text.splitlines() if line and not line.startswith("#")]
    return {name: Entry(rest[0] if rest else "", rest[1:]) for name, *rest in lines}


def mark(items: Sequence[pytest.Item], root: Path, *, check_variants: bool) -> None:
    """Mark the slow ones of the collected tests.

    Args:
      items: the collected tests.
      root: the folder of the tests.
      check_variants: whether variants must exist. Some have other names in float64.

    Raises:
      UsageError: if a file that was collected has no such test, or no such variant.
    """
    entries = read_entries(FILE.read_text())
    variants: dict[str, set[str]] = {}
    for item in items:
        if not item.path.is_relative_to(root):
            continue
        function, _, variant = item.name.partition("[")
        name = f"{item.path.relative_to(root).as_posix()}::{function}"
        variants.setdefault(name, set()).add(variant.removesuffix("]"))
        if name in entries and entries[name].is_slow(variant.removesuffix("]")):
            item.add_marker("slow")
    missing = sorted(name for name in unknown(entries, variants) if check_variants or "[" not in name)
    if missing:
        raise pytest.UsageError(f"{FILE.name} names what is not there: {', '.join(missing)}")


def unknown(entries: Mapping[str, Entry], variants: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield the tests and variants of the file that were not collected although their file was."""
    files = {name.partition("::")[0] for name in variants}
    for name, entry in entries.items():
        if name.partition("::")[0] not in files:
            continue
        if name not in variants:
            yield name
        else:
            yield from (f"{name}[{variant}]" for variant in entry.variants if variant not in variants[name])
