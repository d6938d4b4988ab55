"""Parser of optimised HLO text: passes over X, collectives and products of a compiled program.

`memory_analysis()` gives the temporaries of a program, `cost_analysis()` its traffic, on a TPU only.
Neither tells what this module reads from the text.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

Indices = frozenset[int]
"""Elements of a tuple that are X or a copy of it; {WHOLE} for an array that is."""

WHOLE = -1
NONE: Indices = frozenset()
COLLECTIVES = ("all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
PRODUCTS = ("dot", "convolution", "ragged-dot", "scaled-dot")
VIEWS = ("bitcast", "opt-barrier", "copy-done")
"""Operations that return their operand and read no memory."""
MAX_PADDING = 1.02
"""Size of a padded copy of X over that of X, at most."""
CALLED = re.compile(r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
SHAPE = re.compile(r"\b(pred|bf16|[a-z]+\d+\w*)\[([\d,]*)\]")
PRECISION = re.compile(r"operand_precision=\{(\w+),(\w+)\}")
NAME = re.compile(r"%([\w.\-]+)")
FLOATING = ("f16", "bf16", "f32", "f64")


class Instruction(NamedTuple):
    """A line of HLO: `%name = shape opcode(arguments), attributes`."""

    name: str
    shape: str
    opcode: str
    arguments: str
    attributes: str
    is_root: bool

    @property
    def operands(self) -> list[str]:
        """Names of the instructions that this one uses."""
        return NAME.findall(self.arguments)

    @property
    def arrays(self) -> list[tuple[str, tuple[int, ...]]]:
        """Dtype and dimensions of every array in the shape."""
        arrays = SHAPE.findall(self.shape)
        return [(dtype, tuple(int(n) for n in sizes.split(",") if n)) for dtype, sizes in arrays]

    @property
    def called(self) -> list[str]:
        """Names of the computations that this instruction runs."""
        branches = BRANCHES.search(self.attributes)
        return [*CALLED.findall(self.attributes), *(NAME.findall(branches[1]) if branches else [])]


class Module(NamedTuple):
    """Computations of a compiled program, by name, and the name of the entry computation."""

    computations: dict[str, list[Instruction]]
    entry: str

    def instructions(self) -> Iterator[Instruction]:
        """Return all instructions; those of a loop's body once."""
        for computation in self.computations.values():
            yield from computation


def parse(text: str) -> Module:
    """Parse the text of `compiled.as_text()`."""
    computations: dict[str, list[Instruction]] = {}
    entry, instructions = "", None
    for line in text.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if header:
            instructions = computations.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            instructions = None
        elif instructions is not None and (match := re.match(r"\s+(ROOT )?%([\w.\-]+) = ", line)):
            instructions.append(_instruction(match[2], line[match.end() :], is_root=bool(match[1])))
    if not entry:
        raise ValueError("expected the text of a compiled program, got none with an ENTRY")
    return Module(computations, entry)


def _instruction(name: str, text: str, *, is_root: bool) -> Instruction:
    """Parse `shape opcode(arguments), attributes`."""
    text = re.sub(r"/\*.*?\*/", "", text)
    end = _closing_parenthesis(text, 0) + 1 if text.startswith("(") else text.index(" ")
    shape, text = text[:end], text[end:].strip()
    begin = text.index("(")
    end = _closing_parenthesis(text, begin)
    return Instruction(name, shape, text[:begin], text[begin + 1 : end], text[end + 1 :], is_root)


