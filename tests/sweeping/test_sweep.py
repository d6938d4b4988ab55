"""`sweep`: each model equals its fit, in one program, with slots that are refilled from a queue."""

import heapq
import itertools
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import DTYPE, assert_close, breast_cancer, random_problem
from seams import use_threads

import dlcore
from dlcore import Objective, Status, descent, fit, sweep
from dlcore.losses import sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from dlcore.models import LinearParams, linear, logistic, mlp, softmax

RATES = np.array([0.02, 0.3, 1e5, 0.2, 0.1, 0.3, 0.05])


def objective(l2: float = 1e-2) -> Objective:
    return Objective(logistic, sigmoid_cross_entropy, l2)


def plain(setting):
    return descent.gradient_descent(setting["rate"])


def optax_sgd(setting):
    return optax.sgd(setting["rate"], momentum=setting["decay"])


def row(fitted, i):
    return jax.tree.map(lambda leaf: np.asarray(leaf[i]), fitted.params)


def assert_same_fit(swept, i, fitted, *, units):
    """Assert that setting i of a sweep has the status of a single fit, and its numbers to rounding."""
    assert swept.status[i] is fitted.status
    assert abs(swept.steps[i] - fitted.steps) <= 1
    if fitted.status is Status.DIVERGED:
        return
    assert_close(swept.value[i], fitted.value, units=units)
    assert_close(swept.gradient_norm[i], fitted.gradient_norm, units=units, scale=1)
    pairs = zip(jax.tree.leaves(row(swept, i)), jax.tree.leaves(fitted.params), strict=True)
    for leaf, expected in pairs:
        assert leaf.dtype == expected.dtype
        assert_close(leaf, expected, units=units, scale=max(1, np.abs(expected).max()))


def plain_by_any_means(setting):
    return descent.gradient_descent({**setting}["rate"] + 0 * setting.get("decay", 0))


MAKERS = {
    "gradient descent": plain_by_any_means,
    "momentum": lambda setting: descent.momentum(setting["rate"] / 5, setting["decay"]),
    "adam": lambda setting: descent.adam(np.minimum(setting["rate"], 0.3), b1=setting["decay"]),
    "optax": optax_sgd,
    "a chain": lambda s: optax.chain(
        optax.clip_by_global_norm(s["decay"] + 1), descent.gradient_descent(s["rate"])
    ),
}


LONG = ("adam", "a chain")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in MAKERS]
)
def test_each_setting_equals_a_single_fit(name):
    """Seven settings share three slots: some converge early, some run out of steps, and one diverges."""
    make = MAKERS[name]
    settings = {"rate": RATES, "decay": np.linspace(0, 0.9, 7), "l2": np.geomspace(1e-3, 1, 7)}
    arguments: dict[str, Any] = {"max_steps": 150, "tol": 1e-3}
    # Optax mixes dtypes.
    with jax.numpy_dtype_promotion("standard"):
        swept = sweep(objective(), breast_cancer(), make, settings, slots=3, **arguments)
        assert len(set(swept.status)) > 1
        compiled_each = name in ("optax", "a chain")
        for i in (0, 2, 5) if compiled_each else range(7):
            setting = {key: values[i] for key, values in settings.items()}
            fitted = fit(objective(setting["l2"]), breast_cancer(), make(setting), **arguments)
            assert_same_fit(swept, i, fitted, units=256)
            if fitted.status is not Status.DIVERGED:
                cause, expected = (message.split(": J")[0] for message in (swept.message[i], fitted.message))
                assert cause == expected or swept.steps[i] != fitted.steps


def test_a_sweep_compiles_one_program_and_the_next_none(compiles):
    x, y = breast_cancer()
    x, y = x[:311], y[:311]  # shapes that no other test uses
    sweep(objective(), (x, y), lambda setting: plain(setting), {"rate": RATES}, slots=4, max_steps=40)
    assert compiles() == 1
    others = {"rate": np.geomspace(0.1, 0.2, 5).astype(np.float32), "l2": np.ones(5)}
    later: dict[str, Any] = {"tol": 0.1, "max_steps": 90, "chunk": 13}
    sweep(objective(0.0), (2 * x, 1 - y), lambda setting: plain(setting), others, slots=4, **later)
    start = LinearParams(np.ones(30, DTYPE), np.ones((), DTYPE))
    sweep(objective(), (x, y), plain, {"rate": [0.1] * 8}, slots=4, params=start, max_steps=3, tol=0)
    assert compiles() == 1


