"""Computation graphs: values, derivatives, names, scopes and errors of `dlcore.graph.trace`."""

import functools
import itertools
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, EPS, assert_close, random_like
from jax.ad_checkpoint import checkpoint_name

import dlcore
from dlcore import losses, models, reference
from dlcore.graph import trace
from dlcore.linalg import matmul

PRODUCT_TABLE = """\
name  formula   value     derivative
x     argument  1         10.79176
y     argument  2         0.5
z     argument  3         6
v1    3 · y     6         0.1666667
v2    log(v1)   1.791759  1
v3    z^2       9         1
v4    v2 + v3   10.79176  1
v5    x · v4    10.79176  1           output"""


def product(x, y, z):
    return x * (jnp.log(3 * y) + z**2)


def test_the_graph_of_a_product():
    graph = trace(product, 1.0, 2.0, 3.0)
    assert graph.to_text() == PRODUCT_TABLE
    assert [node.op for node in graph.nodes[3:]] == ["mul", "log", "integer_pow", "add", "mul"]
    assert [node.inputs for node in graph.nodes[3:]] == [("y",), ("v1",), ("z",), ("v2", "v3"), ("x", "v4")]
    assert graph.output == "v5"
    assert repr(graph) == "Graph(8 nodes, output v5 = 10.8)"
    expected = reference.graph.product_with_logarithm(1, 2, 3)
    golden = {"u": 1.791759, "v": 9, "ω": 10.791759, "f": 10.791759}
    slopes = {"x": 10.791759, "y": 0.5, "z": 6, "u": 1, "v": 1, "ω": 1}
    assert {name: round(float(expected[name][0]), 6) for name in golden} == golden
    assert {name: round(float(expected[name][1]), 6) for name in slopes} == slopes
    for name, symbol in {"x": "x", "y": "y", "z": "z", "v2": "u", "v3": "v", "v4": "ω", "v5": "f"}.items():
        for actual, desired in zip((graph[name].value, graph[name].derivative), expected[symbol], strict=True):
            assert_close(actual, desired, units=4)


class Layer(NamedTuple):
    weight: Any
    bias: Any


def network(params, x, y):
    hidden = jax.nn.relu(matmul(params[0].weight, x) + params[0].bias)
    return losses.squared_error(matmul(params[1].weight, hidden) + params[1].bias, y)


def layers():
    first = Layer(random_like(0, 4, 3), random_like(1, 4))
    return (first, Layer(random_like(2, 4), random_like(3)))


@jax.custom_jvp
def _cube(x):
    return x**3


_cube.defjvp(lambda primals, tangents: (_cube(*primals), 7 * tangents[0]))  # the rule, not 3x²


@jax.custom_vjp
def twice(x):
    return 2 * x


twice.defvjp(lambda x: (2 * x, None), lambda _, cotangent: (5 * cotangent,))


def softmax_loss(logits):
    with jax.named_scope("loss"):
        return jax.nn.logsumexp(logits) - logits[1]


def nested(x):
    inner = jax.jit(lambda t: jax.jit(jnp.sin)(t) * t)
    return jax.checkpoint(inner)(x) + inner(x) ** 2