def _closing_parenthesis(text: str, begin: int) -> int:
    """Return the index of the parenthesis that closes the one at `begin`."""
    depth = 0
    for index in range(begin, len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if depth == 0:
            return index
    raise ValueError(f"expected a closing parenthesis in {text:.80}")


def collectives(module: Module) -> Counter[str]:
    """Count the collectives by kind; those of a loop's body once."""
    kinds = (instruction.opcode.removesuffix("-start") for instruction in module.instructions())
    return Counter(kind for kind in kinds if kind in ("all-reduce", *COLLECTIVES))


def products(module: Module) -> Counter[str]:
    """Count the products of floating-point arrays by the precision that the compiler states."""
    precisions: Counter[str] = Counter()
    for instruction in module.instructions():
        dtype = instruction.arrays[0][0] if instruction.arrays else ""
        gemm = instruction.opcode == "custom-call" and re.search(r"gemm|matmul|\bdot\b", instruction.attributes)
        if dtype in FLOATING and (gemm or instruction.opcode in PRODUCTS):
            precisions[_precision(instruction, dtype)] += 1
    return precisions


def _precision(instruction: Instruction, dtype: str) -> str:
    """Return the precision of a product, "float64" or the algorithm if one is stated."""
    if dtype == "f64":
        return "float64"
    attribute = PRECISION.search(instruction.attributes)
    pair = list(attribute.groups()) if attribute else []
    if config := re.search(r'"operand_precision":(\[[^\]]*\])', instruction.attributes):
        pair = [name.lower() for name in json.loads(config[1])][:2]
    algorithm = re.search(r"algorithm=(\w+)", instruction.attributes)
    if algorithm and algorithm[1] not in ("dot_f32_f32_f32", "dot_any_f32_any_f32"):
        return algorithm[1]
    return "highest" if pair == ["highest", "highest"] else pair[0] if pair else "default"


def reads(module: Module, shape: tuple[int, ...], rows: set[int]) -> list[str]:
    """Return the names of the instructions that read X, or a copy of it, from memory.

    A loop over blocks counts as one read: all its iterations together are a pass. A conditional counts as the
    branch with the most reads.

    Args:
      module: program of one device.
      shape: shape of X on that device, (n, m); the parameter of the entry with this shape is X.
      rows: sizes of X and of a block, in rows; a result of such a size, with m columns, is a copy.
    """
    parameters = [i for i in module.computations[module.entry] if i.opcode == "parameter"]
    x = {i.name: frozenset([WHOLE]) for i in parameters if i.arrays[0][1] == shape and len(i.arrays) == 1}
    if not x:
        raise ValueError(f"expected a parameter of shape {shape}, got {[i.arrays for i in parameters]}")
    tracer = _Tracer(module, {count * shape[1] for count in rows})
    tracer.run(module.entry, x)
    return list(tracer.reads)


class _Tracer:
    """Search for the reads of X: it follows X and its copies through the computations.

    Attributes:
      module: the program.
      sizes: numbers of elements of X and of a block of it.
      reads: names of the instructions that read X, in order; a dict serves as an ordered set.
    """

    def __init__(self, module: Module, sizes: set[int]) -> None:
        self.module = module
        self.sizes = sizes
        self.reads: dict[str, None] = {}

    def run(self, name: str, x: Mapping[str, Indices]) -> Indices:
        """Add the reads of a computation; return the elements of its result that are X."""
        copies, root = dict(x), NONE
        for instruction in self.module.computations[name]:
            indices = self._result(instruction, [copies.get(operand, NONE) for operand in instruction.operands])
            if indices:
                copies[instruction.name] = indices | copies.get(instruction.name, NONE)
            if instruction.is_root:
                root = copies.get(instruction.name, NONE)
        return root

    def _result(self, instruction: Instruction, operands: Sequence[Indices]) -> Indices:
        """Return the elements of an instruction's result that are X or a copy of it."""
        opcode = instruction.opcode
        if opcode == "parameter" or not any(operands):
            return NONE
        if opcode in VIEWS:
            return operands[0] and frozenset([WHOLE]) if opcode == "copy-done" else operands[0]
        if opcode == "tuple":
            return frozenset(index for index, indices in enumerate(operands) if indices)
        if opcode == "get-tuple-element":
            index = re.search(r"index=(\d+)", instruction.attributes)
            return frozenset([WHOLE]) if index and int(index[1]) in operands[0] else NONE
        if opcode in ("while", "call", "async-start"):
            results = [self.run(called, self._parameters(called, operands)) for called in instruction.called]
            return frozenset().union(operands[0] if opcode == "while" else NONE, *results)
        if opcode == "conditional":
            return self._conditional(instruction, operands)
        self.reads[instruction.name] = None
        sizes = [math.prod(dims) for _, dims in instruction.arrays]
        copies = [k for k, size in enumerate(sizes) if any(n <= size <= MAX_PADDING * n for n in self.sizes)]
        is_tuple = instruction.shape.startswith("(")
        return frozenset(copies if is_tuple or not copies else [WHOLE])

    def _conditional(self, instruction: Instruction, operands: Sequence[Indices]) -> Indices:
        """Add the reads of the branch with the most reads; return the elements that are X in any branch."""
        results, branches = [], []
        for called, operand in zip(instruction.called, operands[1:], strict=True):
            branch = _Tracer(self.module, self.sizes)
            results.append(branch.run(called, self._parameters(called, [operand])))
            branches.append(branch.reads)
        self.reads.update(max(branches, key=len))
        return NONE.union(*results)

    def _parameters(self, name: str, operands: Sequence[Indices]) -> dict[str, Indices]:
        """Return the parameters of a computation that are X, when it is called with `operands`."""
        parameters = {i.arguments: i.name for i in self.module.computations[name] if i.opcode == "parameter"}
        return {parameters[str(k)]: indices for k, indices in enumerate(operands) if indices}