def test_an_optax_rule_compiles_once_per_function(compiles):
    x, y = breast_cancer()
    x, y = x[:312], y[:312]
    with jax.numpy_dtype_promotion("standard"):
        for rate in (0.1, 0.2):
            settings = {"rate": [rate, 0.3], "decay": [0.5, 0.9]}
            sweep(objective(), (x, y), optax_sgd, settings, max_steps=5)
    assert compiles() == 1


def test_the_models_of_a_block_share_two_products_and_x_is_not_copied(monkeypatch):
    """The compiled program holds [slots, m][m, block] and [slots, block][block, m] once each."""
    x = np.random.default_rng(0).normal(size=(20_000, 32)).astype(DTYPE)
    y = (x[:, 0] > 0).astype(DTYPE)
    compiled, original = [], jax.stages.Lowered.compile

    def recorded(lowered, *arguments, **options):
        compiled.append(original(lowered, *arguments, **options))
        return compiled[-1]

    use_threads(1, monkeypatch)
    monkeypatch.setattr(jax.stages.Lowered, "compile", recorded)
    sweep(objective(), (x, y), plain, {"rate": [0.1] * 16}, slots=16, max_steps=1)
    program = compiled[0]
    dtype = "f32" if np.float32 == DTYPE else "f64"
    text = [line for line in program.as_text().splitlines() if " dot(" in line]
    products = [line.split(" dot(")[0].split()[-1].split("{")[0] for line in text]
    shapes = [tuple(map(int, product.removeprefix(dtype)[1:-1].split(","))) for product in products]
    block = objective().prepare((x, y)).block
    assert block < len(x)
    for shape in ((16, block), (16, 32)):
        assert sum(product in (shape, shape[::-1]) for product in shapes) == 1, products
    assert program.memory_analysis().temp_size_in_bytes < 8 * 16 * block * DTYPE.itemsize < 2 * x.nbytes


@pytest.mark.parametrize("slots", [None, 4])
def test_each_thread_takes_a_shard_of_the_settings(slots, monkeypatch, compiles):
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(DTYPE)
    data = x, (x[:, 0] > 0).astype(DTYPE)
    settings = {"rate": np.geomspace(0.05, 2, 7), "l2": np.geomspace(1, 1e-3, 7)}
    sweeps = {}
    for count in (1, 3):
        use_threads(count, monkeypatch)
        before = compiles()
        sweeps[count] = sweep(
            objective(), data, plain, settings, tol=1e-3, max_steps=200, slots=slots, record=True
        )
        assert compiles() == before + 1
    one, three = sweeps[1], sweeps[3]
    assert list(one.status) == list(three.status)
    assert_close(three.params.weight, one.params.weight, units=200 * 8)
    assert abs(one.steps - three.steps).max() <= 1
    assert three.history.value.shape[0] == 7
    for fitted in (one, three):  # no model writes to the history of another
        for row, steps, value in zip(fitted.history.value, fitted.steps, fitted.value, strict=True):
            assert np.isfinite(row[: steps + 1]).all()
            assert np.isnan(row[steps + 1 :]).all()
            assert row[steps] == value


def test_rows_over_devices_are_swept_by_one_thread(monkeypatch):
    """Two programs over several CPU devices can deadlock if they run at the same time.

    Two threads have two queues, one of which holds all the long models. A single thread has one queue.
    """
    use_threads(2, monkeypatch)
    x, y = breast_cancer()
    settings = {"rate": [0.01] * 4 + [1e30] * 4, "l2": [1.0] * 8}
    steps = []
    for devices in (None, 1):
        seen = []
        data = objective().prepare((x, y), devices)
        swept = sweep(objective(), data, plain, settings, tol=0, max_steps=50, slots=2, callback=seen.append)
        assert list(swept.status) == ["out of steps"] * 4 + ["diverged"] * 4
        steps.append(seen[-1].steps)
    assert steps[0] == 4 * 51
    assert 2 * 51 <= steps[1] < 3 * 51


def test_a_finished_model_leaves_its_slot():
    """The steps of all slots are those of a queue whose models hold a slot only for their own steps."""
    seen = []
    settings = {"rate": np.tile([0.3, 0.01, 1e5, 0.1], 4), "l2": np.repeat([1.0, 0.01], 8)}
    swept = sweep(
        objective(),
        breast_cancer(),
        plain,
        settings,
        slots=3,
        max_steps=60,
        tol=1e-2,
        chunk=7,
        callback=seen.append,
    )
    free = [0, 0, 0]
    for steps in swept.steps:
        heapq.heappush(free, heapq.heappop(free) + int(steps) + 1)  # the last evaluation makes no step
    assert seen[-1] == (16, 16, max(free))
    assert max(free) < 0.85 * 16 * 61 / 3  # the steps if every model ran to the end
    assert all(earlier.finished <= later.finished for earlier, later in itertools.pairwise(seen))


