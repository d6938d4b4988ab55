"""Command `dlcore graph`: the computation graph of an expression or of a function of a module."""

import dataclasses
import inspect
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from dlcore import graph
from dlcore._core.files import check_path
from dlcore.cli.cache import cached_programs
from dlcore.cli.console import write_text
from dlcore.cli.expressions import RequestError, parse_expression, parse_value
from dlcore.cli.interrupts import exit_on_error

EXAMPLE = 'Example: dlcore graph "x*(log(3*y) + z**2)" x=1 y=2 z=3'


@dataclasses.dataclass
class Options:
    """Options of the command."""

    function: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FUNCTION")]
    """An expression such as "x*(log(3*y) + z**2)", or module:function."""
    values: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[NAME=]VALUE ...")] = ()
    """Real numbers or arrays, such as x=1 y=[1,2,3]. Integers end with :int, such as label=2:int. A function of a
    module takes values in order or by name."""
    svg: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File for the drawing."""
    html: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File for a page with the drawing and a searchable table."""


def run(arguments: Sequence[str]) -> None:
    """Trace the function, print the table and write the files; a user's mistake ends as one line."""
    options = tyro.cli(
        Options,
        prog="dlcore graph",
        args=list(arguments),
        description=f"Show every intermediate result of a computation, with its value and derivative. {EXAMPLE}",
    )
    with exit_on_error(RequestError, ValueError):
        for name, path in (("--svg", options.svg), ("--html", options.html)):
            if path is not None:
                check_path(name, path)  # before anything is printed
        with cached_programs():
            traced = trace(options.function, options.values)
        print(traced.to_text())
        if options.svg is not None:
            write_text(options.svg, traced.to_svg())
        if options.html is not None:
            write_text(options.html, traced.to_html(options.function))


def trace(function: str, values: Sequence[str]) -> graph.Graph:
    """Return the graph of an expression, or of module:function, at values written as text."""
    named_values = [parse_value(text) for text in values]
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", function):
        f = _import_function(function)
        arguments = _bind(function, f, named_values)
    else:
        f, arguments = parse_expression(function, named_values)
    try:
        return graph.trace(f, *arguments)
    except RequestError:
        raise
    except Exception as error:  # whatever the user's function raises
        kind = "" if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: "
        raise RequestError(f"{function}: {kind}{str(error).partition(chr(10))[0]}") from error


def _bind(name: str, f: Callable[..., Any], values: Sequence[tuple[str, jax.Array]]) -> list[jax.Array]:
    """Return the values in the order of the function's parameters."""
    by_name = {argument: value for argument, value in values if argument}
    by_position = [value for argument, value in values if not argument]
    try:
        bound = inspect.signature(f).bind(*by_position, **by_name)
    except (TypeError, ValueError) as error:
        raise RequestError(f"{name}: {error}") from None
    if bound.kwargs:
        keywords = ", ".join(bound.kwargs)
        raise RequestError(f"{name}: {keywords} can be given by name only, which a graph cannot show")
    return list(bound.args)


def _import_function(name: str) -> Callable[..., Any]:
    """Import the function that module:function names; the current folder is searched, as by `python -m`."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        function = pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        raise RequestError(f"{name}: {error}") from None
    except Exception as error:  # whatever the module raises when it is imported
        raise RequestError(f"{name}: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise RequestError(f"{name} is no function but {type(function).__name__}")
    return function