V = np.array([0.5, -1.25, 2.0])
A = np.array([[4.0, 1.0, 0.5], [0.25, 3.0, 1.0], [0.5, 0.75, 5.0]])
FUNCTIONS = {
    "product": (product, 1.0, 2.0, 3.0),
    "network": (network, layers, random_like(4, 3), 0.5),
    "logistic": (
        lambda params, x, y: losses.sigmoid_cross_entropy(models.logistic.apply(params, x), y),
        lambda: models.LinearParams(random_like(0, 3), random_like(1)),
        random_like(2, 3),
        lambda: jnp.ones(()),
    ),
    "fan-out": (lambda x: x * x + jnp.sin(x) * x, 1.5),
    "nested": (nested, 0.7),
    "custom_jvp": (lambda x: _cube(x) * 2, 1.5),
    "custom_vjp": (lambda x: twice(x) * x, 1.5),
    "softmax": (softmax_loss, V),
    "scan": (lambda x: jax.lax.scan(lambda c, t: (c * t + 1, c), x, jnp.arange(1, 4, dtype=DTYPE))[1].sum(), 0.5),
    "fori_loop": (lambda x: jax.lax.fori_loop(0, 3, lambda i, c: c * x, x), 1.5),
    "cond": (lambda x: jax.lax.cond(x > 0, jnp.sin, jnp.cos, x), 1.5),
    "grad inside": (lambda x: jax.grad(lambda t: jnp.sin(t) * t)(x), 0.5),
    "vmap inside": (lambda x: jax.vmap(lambda t: t * jnp.tanh(t))(x).sum(), V),
    "solve": (lambda a, b: jnp.linalg.solve(a, b).sum(), A, V),
    "indexing": (lambda x: x.at[0].add(2.0).at[1].set(x[2]).prod(), V),
    "sort": (lambda x: jnp.sort(x)[1] * jax.lax.top_k(x, 2)[0][0], V),
    "stop_gradient": (lambda x: x * jax.lax.stop_gradient(x * 3), 2.0),
    "empty": (lambda x: x.sum() * 2, np.zeros((0, 3))),
    "constant": (lambda x: 3.0, 1.0),
    "identity": (lambda x: x, 1.0),
    "stopped loop": (
        lambda x: x * jax.lax.while_loop(lambda c: c < 9, lambda c: 2 * c, jax.lax.stop_gradient(x)),
        1.0,
    ),
}


def case(name):
    """Return a function and its arguments. The arguments are created in the test: collection starts no backend."""
    f, *arguments = FUNCTIONS[name]
    arguments = [a() if callable(a) else a for a in arguments]
    return f, [jnp.asarray(a, DTYPE) if isinstance(a, np.ndarray) else a for a in arguments]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_have_the_gradient_and_the_output_the_value(name):
    f, arguments = case(name)
    graph = trace(f, *arguments)
    gradient = jax.grad(f, tuple(range(len(arguments))))(*arguments)
    for leaf, node in zip(jax.tree.leaves(gradient), graph.nodes, strict=False):
        assert node.op == "argument"
        assert node.derivative is not None
        assert (node.derivative.shape, node.derivative.dtype) == (node.value.shape, node.value.dtype)
        assert_close(node.derivative, leaf, units=32)
    assert_close(graph[graph.output].value, f(*arguments), units=8)
    assert graph[graph.output].derivative == 1


@pytest.mark.skipif(DTYPE != "float64", reason="central differences need the digits of float64")
@pytest.mark.parametrize("name", ["product", "network", "logistic", "fan-out", "nested", "softmax", "vmap inside"])
def test_derivatives_match_central_differences(name):
    """Runs the rest of the program again from a perturbed value of one node."""
    from dlcore.graph.evaluate import bind
    from dlcore.graph.jaxpr import array_slots, make_program

    f, arguments = case(name)
    arguments = jax.tree.map(lambda leaf: jnp.asarray(leaf, DTYPE), arguments)
    program, _ = make_program(f, arguments)
    graph = trace(f, *arguments)

    def output(perturbed, shift):
        values: dict[Any, Any] = dict(zip(program.arguments, jax.tree.leaves(arguments), strict=True))
        values |= program.constants
        values = {slot: value + shift if slot == perturbed else value for slot, value in values.items()}
        for operation in program.operations:
            inputs = [values[p] if isinstance(p, int) else p.value for p in operation.inputs]
            values.update(zip(operation.outputs, bind(operation.equation, *inputs), strict=True))
            if perturbed in operation.outputs:
                values[perturbed] = values[perturbed] + shift
        return float(values[program.outputs[0]])

    used = {*array_slots(program.outputs), *(s for item in program.operations for s in array_slots(item.inputs))}
    slots = [*program.arguments, *program.constants]
    slots += [slot for operation in program.operations for slot in operation.outputs if slot in used]
    rng, h, n_checked = np.random.default_rng(0), 1e-6, 0
    for slot, node in zip(slots, graph.nodes, strict=True):
        if node.derivative is not None:
            direction = rng.normal(size=node.value.shape)
            slope = (output(slot, h * direction) - output(slot, -h * direction)) / (2 * h)
            expected = np.sum(np.asarray(node.derivative) * direction)
            assert slope == pytest.approx(float(expected), rel=1e-6, abs=1e-8), node
            n_checked += 1
    assert n_checked > len(arguments)