def test_neither_the_other_models_nor_the_chunk_change_a_model():
    arguments: dict[str, Any] = {"slots": 4, "max_steps": 60, "tol": 0}
    rates = np.array([0.1, 0.2, 0.05, 0.3, 0.15, 0.25])
    alone = sweep(objective(), breast_cancer(), plain, {"rate": rates}, chunk=1, **arguments)
    order = np.array([5, 3, 0, 1, 4, 2])
    moved = sweep(objective(), breast_cancer(), plain, {"rate": rates[order]}, chunk=17, **arguments)
    np.testing.assert_array_equal(moved.params.weight, alone.params.weight[order])
    np.testing.assert_array_equal(moved.value, np.asarray(alone.value)[order])
    wild = np.where(np.arange(6) == 1, 1e30, rates)
    disturbed = sweep(objective(), breast_cancer(), plain, {"rate": wild}, **arguments)
    assert disturbed.status[1] is Status.DIVERGED
    undisturbed = [0, 2, 3, 4, 5]
    np.testing.assert_array_equal(
        disturbed.params.weight[jnp.array(undisturbed)], alone.params.weight[jnp.array(undisturbed)]
    )
    assert (disturbed.status[undisturbed] == Status.OUT_OF_STEPS).all()
    assert "lipschitz_step" in disturbed.message[1]


def test_history_holds_every_step():
    settings = {"rate": RATES[[0, 1, 3]], "l2": [1e-3, 1.0, 1e-2]}
    swept = sweep(objective(), breast_cancer(), plain, settings, slots=2, max_steps=1_200, tol=1e-3, record=True)
    assert swept.history.value.shape == (3, swept.steps.max() + 1)
    for i in range(3):
        fitted = fit(objective(settings["l2"][i]), breast_cancer(), plain({"rate": settings["rate"][i]}),
                     max_steps=1_200, tol=1e-3)  # fmt: skip
        value, norm = swept.history.value[i], swept.history.gradient_norm[i]
        assert np.isfinite(value).sum() == swept.steps[i] + 1
        assert_close(value[: fitted.steps + 1], fitted.history.value, units=64)
        assert_close(norm[: fitted.steps + 1], fitted.history.gradient_norm, units=64, scale=1)
        assert value[swept.steps[i]] == swept.value[i]
    empty = sweep(objective(), breast_cancer(), plain, settings, slots=2, max_steps=3)
    assert empty.history.value.shape == (3, 0)


@pytest.mark.parametrize(
    "read",
    [
        lambda setting: setting["rate"],
        lambda setting: setting.get("rate"),
        lambda setting: dict(setting)["rate"],
        lambda setting: next(number for name, number in setting.items() if name == "rate"),
        lambda setting: next(iter(setting.values())),
        lambda setting: setting[next(iter(setting))],
    ],
)
def test_a_setting_is_read_like_a_dict(read):
    """Every method of a dict marks the names as read and returns the numbers."""
    rng = np.random.default_rng(0)
    data, settings = (rng.normal(size=(20, 2)), rng.normal(size=20)), {"rate": np.array([0.05, 0.2])}
    objective = Objective(linear, squared_error, l2=0.1)
    swept = sweep(objective, data, lambda setting: descent.gradient_descent(read(setting)), settings, max_steps=5)
    plain = sweep(
        objective, data, lambda setting: descent.gradient_descent(setting["rate"]), settings, max_steps=5
    )
    np.testing.assert_array_equal(swept.value, plain.value)
    assert swept.value[0] != swept.value[1]


def test_weights_and_targets_of_each_setting():
    x, y = breast_cancer()
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 3, (3, len(x))) * np.array([[1.0], [1e-3], [40.0]])
    targets = np.stack([y, 1 - y, rng.permutation(y)])
    settings = {"rate": [0.1, 0.2, 0.3], "weights": weights, "targets": targets}
    swept = sweep(objective(), (x, y), plain, settings, slots=2, max_steps=40)
    for i in range(3):
        data = (x, targets[i], weights[i])
        fitted = fit(objective(), data, plain({"rate": settings["rate"][i]}), max_steps=40)
        assert_same_fit(swept, i, fitted, units=64)


