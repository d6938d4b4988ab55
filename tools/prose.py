"""Check of the prose: the beginnings of docstrings, and the length of sentences in the documentation.

A docstring must not begin with a preposition or a relative word, and a sentence must not be longer than 40 words.
Code, tables, headings and formulas in Markdown are not checked. The program prints a line for each problem and
exits with 1 if there is one.

Command: tools/prose.py
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = ("dlcore", "experiments", "tools")
MARKDOWN = ("README.md", "CONTRIBUTING.md", "docs/*.md")
WORDS = frozenset(
    "About As At By For From How In Of On That Those To Until What Where Whether With".split()  # noqa: SIM905
)
"""First words that make a docstring hard to read."""
MAX_WORDS = 40

FENCE = re.compile(r"\s*(```|~~~)")
LIST_ITEM = re.compile(r"\s*([-*+]|\d+[.)])\s+")
NO_PROSE = re.compile(r"\s*[|#<>]")
"""Beginning of a table row, a heading, HTML or a quotation."""
NOT_COUNTED = re.compile(r"``.+?``|`[^`]*`|\$[^$]+\$|\]\([^)]*\)|<[^>]*>|https?://\S+")
"""Inline code, formulas, and addresses."""


def main() -> None:
    """Check all files of the project."""
    problems = []
    for folder in PYTHON:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            problems += [f"{name}:{problem}" for problem in check_docstrings(path.read_text(encoding="utf-8"))]
    for pattern in MARKDOWN:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            problems += [f"{name}:{problem}" for problem in check_sentences(path.read_text(encoding="utf-8"))]
    print(*problems, f"{len(problems)} problems in the prose", sep="\n")
    sys.exit(bool(problems))


def check_docstrings(source: str) -> Iterator[str]:
    """Yield a problem for each docstring of a Python file that begins with a forbidden word."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            words = (ast.get_docstring(node) or "").split()
            if words and words[0].strip("`,.:") in WORDS:
                line, name = getattr(node, "lineno", 1), getattr(node, "name", "the module")
                yield f"{line}: the docstring of {name} begins with {words[0]!r}"


def check_sentences(text: str) -> Iterator[str]:
    """Yield a problem for each long sentence of a Markdown file."""
    for line, paragraph in paragraphs(text):
        for sentence in re.split(r"(?<=[.!?:])\s+", paragraph):
            length = count_words(sentence)
            if length > MAX_WORDS:
                yield f"{line}: {length} words, at most {MAX_WORDS}: {sentence[:60]}…"


def count_words(sentence: str) -> int:
    """Count the words of a sentence; numbers, symbols, inline code and addresses do not count."""
    return sum(any(map(str.isalpha, word)) for word in NOT_COUNTED.sub(" ", sentence).split())


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number of the first line and the text of each paragraph or list item."""
    lines: list[str] = []
    first, in_code = 1, False
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if FENCE.match(line):
            in_code = not in_code
        is_code = in_code or FENCE.match(line) or (not lines and line.startswith(("    ", "\t")))
        is_item = LIST_ITEM.match(line)
        if lines and (is_code or is_item or NO_PROSE.match(line) or not line.strip()):
            yield first, " ".join(lines)
            lines = []
        if is_code or NO_PROSE.match(line) or not line.strip():
            continue
        if not lines:
            first = number
        lines.append(LIST_ITEM.sub("", line, count=1).strip() if is_item else line.strip())


if __name__ == "__main__":
    main()
