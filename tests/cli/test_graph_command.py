"""Command `dlcore graph`: expressions and functions of modules as text."""

import re
import sys
import xml.etree.ElementTree as ET

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, assert_close
from processes import dlcore

from dlcore.cli import graph, main
from dlcore.cli.expressions import FUNCTIONS, RequestError, parse_value
from dlcore.cli.graph import trace


def test_the_command_prints_a_table_and_writes_files(tmp_path):
    files = tmp_path / "graph.svg", tmp_path / "graph.html"
    files[0].write_text("an older drawing")
    expression = "x*(log(3*y) + z**2)"
    done = dlcore("graph", expression, "x=1", "y=2", "z=3", "--svg", files[0], "--html", files[1])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].split() == ["v5", "x", "·", "v4", "10.79176", "1", "output"]
    assert [line.split()[0] for line in done.stdout.splitlines()[1:4]] == ["x", "y", "z"]
    assert ET.parse(files[0]).getroot().tag.endswith("svg")
    assert expression in files[1].read_text(encoding="utf-8")
    assert sorted(tmp_path.iterdir()) == sorted(files)


@pytest.mark.parametrize(
    ("expression", "values", "result", "derivatives"),
    [
        ("x*(log(3*y) + z**2)", ("x=1", "y=2", "z=3"), np.log(6) + 9, {"x": np.log(6) + 9, "y": 0.5, "z": 6}),
        (
            "sigmoid_cross_entropy(vecdot(w, x) + b, 1)",
            ("w=[1,-2]", "x=[.5,1]", "b=0"),
            1.7014132779827524,
            {"b": -0.8175744761936437},
        ),
        ("sum(a @ v) / 2 - -a[1, 0]", ("a=[[1,2],[3,4]]", "v=[1,-1]"), 2.0, {"v": [2, 3]}),
        ("where(x > 0, sqrt(x), 0) + pi", ("x=4",), 2 + np.pi, {"x": 0.25}),
        ("sum([x, 2*x, e][1])", ("x=4", "e=1"), 8, {"x": 2, "e": 0}),
        ("max(x, axis=0)[1] ** (1 + 1)", ("x=[[1,5],[3,4]]",), 25, {"x": [[0, 10], [0, 0]]}),
        ("squared_error(y, 2)", ("y=-1e1",), 144, {"y": -24}),
        ("x / exp(-inf + 0*x)", ("x=1",), np.inf, {}),
    ],
)  # fmt: skip
def test_expressions(expression, values, result, derivatives):
    graph = trace(expression, values)
    assert_close(graph[graph.output].value, result, units=16)
    for name, derivative in derivatives.items():
        assert_close(graph[name].derivative, derivative, units=32)


