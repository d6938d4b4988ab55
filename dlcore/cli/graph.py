"""The command line: `dlcore graph`, the computation graph of an expression or of a function of a module."""

import dataclasses
import importlib
import inspect
import operator
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from dlcore import graph
from dlcore._core.files import check_path
from dlcore.cli.console import write_text
from dlcore.cli.expressions import RequestError, function_of, value_of
from dlcore.cli.interrupts import failing_in_one_line


@dataclasses.dataclass
class Options:
    """Options of the command."""

    function: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FUNCTION")]
    """An expression such as "x*(log(3*y) + z**2)", or module:function."""
    values: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[NAME=]VALUE ...")] = ()
    """Real numbers or arrays: x=1 y=[1,2,3]; whole numbers where :int follows, label=2:int. A function of a module
    takes them in order or by name."""
    svg: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File to write the drawing into."""
    html: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File to write the page into: the drawing, and a table to search."""


def run(arguments: Sequence[str]) -> None:
    """Trace, print the table, write the files that are asked for; what the user got wrong ends as one sentence."""
    options = tyro.cli(
        Options,
        prog="dlcore graph",
        args=list(arguments),
        description="Every intermediate of a computation with its value and the derivative of the result.",
    )
    with failing_in_one_line(RequestError, ValueError):
        for name, path in (("--svg", options.svg), ("--html", options.html)):
            if path is not None:
                check_path(name, path)  # before anything is printed
        traced = trace(options.function, options.values)
        print(traced.to_text())
        for path, text in ((options.svg, traced.to_svg), (options.html, lambda: traced.to_html(options.function))):
            if path is not None:
                write_text(path, text())


def trace(function: str, values: Sequence[str]) -> graph.Graph:
    """The graph of an expression, or of module:function, at values given as text."""
    read = [value_of(text) for text in values]
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", function):
        f, arguments = _imported(function), read
        named = {name: value for name, value in arguments if name}
        given = [value for name, value in arguments if not name]
        try:
            bound = inspect.signature(f).bind(*given, **named)
        except (TypeError, ValueError) as error:
            raise RequestError(f"{function}: {error}") from None
        if bound.kwargs:
            raise RequestError(
                f"{function}: {', '.join(bound.kwargs)} can be given by name only, which a graph cannot show"
            )
        arguments = list(bound.args)
    else:
        f, arguments = function_of(function, read)
    try:
        return graph.trace(f, *arguments)
    except RequestError:
        raise
    except Exception as error:  # whatever the function of the user raises
        kind = "" if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: "
        raise RequestError(f"{function}: {kind}{str(error).partition(chr(10))[0]}") from error


def _imported(function: str) -> Callable[..., Any]:
    """The function that module:function names; modules of the current folder are found, as by `python -m`."""
    module, _, path = function.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = operator.attrgetter(path)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise RequestError(f"{function}: {error}") from None
    except Exception as error:  # whatever the module does when it is imported
        raise RequestError(f"{function}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise RequestError(f"{function} is no function but {type(found).__name__}")
    return found