def test_the_nodes_of_one_logistic_example_by_hand():
    def loss(w1, w2, x1, x2, b, y):
        a1, a2 = checkpoint_name(x1 * w1, "a1"), checkpoint_name(x2 * w2, "a2")
        p = checkpoint_name(losses.sigmoid(checkpoint_name(a1 + a2 + b, "z")), "ŷ")
        return checkpoint_name(-y * jnp.log(p) - (1 - y) * jnp.log(1 - p), "L")

    graph = trace(loss, 0.5, -1.0, 1.5, 0.25, 0.1, 1.0)
    expected = reference.graph.logistic_example([0.5, -1.0], 0.1, [1.5, 0.25], 1.0)
    assert graph["ŷ"].op == "sigmoid"
    assert graph.output == "L"
    for name, (value, derivative) in expected.items():
        assert_close(graph[name].value, value, units=8, scale=1)
        assert_close(graph[name].derivative, derivative, units=16, scale=1)


def test_the_two_layers_by_hand():
    def error(W1, b1, w2, b2, x, y):
        s = checkpoint_name(matmul(W1, x) + b1, "s")
        h = checkpoint_name(jnp.tanh(s), "h")
        return checkpoint_name(losses.squared_error(checkpoint_name(matmul(w2, h) + b2, "ŷ"), y), "E")

    arguments = [random_like(i, *shape) for i, shape in enumerate([(4, 3), (4,), (4,), (), (3,), ()])]
    graph = trace(error, *arguments)
    for name, (value, derivative) in reference.graph.two_layers(*map(np.asarray, arguments)).items():
        assert_close(graph[name].value, value, units=16)
        assert_close(graph[name].derivative, derivative, units=32)


def test_names():
    graph = trace(network, layers(), random_like(4, 3), 0.5)
    assert [node.name for node in graph.nodes[:6]] == [
        "params[0].weight", "params[0].bias", "params[1].weight", "params[1].bias", "x", "y",
    ]  # fmt: skip
    assert [node.op for node in graph.nodes if node.op == "relu"] == ["relu"]
    assert [n.name for n in trace(lambda *xs: xs[0] * xs[1]["k"], 1.0, {"k": 2.0}).nodes][:2] == [
        "xs[0]",
        "xs[1]['k']",
    ]
    assert [n.name for n in trace(lambda v1, v2: v1 * v2 + 1, 1.0, 2.0).nodes] == ["v1", "v2", "v3", "v4"]
    assert [n.name for n in trace(functools.partial(product, 1.0), 2.0, 3.0).nodes][:2] == ["y", "z"]

    def named(x):
        for _ in range(3):
            x = checkpoint_name(jnp.sin(x), "h")
        return checkpoint_name(x, "again") + checkpoint_name(3.0, "number")

    assert [n.name for n in trace(named, 1.0).nodes] == ["x", "h", "h_2", "h_3", "v1"]


def test_functions_with_a_derivative_rule_are_one_node_with_their_name():
    nodes = trace(
        lambda x, y: losses.sigmoid(x) * jax.nn.relu(y) + jnp.logaddexp(x, y) + _cube(x) + twice(y), 1.0, 2.0
    ).nodes
    assert {node.op for node in nodes} == {
        "argument",
        "sigmoid",
        "relu",
        "logaddexp",
        "cube",
        "twice",
        "mul",
        "add",
    }


def test_scopes():
    graph = trace(softmax_loss, jnp.ones(3))
    assert {node.scope[0] for node in graph.nodes[1:]} == {"loss"}
    inner = jax.jit(lambda t: jnp.sin(t) * t)
    scopes = [node.scope for node in trace(lambda x: inner(inner(x)) + 1, 1.0).nodes]
    assert scopes == [(), ("lambda",), ("lambda",), ("lambda 2",), ("lambda 2",), ()]
    ops = [node.op for node in trace(nested, 0.7).nodes]
    assert ops == ["argument", "sin", "mul", "sin", "mul", "integer_pow", "add"]


