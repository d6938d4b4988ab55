"""What the text of a compiled program says: its instructions, who reads X, its collectives, its products."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

Views = dict[str, frozenset[int]]
"""Names that stand for X or a copy of it; of a tuple the places that do, of an array the place `WHOLE`."""

WHOLE = -1
COLLECTIVES = ("all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
PRODUCTS = ("dot", "convolution", "ragged-dot", "scaled-dot")
PASSED_ON = ("bitcast", "opt-barrier", "copy-done")
"""Operations that hand over what they are given, and read nothing."""
PADDED = 1.02
"""How many times as large as X a result may be and still be a copy of it."""
CALLED = re.compile(r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
SHAPE = re.compile(r"\b(pred|bf16|[a-z]+\d+\w*)\[([\d,]*)\]")
PRECISION = re.compile(r"operand_precision=\{(\w+),(\w+)\}")
FLOATING = ("f16", "bf16", "f32", "f64")


class Instruction(NamedTuple):
    """A line of HLO: `%name = shape opcode(operands), rest`."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    inside: str
    rest: str
    root: bool

    @property
    def arrays(self) -> list[tuple[str, tuple[int, ...]]]:
        """The dtype and the dimensions of every array in the shape."""
        found = SHAPE.findall(self.shape)
        return [(dtype, tuple(int(n) for n in sizes.split(",") if n)) for dtype, sizes in found]

    @property
    def called(self) -> list[str]:
        """The computations that it runs."""
        branches = BRANCHES.search(self.rest)
        names = re.findall(r"%([\w.\-]+)", branches[1]) if branches else []
        return [*CALLED.findall(self.rest), *names]


class Program(NamedTuple):
    """The computations of a module by name, and which one it begins with."""

    computations: dict[str, list[Instruction]]
    entry: str

    def instructions(self) -> Iterator[Instruction]:
        """All, those of a loop's body once."""
        for computation in self.computations.values():
            yield from computation


def parse(text: str) -> Program:
    """The module that `compiled.as_text()` prints."""
    computations: dict[str, list[Instruction]] = {}
    entry, lines = "", None
    for line in text.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if header:
            lines = computations.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            lines = None
        elif lines is not None and (found := re.match(r"\s+(ROOT )?%([\w.\-]+) = ", line)):
            lines.append(_instruction(found[2], bool(found[1]), line[found.end() :]))
    if not entry:
        raise ValueError("expected the text of a compiled program, got none with an ENTRY")
    return Program(computations, entry)


def _instruction(name: str, root: bool, text: str) -> Instruction:
    text = re.sub(r"/\*.*?\*/", "", text)
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    shape, text = text[:end], text[end:].strip()
    begin = text.index("(")
    close = _closing(text, begin)
    inside = text[begin + 1 : close]
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    return Instruction(name, shape, text[:begin], operands, inside, text[close + 1 :], root)