def test_functions_of_modules(tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(
        "import jax.numpy as jnp\n"
        "class Functions:\n"
        "    def log_entry(x, i): return jnp.log(x)[i]\n"
        "def broken(x): raise KeyError('oh')\n"
        "def by_name(x, *, scale): return x * scale\n"
        "number = 3\n"
    )
    (tmp_path / "my_mistake.py").write_text("1 +")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    graph = trace("my_losses:Functions.log_entry", ("[1, 2, 4]", "i=2:int"))
    assert_close(graph["x"].derivative, [0, 0, 0.25], units=2)
    assert graph["i"].note == "int32"
    assert_close(
        trace("dlcore.losses:squared_error", ("target=2", "prediction=5"))["prediction"].derivative, 6, units=2
    )
    for function, values, message in [
        ("my_losses:nothing", (), "has no attribute 'nothing'"),
        ("my_losses:number", (), "my_losses:number is no function but int"),
        ("no_such_module:f", (), "No module named 'no_such_module'"),
        ("my_mistake:f", (), "my_mistake:f: SyntaxError: invalid syntax"),
        ("my_losses:broken", ("1",), "my_losses:broken: KeyError: 'oh'"),
        ("my_losses:broken", (), "missing a required argument: 'x'"),
        ("my_losses:by_name", ("1", "scale=2"), "scale can be given by name only"),
        ("jax.numpy:sin", ("[1, 2]",), r"sin: expected a scalar as its result, got shape \(2,\)"),
    ]:
        with pytest.raises(RequestError, match=message):
            trace(function, values)


@pytest.mark.parametrize(
    ("expression", "values", "message"),
    [
        ("x + y*z", ("y=1",), "no value for x, z; add x=1 z=1"),
        ("x", ("x=1", "y=2"), "y does not occur in 'x'"),
        ("x", ("x=1", "x=2"), "a name was given twice"),
        ("x", ("1",), "takes its values by name, such as x=1"),
        ("x +", ("x=1",), "'x \\+' is no expression: invalid syntax"),
        ("", (), "is no expression"),
        ("sinn(x)", ("x=1",), "there is no function sinn; there are .* sin,"),
        ("x.sum()", ("x=[1,2]",), "'x.sum\\(\\)' cannot stand in an expression"),
        ("x.__class__", ("x=1",), "cannot stand"),
        ("().__class__.__bases__", (), "cannot stand"),
        ("(lambda: x)()", ("x=1",), "cannot stand"),
        ("[x for y in x]", ("x=1", "y=1"), "cannot stand"),
        ("x + 'a'", ("x=1",), "\"'a'\" cannot stand|\"?'a'\"? cannot stand"),
        ("x if x else x", ("x=1",), "cannot stand"),
        ("x[0:1]", ("x=[1,2]",), "cannot stand"),
        ("x[2]", ("x=[1,2]",), r"\[2\] is no entry of an array of shape \(2,\)"),
        ("x[x]", ("x=[1,2]",), "is no entry"),
        ("sum(*x)", ("x=[1,2]",), "cannot stand"),
        ("sum(x, **x)", ("x=[1,2]",), "cannot stand"),
        ("__import__(x)", ("x=1",), "there is no function __import__"),
        ("x * 9**9**9", ("x=1",), "OverflowError"),
        ("x * (1 / (1 - 1))", ("x=1",), "ZeroDivisionError"),
        ("2*x", ("x=[1,2]",), r"expected a scalar as its result, got shape \(2,\)"),
        ("x @ y", ("x=[1,2]", "y=[1,2,3]"), "columns of a must be as many"),
        ("+".join(["x"] * 3000), ("x=1",), "recursion"),
        ("(" * 300 + "x" + ")" * 300, ("x=1",), "no expression: too many nested"),
    ],
)
def test_a_wrong_expression_is_refused(expression, values, message):
    with pytest.raises(RequestError, match=message):
        trace(expression, values)


BAD_VALUES = ["x=a", "x=[1,[2]]", "x=", "x='1'", "x=__import__('os')", "x=1:float", "x=1.5:int"]
BAD_VALUES += ["x=True", "x=1j", "x=-[1]", "x=1e10:int", "x=nan:int"]


@pytest.mark.parametrize("text", BAD_VALUES)
def test_a_wrong_value_is_refused(text):
    with pytest.raises(RequestError, match=re.escape(text)):
        parse_value(text)


def test_values():
    name, value = parse_value("x=[[1, -2.5], [inf, nan]]")
    assert (name, value.dtype) == ("x", DTYPE)
    np.testing.assert_array_equal(value, [[1, -2.5], [np.inf, np.nan]])
    name, value = parse_value("[1,2]:int")
    assert (name, value.dtype) == ("", jnp.int32)


def test_no_function_of_an_expression_reads_or_writes_files():
    assert not {"save", "load", "fromfile", "frombuffer", "eval", "getattr", "get_loss_info"} & set(FUNCTIONS)
    assert {"sigmoid", "sigmoid_cross_entropy", "squared_error", "log", "relu", "matmul"} <= set(FUNCTIONS)


def test_a_mistake_ends_with_one_line(tmp_path, capsys):
    missing_folder = ["2*x", "x=1", "--svg", str(tmp_path / "nowhere" / "graph.svg")]
    for arguments, message in [
        (["2*x"], "dlcore graph: no value for x; add x=1"),
        (missing_folder, "dlcore graph: --svg: expected the path of a file in a folder that exists, got"),
    ]:
        with pytest.raises(SystemExit) as ended:
            main.main(["graph", *arguments])
        assert ended.value.code == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(message)
        assert printed.err.count("\n") == 1
    with pytest.raises(SystemExit):
        graph.run(["--help"])
    assert "module:function" in capsys.readouterr().out