def test_as_many_classes_as_any_setting_has():
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(DTYPE)
    targets = np.stack([np.arange(40) % 3, np.arange(40) % 5])
    problem = Objective(softmax, softmax_cross_entropy, 0.1)
    swept = sweep(problem, (x, targets[0]), plain, {"rate": [0.5, 0.5], "targets": targets}, max_steps=20)
    start = LinearParams(np.zeros((3, 5), DTYPE), np.zeros(5, DTYPE))
    for i in range(2):
        fitted = fit(problem, (x, targets[i]), descent.gradient_descent(0.5), params=start, max_steps=20)
        assert_same_fit(swept, i, fitted, units=64)


def test_seeds_are_folded_into_the_key():
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(DTYPE)
    data, network = (x, (x[:, 0] * x[:, 1] > 0).astype(DTYPE)), mlp((3, 4, 1))
    problem, key = Objective(network, sigmoid_cross_entropy, 1e-3), jax.random.key(7)
    settings = {"rate": [0.5, 0.1, 0.5, 0.5], "seed": [3, 1, 2, 3]}
    swept = sweep(problem, data, plain, settings, key=key, slots=2, max_steps=25)
    for i in range(4):
        folded = jax.random.fold_in(key, settings["seed"][i])
        fitted = fit(problem, data, plain({"rate": settings["rate"][i]}), key=folded, max_steps=25)
        assert_same_fit(swept, i, fitted, units=128)
    np.testing.assert_array_equal(row(swept, 0)[0].weight, row(swept, 3)[0].weight)
    assert (row(swept, 0)[0].weight != row(swept, 2)[0].weight).any()


def test_a_sweep_over_l2_is_certified():
    problem = random_problem(0)
    x, y = problem.x.astype(DTYPE), problem.y.astype(DTYPE)
    l2 = np.geomspace(1e-3, 0.1, 8)

    def make(setting):
        safe = 1 / (np.linalg.norm(np.column_stack([x, np.ones(len(x))]), 2) ** 2 / 4 / len(x) + setting["l2"])
        return descent.gradient_descent(safe)

    swept = sweep(objective(), (x, y), make, {"l2": l2}, slots=4, tol=1e-5)
    assert (swept.status == Status.CONVERGED).all()
    heads = dlcore.LinearHeads(swept.params.weight, swept.params.bias, l2=l2)
    certificate = dlcore.certify(heads, x, y)
    assert (certificate.gap <= 2e-5 * certificate.value).all()
    assert_close(swept.value, certificate.value, units=64)


def test_the_callback_may_stop_and_an_interrupt_passes_through():
    def callback(progress):
        return progress.steps >= 20

    arguments: dict[str, Any] = {"slots": 4, "max_steps": 60, "tol": 0}
    rates = np.array([0.1, 0.2, 0.05, 0.3, 0.15, 0.25])
    swept = sweep(objective(), breast_cancer(), plain, {"rate": rates}, chunk=10, callback=callback, **arguments)
    assert list(swept.steps) == [20, 20, 20, 20, 0, 0]
    assert (swept.status == Status.STOPPED).all()
    assert "stopped by the callback after 20 steps" in swept.message[0]
    value, _ = objective().value_and_grad(LinearParams(*row(swept, 2)), breast_cancer())
    assert_close(swept.value[2], value, units=16)
    assert_close(swept.value[5], np.log(2), units=16)

    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(objective(), breast_cancer(), plain, {"rate": rates}, callback=interrupt, **arguments)