def test_constants():
    table = jnp.arange(3.0, dtype=DTYPE)
    inner = jax.jit(lambda t: (t * table).sum())
    graph = trace(lambda x: inner(x) + (table * 2).sum(), jnp.ones(3, DTYPE))
    (constant,) = [node for node in graph.nodes if node.op == "constant"]
    assert constant.name == "c1"
    np.testing.assert_array_equal(constant.derivative, [3, 3, 3])  # ∂/∂c Σ (x·c + 2c)
    graph = trace(lambda: jnp.sin(table).sum())
    assert [node.op for node in graph.nodes] == ["constant", "sin", "reduce_sum"]
    graph = trace(lambda x: 3.0, 1.0)
    assert (graph["x"].derivative, graph[graph.output].value) == (0, 3)


def test_missing_derivatives_have_a_reason():
    def f(x, i, flag, key):
        index = i * 2
        noise = jax.random.normal(key, dtype=DTYPE)
        return jnp.where(flag, x * index.astype(DTYPE), 0) + noise

    graph = trace(f, jnp.asarray(2.0, DTYPE), jnp.asarray(3), True, jax.random.key(0))
    notes = {node.name: node.note for node in graph.nodes[:4]}
    assert notes == {"x": "", "i": str(jnp.asarray(3).dtype), "flag": "bool", "key": "key<fry>"}
    assert graph["x"].derivative == 6
    assert all((node.derivative is None) == bool(node.note) for node in graph.nodes)
    assert "none: key<fry>" in graph.to_text()


@pytest.mark.parametrize("x", [3, 3.0])
def test_python_integers_become_floats(x):
    graph = trace(lambda x: x * x, x)
    assert (graph["x"].value, graph["x"].derivative, graph[graph.output].value) == (3, 6, 9)
    graph = trace(lambda x, y: x * y["a"][0] + y["a"][1], x, {"a": (2, 4)})
    np.testing.assert_array_equal([node.derivative for node in graph.nodes[:3]], [2, 3, 1])
    graph = trace(lambda x, n: x**n, -2.0, x)
    assert (graph["x"].derivative, graph[graph.output].value) == (12, -8)


def test_indices_labels_and_integer_arrays_stay_integers():
    x = jnp.arange(4, dtype=DTYPE)
    integer = str(jnp.asarray(3).dtype)
    assert trace(lambda x, i: x[i] * 2, x, 3)["i"].note == integer
    graph = trace(losses.softmax_cross_entropy, x, 3)
    assert graph["label"].note == integer
    assert_close(graph[graph.output].value, losses.softmax_cross_entropy(x, 3), units=4)
    assert trace(lambda flag: jnp.where(flag, 1.0, 2.0), True)["flag"].note == "bool"
    assert trace(lambda i: i.astype(DTYPE) * 2, jnp.asarray(3))["i"].note == integer
    with pytest.raises(TypeError, match=r"expected a real floating-point result, got dtype int.*; pass floats"):
        trace(lambda x: x * x, np.asarray(3))
    with pytest.raises(TypeError, match=r"^x: expected numbers"):
        trace(lambda x: x * x, 10**400)


def double_until_ten(x):
    return jax.lax.while_loop(lambda c: c < 10, lambda c: 2 * c, x)


def test_inputs_of_a_while_loop_have_no_derivative():
    graph = trace(lambda x, y: jnp.sin(y) * double_until_ten(jnp.exp(x)) + x, 1.0, 2.0)
    notes = {node.op: node.note for node in graph.nodes}
    assert (graph["x"].note, notes["exp"], notes["while"]) == ("behind while", "behind while", "")
    assert_close(graph["y"].derivative, np.cos(2) * float(graph["v3"].value), units=8)
    assert trace(lambda x: jax.lax.scan(lambda c, _: (double_until_ten(c), None), x, None, length=2)[0], 1.0)[
        "x"
    ].note == ("behind scan")
    shape = jax.ShapeDtypeStruct((), DTYPE)
    graph = trace(lambda x: x * jax.pure_callback(np.exp, shape, x), jnp.asarray(1.0, DTYPE))
    assert graph["x"].note == "behind pure_callback"


