"""Description of a part, without what it imports."""

from collections.abc import Mapping
from typing import NamedTuple

from on_device.estimate import Work, seconds_of


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