def _closing(text: str, begin: int) -> int:
    """Where the parenthesis that opens at `begin` closes."""
    depth = 0
    for place in range(begin, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    raise ValueError(f"expected a closing parenthesis in {text:.80}")


def collectives(program: Program) -> Counter[str]:
    """How many there are of each kind, those of a loop's body once."""
    kinds = Counter(i.opcode.removesuffix("-start") for i in program.instructions())
    return Counter({kind: count for kind, count in kinds.items() if kind in ("all-reduce", *COLLECTIVES)})


def products(program: Program) -> Counter[str]:
    """How many products of floating-point numbers there are by their precision, as the compiler states it."""
    found: Counter[str] = Counter()
    for instruction in program.instructions():
        dtype = instruction.arrays[0][0] if instruction.arrays else ""
        gemm = instruction.opcode == "custom-call" and re.search(r"gemm|matmul|\bdot\b", instruction.rest)
        if dtype in FLOATING and (gemm or instruction.opcode in PRODUCTS):
            found[_precision(instruction, dtype)] += 1
    return found


def _precision(instruction: Instruction, dtype: str) -> str:
    if dtype == "f64":
        return "float64"
    stated = PRECISION.search(instruction.rest)
    pair = list(stated.groups()) if stated else []
    if config := re.search(r'"operand_precision":(\[[^\]]*\])', instruction.rest):
        pair = [name.lower() for name in json.loads(config[1])][:2]
    algorithm = re.search(r"algorithm=(\w+)", instruction.rest)
    if algorithm and algorithm[1] not in ("dot_f32_f32_f32", "dot_any_f32_any_f32"):
        return algorithm[1]
    return "highest" if pair == ["highest", "highest"] else pair[0] if pair else "default"


def reads(program: Program, shape: tuple[int, ...], rows: set[int]) -> list[str]:
    """The instructions that read X, or a copy of it, from memory; those of a loop's body once.

    What reads a block of rows in a loop over the blocks counts as one read: all turns together are a pass. Of the
    branches of a conditional, of which one is run, the one with most reads counts.

    Args:
      program: of one device.
      shape: of X on that device, (n, m); the entry's parameter of this shape is X.
      rows: how many rows a result may have, beside the m columns or before them, to be a copy of X or of a block.
    """
    parameters = [i for i in program.computations[program.entry] if i.opcode == "parameter"]
    given = {i.name: frozenset([WHOLE]) for i in parameters if i.arrays[0][1] == shape and len(i.arrays) == 1}
    if not given:
        raise ValueError(f"expected a parameter of shape {shape}, got {[i.arrays for i in parameters]}")
    sizes = {count * shape[1] for count in rows}
    found: dict[str, None] = {}
    _walk(program, program.entry, given, sizes, found)
    return list(found)


def _walk(program: Program, name: str, given: Views, sizes: set[int], found: dict[str, None]) -> frozenset[int]:
    """Adds the reads of one computation; which places of its result are X."""
    views, result = dict(given), frozenset()
    for instruction in program.computations[name]:
        places = _result(program, instruction, views, sizes, found)
        if places:
            views[instruction.name] = places | views.get(instruction.name, frozenset())
        if instruction.root:
            result = views.get(instruction.name, frozenset())
    return result


def _result(
    program: Program, instruction: Instruction, views: Views, sizes: set[int], found: dict[str, None]
) -> frozenset[int]:
    """Which places of the result of an instruction are X or a copy of it."""
    operands, nothing = [views.get(name, frozenset()) for name in instruction.operands], frozenset()
    if instruction.opcode == "parameter" or not any(operands):
        return nothing
    if instruction.opcode in PASSED_ON:
        return operands[0] and frozenset([WHOLE]) if instruction.opcode == "copy-done" else operands[0]
    if instruction.opcode == "tuple":
        return frozenset(place for place, seen in enumerate(operands) if seen)
    if instruction.opcode == "get-tuple-element":
        index = re.search(r"index=(\d+)", instruction.rest)
        return frozenset([WHOLE]) if index and int(index[1]) in operands[0] else nothing
    if instruction.opcode in ("while", "call", "async-start"):
        ends = [_walk(program, c, _parameters(program, c, operands), sizes, found) for c in instruction.called]
        return frozenset().union(operands[0] if instruction.opcode == "while" else nothing, *ends)
    if instruction.opcode == "conditional":
        ends, branches = [], []
        for called, own in zip(instruction.called, operands[1:], strict=True):
            branches.append(dict[str, None]())
            ends.append(_walk(program, called, _parameters(program, called, [own]), sizes, branches[-1]))
        found.update(max(branches, key=len))
        return nothing.union(*ends)
    found[instruction.name] = None
    arrays = instruction.arrays
    copies = [
        place for place, (_, dims) in enumerate(arrays) if any(n <= _size(dims) <= PADDED * n for n in sizes)
    ]
    single = not instruction.shape.startswith("(")
    return frozenset([WHOLE] if single and copies else copies)


def _parameters(program: Program, name: str, given: list[frozenset[int]]) -> Views:
    """What the parameters of a computation stand for."""
    numbered = {i.inside: i.name for i in program.computations[name] if i.opcode == "parameter"}
    return {numbered[str(k)]: places for k, places in enumerate(given) if places}


def _size(dims: tuple[int, ...]) -> int:
    size = 1
    for length in dims:
        size *= length
    return size