def test_betainc_has_a_derivative_in_one_of_three_arguments():
    graph = trace(jax.scipy.special.betainc, *(jnp.asarray(v, DTYPE) for v in (2.0, 3.0, 0.5)))
    assert [node.note for node in graph.nodes] == ["behind regularized_incomplete_beta"] * 2 + ["", ""]
    assert_close(graph["x"].derivative, 12 * 0.5 * 0.5**2, units=64)


def test_an_error_in_a_derivative_rule_propagates():
    @jax.custom_vjp
    def broken(x):
        return x

    def backward(_, cotangent):
        raise ValueError("a mistake of the author")

    broken.defvjp(lambda x: (x, None), backward)
    with pytest.raises(ValueError, match="a mistake of the author"):
        trace(lambda x: broken(x) * 2, 1.0)


@pytest.mark.parametrize("values", [[np.nan, 1.0, np.inf], [0.0, -np.inf, 1e38]])
def test_nan_and_infinity_propagate(values):
    x = jnp.asarray(values, DTYPE)
    graph = trace(lambda x: (jnp.log(x) * x).sum(), x)
    gradient = jax.grad(lambda x: (jnp.log(x) * x).sum())(x)
    np.testing.assert_array_equal(graph["x"].derivative, gradient)
    assert "nan" in graph.to_text()
    assert graph.to_html().count("<svg") == 1


def test_complex_intermediates():
    z = jnp.asarray(1 + 2j, jnp.result_type(complex))
    f = lambda z: jnp.abs(z) ** 2 + jnp.real(z * z)  # noqa: E731
    assert_close(np.abs(trace(f, z)["z"].derivative - jax.grad(f)(z)), 0, units=8, scale=4)
    spectrum = trace(lambda x: jnp.abs(jnp.fft.fft(x)).sum(), random_like(0, 5))
    assert "|·|" in spectrum.to_text()
    spectrum.to_html()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_halves(dtype):
    graph = trace(lambda x: (x * x).sum(), jnp.ones(3, dtype))
    assert graph["x"].derivative is not None
    assert graph["x"].derivative.dtype == dtype
    np.testing.assert_array_equal(graph["x"].derivative.astype(DTYPE), [2, 2, 2])


@pytest.mark.devices
def test_derivatives_are_on_the_device_of_the_values():
    last = jax.devices()[-1]
    x = jax.device_put(jnp.ones(3, DTYPE), last)
    graph = trace(lambda x: (jnp.arange(3.0, dtype=DTYPE) * x).sum() * 2, x)
    assert graph["x"].derivative is not None
    assert graph["x"].derivative.devices() == graph[graph.output].value.devices() == {last}


def test_prints_run_once(capfd):
    def f(x):
        jax.debug.print("x = {}", x)
        return 2 * x

    assert trace(f, 1.5)["x"].derivative == 2
    jax.effects_barrier()
    assert capfd.readouterr().out == "x = 1.5\n"


def test_unused_operations_are_omitted():
    def f(x, unused):
        jnp.exp(jnp.sin(unused))
        return 2 * x

    graph = trace(f, 1.0, 5.0)
    assert [node.name for node in graph.nodes] == ["x", "unused", "v1"]
    assert graph["unused"].derivative == 0


BAD: list[tuple[Any, tuple[Any, ...], type[Exception], str]] = [
    (3, (1.0,), TypeError, "f: expected a function, got int"),
    (np.sin, (1.0,), jax.errors.TracerArrayConversionError, "traced array"),
    (product, (), TypeError, "product: missing a required argument: 'x'; got 0 arguments"),
    (product, (1.0, 2.0, 3.0, 4.0), TypeError, "product: too many positional arguments; got 4 arguments"),
    (product, (1.0, "two", 3.0), TypeError, "y: expected an array, got str"),
    (product, (1.0, 2.0, [3.0, None, "x"]), TypeError, r"z\[2\]: expected an array, got str"),
    (lambda x: 2 * x, (np.ones(3, np.float32),), ValueError, r"<lambda>: expected a scalar.*got shape \(3,\)"),
    (lambda x: (x, x), (1.0,), ValueError, "<lambda>: expected one scalar as its result, got 2 arrays"),
    (lambda x: None, (1.0,), ValueError, "expected one scalar as its result, got 0 arrays"),
    (lambda x: x, (np.int32(1),), TypeError, "expected a real floating-point result, got dtype int"),
    (lambda x: x > 0, (1.0,), TypeError, "expected a real floating-point result, got dtype bool"),
    (lambda x: x, (1j,), TypeError, "expected a real floating-point result, got dtype complex"),
    (lambda x: jax.new_ref(x)[...], (1.0,), ValueError, "mutable reference"),
]