@pytest.mark.parametrize(("features", "steps"), [(3, 1), (2**17, 3)])
def test_slots_follow_from_the_size_of_the_problem(features, steps, monkeypatch):
    """Three small models share the slots. Models of half a megabyte run one after another."""
    use_threads(1, monkeypatch)
    seen = []
    data = np.zeros((4, features), DTYPE), np.array([0, 1, 0, 1], DTYPE)
    sweep(objective(), data, plain, {"rate": [0.1] * 3}, tol=0, max_steps=1, callback=seen.append)
    assert seen[-1].steps == steps


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "settings no dict": ([0.1], TypeError, "settings: expected a dict"),
    "settings empty": ({}, ValueError, "settings: expected at least one array"),
    "no setting": ({"rate": []}, ValueError, "got arrays of length 0"),
    "unequal": ({"rate": [0.1, 0.2], "l2": [1.0]}, ValueError, "one length.*rate has 2, l2 has 1"),
    "strings": ({"rate": ["a", "b"]}, TypeError, r"settings\['rate'\]: expected numbers"),
    "scalar": ({"rate": 0.1}, ValueError, r"settings\['rate'\]: expected 1-D"),
    "nan": ({"rate": [0.1, np.nan]}, ValueError, r"settings\['rate'\].*nan \(first at index \(1,\)\)"),
    "negative rate": ({"rate": [0.1, 0.2, -0.1]}, ValueError, "setting 2: rate: expected a finite number above 0"),
    "huge rate": (
        {"rate": [1.0, 1e308 if np.float32 == DTYPE else 1e-310]},
        ValueError,
        "range of .*in setting 1",
    ),
    "missing": ({"speed": [0.1]}, ValueError, "make_optimizer reads 'rate', got only speed"),
    "unread": ({"rate": [0.1], "decya": [0.9]}, ValueError, r"settings\['decya'\]: make_optimizer does not read"),
    "negative l2": ({"rate": [1, 1], "l2": [0, -1]}, ValueError, r"settings\['l2'\].*got -1 in setting 1"),
    "float seed": ({"rate": [1], "seed": [0.5]}, TypeError, r"settings\['seed'\]: expected integers"),
    "negative seed": ({"rate": [1, 1], "seed": [0, -3]}, ValueError, r"settings\['seed'\].*got -3 in setting 1"),
    "large seed": (
        {"rate": [1, 1], "seed": [0, 2**32]},
        ValueError,
        r"settings\['seed'\].*got 4294967296 in setting 1",
    ),
    "seed without key": ({"rate": [1], "seed": [0]}, ValueError, "key: expected a key"),
    "rows": ({"rate": [1], "weights": np.ones((1, 5))}, ValueError, r"expected shape \(1, 569\).*got \(1, 5\)"),
    "flat weights": ({"rate": [1], "weights": np.ones(569)}, ValueError, r"settings\['weights'\]: expected 2-D"),
    "no weight": ({"rate": [1, 1], "weights": np.eye(2, 569) * [[1], [0]]}, ValueError, "setting 0: y: .*both"),
    "labels": (
        {"rate": [1], "targets": np.full((1, 569), 2)},
        ValueError,
        "setting 0: y: expected labels 0 and 1",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_refused_before_anything_compiles(name, compiles):
    settings, error, message = BAD[name]
    with pytest.raises(error, match=message):
        sweep(objective(), breast_cancer(), plain, settings)
    assert compiles() == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"make_optimizer": 0.1}, TypeError, "make_optimizer: expected a function"),
        ({"make_optimizer": lambda setting: 0.1}, TypeError, r"setting 0: expected an Optax .*, got float"),
        ({"slots": 0}, ValueError, "slots: expected an integer of at least 1"),
        ({"max_steps": 1.5}, TypeError, "max_steps"),
        ({"tol": -1}, ValueError, "tol"),
        ({"callback": 3}, TypeError, "callback"),
        ({"record": len}, TypeError, "record"),
        ({"objective": logistic}, TypeError, "objective"),
        ({"chunk": 0}, ValueError, "chunk"),
    ],
)
def test_bad_arguments_are_refused_before_anything_compiles(change, error, message, compiles):
    arguments: dict[str, Any] = {
        "objective": objective(),
        "data": breast_cancer(),
        "make_optimizer": plain,
        "settings": {"rate": [0.1]},
    }
    with pytest.raises(error, match=message):
        sweep(**{**arguments, **change})
    assert compiles() == 0


def test_unsupported_transformations_raise():
    def values(l2):
        return sweep(objective(l2), breast_cancer(), plain, {"rate": [0.1]}, max_steps=2).value

    for transform in (jax.jit, jax.grad):
        with pytest.raises(TypeError, match="call it from Python"):
            transform(values)(0.1)


def test_settings_may_be_any_mapping_and_are_copied():
    rates = np.array([0.1, 0.2])
    settings = types.MappingProxyType({"rate": rates})
    x, y = np.eye(3, dtype=DTYPE), np.array([0, 1, 1], DTYPE)
    objective = Objective(logistic, sigmoid_cross_entropy, 0.1)
    swept = sweep(objective, (x, y), lambda setting: descent.gradient_descent(setting["rate"]), settings)
    rates[:] = 99
    np.testing.assert_array_equal(swept.settings["rate"], [0.1, 0.2])