@pytest.mark.parametrize(("f", "arguments", "error", "message"), BAD)
def test_bad_inputs(f, arguments, error, message, compiles):
    with pytest.raises(error, match=message):
        trace(f, *arguments)


def test_unknown_values_are_refused():
    with pytest.raises(ValueError, match="x: its value is not known yet"):
        jax.jit(lambda t: trace(jnp.sin, t)["x"].value)(1.0)
    with pytest.raises(ValueError, match="its values are not known yet; a graph is traced outside jit"):
        jax.jit(lambda t: trace(lambda: 2 * t)["c1"].value)(1.0)


def test_ten_thousand_nodes_without_recursion(compiles):
    def chain(x, y):
        for _ in range(2_500):
            x = jnp.cos(x) * y + 0.5
            y = y * 0.9999
        return x

    recursion_limit = sys.getrecursionlimit()
    graph = trace(chain, 1.0, 0.5)
    assert len(graph.nodes) == 10_001  # the last y is unused
    assert compiles() < 40
    assert graph.to_text().count("\n") == 10_001
    assert sys.getrecursionlimit() == recursion_limit
    x, y, dy, slope = 1.0, 0.5, 0.0, 1.0  # forward, in Python's float64: dy = ∂x/∂y₀, slope = ∂y/∂y₀
    for _ in range(2_500):
        x, dy = np.cos(x) * y + 0.5, -np.sin(x) * y * dy + np.cos(x) * slope
        y, slope = y * 0.9999, slope * 0.9999
    assert_close(graph["y"].derivative, dy, units=2_500)


def test_deeply_nested_jits_are_inlined():
    """Raises the recursion limit because JAX's tracing recurses."""
    f = jnp.sin
    for _ in range(200):
        f = jax.jit(functools.partial(lambda inner, x: 1.01 * inner(x), f))
    recursion_limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        graph = trace(f, 1.0)
    finally:
        sys.setrecursionlimit(recursion_limit)
    assert len(graph.nodes) == 202
    assert max(len(node.scope) for node in graph.nodes) >= 200
    assert_close(graph["x"].derivative if "x" in {n.name for n in graph.nodes} else graph.nodes[0].derivative,
                 np.cos(1.0) * 1.01**200, units=400)  # fmt: skip
    page = graph.to_html()
    assert page.count("<details") == page.count("</details>") > 200


def test_graphs_and_nodes_compare_and_hash_by_identity():
    first, second = trace(product, 1.0, 2.0, 3.0), trace(product, 1.0, 2.0, 3.0)
    assert first == first
    assert first != second
    assert len({first, second}) == 2
    nodes = (*first.nodes, *trace(softmax_loss, V).nodes)
    assert all(node == node and node in nodes for node in nodes)
    assert first["x"] != second["x"]
    assert (first["x"] == second["x"]) is False
    assert len(set(nodes)) == len(nodes)


def test_a_notebook_displays_the_drawing():
    graph = trace(softmax_loss, V)
    assert graph._repr_html_() == graph.to_svg()
    assert repr(graph) == f"Graph({len(graph.nodes)} nodes, output v15 = {np.log(np.exp(V).sum()) - V[1]:.3g})"


def test_public_names():
    assert dlcore.graph.__all__ == ["Graph", "Node", "trace"]
    assert EPS > 0
    assert list(itertools.islice(dlcore.graph.Node._fields, 4)) == ["name", "op", "value", "derivative"]
