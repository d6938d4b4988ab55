"""`dlcore.export`: files keep every bit, and JAX, torch and scikit-learn predict what the head predicts."""

import dataclasses
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy
from jax import export

from dlcore import certify, fit_heads
from dlcore.export import (
    Model,
    load_model,
    load_sklearn,
    model_of,
    save_jax,
    save_model,
    save_sklearn,
    save_torch,
    to_jax,
    to_sklearn,
    to_torch_state,
)

RNG = np.random.default_rng(0)
N, M = 60, 4
X = RNG.normal(size=(N, M))
Z = X @ [1.0, -2.0, 0.5, 0.0]
TARGETS = {
    "logistic": np.where(Z + RNG.logistic(size=N) > 0, "yes", "no"),
    "softmax": np.digitize(Z + RNG.normal(size=N), [-1, 1]) * 10,
    "squared": Z + RNG.normal(size=N),
    "poisson": RNG.poisson(np.exp(0.3 * Z)),
}
NAMES = ("a", "b", "c", "größe")


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    """Return a fitted model of every loss."""
    found = {}
    for loss, y in TARGETS.items():
        heads = fit_heads(X, y, loss=loss, l2=[0.01], standardize=loss == "squared")
        found[loss] = model_of(heads, feature_names=NAMES)
    return found


def assert_same_model(actual: Model, expected: Model) -> None:
    for field in dataclasses.fields(Model):
        first, second = getattr(actual, field.name), getattr(expected, field.name)
        if isinstance(second, np.ndarray):
            assert first.dtype == second.dtype
            assert first.tobytes() == second.tobytes()
        else:
            assert first == second, field.name


@pytest.mark.parametrize("loss", TARGETS)
def test_a_file_keeps_every_bit(loss, models, tmp_path):
    model = models[loss]
    assert model.status == "converged"
    save_model(model, tmp_path / "model.safetensors")
    assert_same_model(load_model(tmp_path / "model.safetensors"), model)
    assert_same_model(load_model(tmp_path), model)  # a folder holds model.safetensors
    np.testing.assert_array_equal(load_model(tmp_path).predict(X), model.predict(X))


def test_a_file_keeps_class_weights(models, tmp_path):
    model = dataclasses.replace(models["softmax"], class_weight=np.array([1 / 3, 2, 7]))
    save_model(model, tmp_path / "model.safetensors")
    assert_same_model(load_model(tmp_path), model)
    expected = certify(models["softmax"], X, TARGETS["softmax"], np.array([1 / 3, 2, 7])[TARGETS["softmax"] // 10])
    assert certify(load_model(tmp_path), X, TARGETS["softmax"]).value == expected.value


@pytest.mark.parametrize(
    ("loss", "class_weight", "message"),
    [
        ("softmax", [1.0, 2.0], r"class_weight: expected shape \(3,\), got \(2,\)"),
        ("logistic", [1.0, 0.0], "class_weight: expected a finite number above 0"),
        ("squared", [1.0, 2.0], "class_weight: expected None for loss 'squared', which has no classes"),
    ],
)
def test_wrong_class_weights_are_not_saved(loss, class_weight, message, models, tmp_path):
    with pytest.raises(ValueError, match=message):
        save_model(
            dataclasses.replace(models[loss], class_weight=np.array(class_weight)), tmp_path / "m.safetensors"
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("loss", TARGETS)
def test_a_model_of_a_file_is_certified(loss, models, tmp_path):
    save_model(models[loss], tmp_path / "model.safetensors")
    certificate = certify(load_model(tmp_path / "model.safetensors"), X, TARGETS[loss])
    assert certificate.gap <= certificate.gap_tol(1e-6)


@pytest.mark.parametrize("loss", TARGETS)
def test_scikit_learn_predicts_the_same(loss, models, tmp_path):
    """Logits are sums of five products: their order may change the last bits."""
    model = models[loss]
    lines = save_sklearn(model, tmp_path / "estimator.npz")
    scope: dict[str, Any] = {}
    exec(lines, scope)
    estimators: list[Any] = [to_sklearn(model), scope["estimator"], load_sklearn(tmp_path / "estimator.npz")]
    for estimator in estimators:
        np.testing.assert_array_equal(np.ravel(estimator.coef_), np.ravel(model.coef))
        assert tuple(estimator.feature_names_in_) == NAMES
        del estimator.feature_names_in_  # else it warns of an array without names
        predicted = estimator.predict(X)
        if loss in ("logistic", "softmax"):
            np.testing.assert_array_equal(predicted, model.predict(X))
            np.testing.assert_allclose(estimator.predict_proba(X), model.predict_proba(X), rtol=1e-13, atol=1e-15)
        else:
            np.testing.assert_allclose(predicted, model.predict(X), rtol=1e-13, atol=1e-14)


def test_two_classes_of_softmax_are_one_row_of_scikit_learn():
    model = Model(np.array([[1.0, 2.0], [-1.0, 0.5]]), np.array([0.25, -0.5]), 0.1, "softmax")
    estimator: Any = to_sklearn(model)
    x = RNG.normal(size=(20, 2))
    np.testing.assert_allclose(estimator.predict_proba(x), model.predict_proba(x), rtol=1e-14)


@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_program_of_jax_predicts_the_same(loss, dtype, models):
    """A logit has M + 1 terms; its error in the dtype is at most (M + 2)·eps·Σ|terms|."""
    model = models[loss]
    program = to_jax(model, dtype=dtype)
    assert program.platforms == ("cpu", "cuda", "tpu")
    expected = model.predict_proba(X) if loss in ("logistic", "softmax") else model.predict(X)
    coef, intercept = np.atleast_2d(model.coef), np.atleast_1d(model.intercept)
    size = (np.abs(X) @ np.abs(coef).T + np.abs(intercept)).max()
    with jax.enable_x64(dtype == "float64"):
        for rows in (1, N):  # any number of rows
            actual = np.asarray(program.call(X[:rows].astype(dtype)))
            assert actual.dtype == dtype
            bound = 4 * (M + 2) * np.finfo(dtype).eps * size * max(1, np.abs(expected).max())
            np.testing.assert_allclose(actual, expected[:rows], rtol=0, atol=bound)


def test_another_process_runs_the_program_without_dlcore(models, tmp_path):
    pytest.importorskip("flatbuffers")
    save_jax(models["softmax"], tmp_path / "model.jax")
    np.save(tmp_path / "x.npy", X.astype(np.float32))
    code = (
        "import sys; sys.modules['dlcore'] = None\n"
        "import jax.export, numpy as np\n"
        f"program = jax.export.deserialize(bytearray(open({str(tmp_path / 'model.jax')!r}, 'rb').read()))\n"
        f"np.save({str(tmp_path / 'p.npy')!r}, program.call(np.load({str(tmp_path / 'x.npy')!r})))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with jax.enable_x64(False):
        here = export.deserialize(bytearray((tmp_path / "model.jax").read_bytes())).call(X.astype(np.float32))
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), np.asarray(here))
    np.testing.assert_allclose(here, models["softmax"].predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared"])
def test_the_layer_of_torch(loss, models, tmp_path):
    """float64 keeps every bit. The file is read as a model of another library."""
    model = models[loss]
    save_torch(model, tmp_path / "layer.safetensors", dtype=np.float64)
    state = safetensors.numpy.load_file(tmp_path / "layer.safetensors")
    assert state["weight"].tobytes() == model.coef.tobytes()
    assert state["weight"].shape == ((3, M) if loss == "softmax" else (1, M))
    again = load_model(tmp_path / "layer.safetensors", loss=loss, l2=model.l2, classes=model.classes_)
    np.testing.assert_array_equal(again.coef, model.coef)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    single = to_torch_state(model)
    assert {array.dtype.name for array in single.values()} == {"float32"}
    np.testing.assert_array_equal(single["bias"], state["bias"].astype(np.float32))


def test_torch_loads_the_layer(models, tmp_path):
    torch = pytest.importorskip("torch")
    loader = pytest.importorskip("safetensors.torch")
    save_torch(models["softmax"], tmp_path / "layer.safetensors")
    layer = torch.nn.Linear(M, 3)
    layer.load_state_dict(loader.load_file(tmp_path / "layer.safetensors"))
    p = torch.softmax(layer(torch.tensor(X, dtype=torch.float32)), 1).detach().numpy()
    np.testing.assert_allclose(p, models["softmax"].predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("names", [("coef_", "intercept_"), ("head.weight", "head.bias"), ("w", "b")])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_coefficients_of_anybody(names, suffix, tmp_path):
    coef, intercept = RNG.normal(size=(3, M)), RNG.normal(size=3)
    arrays = dict(zip(names, (coef, intercept), strict=True))
    path = tmp_path / f"theirs{suffix}"
    if suffix == ".npz":
        np.savez(path, allow_pickle=False, **arrays)
    else:
        safetensors.numpy.save_file(arrays, path)
    model = load_model(path, l2=0.5)
    assert model.loss == "softmax"
    np.testing.assert_array_equal(model.coef, coef)
    assert model.intercept is not None
    np.testing.assert_array_equal(model.intercept, intercept)
    y = TARGETS["softmax"] // 10
    assert certify(model, X, y).gap > 0.01  # they are no optimum


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"a": X}, {"l2": 1.0}, "expected an array named coef or weight, got 'a'"),
        ({"coef": X[0]}, {}, r"expected l2 of the objective \(--l2\)"),
        ({"coef": X[0], "x.weight": X[0]}, {"l2": 1.0}, "expected one array of coef, coef_, weight"),
        ({"coef": X[0], "intercept": X[0]}, {"l2": 1.0}, r"intercept: expected shape \(\), got \(4,\)"),
        ({"coef": X[0] * np.nan}, {"l2": 1.0}, "coef: expected finite numbers, got nan"),
        ({"coef": X[0]}, {"l2": -1.0}, "l2: expected finite numbers of at least 0"),
        ({"coef": X[0]}, {"l2": 1.0, "loss": "hinge"}, "loss: expected 'logistic', .* got 'hinge'"),
        ({"coef": X[:3], "classes": [0, 1]}, {"l2": 1.0}, r"classes_: expected 3 labels, got shape \(2,\)"),
        ({"coef": X[0], "scale": -X[0]}, {"l2": 1.0}, "scale: expected a finite number above 0"),
        ({"coef": X[0].astype("U")}, {"l2": 1.0}, "coef: expected numbers, got dtype <U"),
    ],
)
def test_files_of_no_model(arrays, options, message, tmp_path):
    np.savez(tmp_path / "theirs.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "theirs.npz", **options)


def test_damaged_models_are_refused(models, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(models["logistic"], path)
    contents = path.read_bytes()
    for damaged in (contents[:-1], contents[:20], contents.replace(b"logistic", b"logistix"), b"{}", b"\0" * 64):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            load_model(path)
    save_sklearn(models["logistic"], tmp_path / "e.npz")
    contents = (tmp_path / "e.npz").read_bytes()
    (tmp_path / "e.npz").write_bytes(contents[:200] + bytes([contents[200] ^ 1]) + contents[201:])
    with pytest.raises(ValueError, match=r"e\.npz is damaged"):
        load_sklearn(tmp_path / "e.npz")


def test_a_model_takes_columns_by_name(models):
    pa = pytest.importorskip("pyarrow")
    model = models["logistic"]
    table = pa.table(dict(zip(NAMES, X.T, strict=True)))
    np.testing.assert_array_equal(model.predict_proba(table.select(NAMES[::-1])), model.predict_proba(X))
    with pytest.raises(ValueError, match="lack 'a' and add 'other'"):
        model.predict(table.rename_columns(["other", *NAMES[1:]]))


def test_one_head_is_chosen():
    heads = fit_heads(X, TARGETS["squared"], loss="squared", l2=[0.1, 1.0])
    with pytest.raises(ValueError, match="expected one l2, or scores that choose one of 2"):
        model_of(heads)
    assert model_of(heads, 1).l2 == 1.0
    scored = fit_heads(X, TARGETS["squared"], loss="squared", l2=[1e-3, 10.0], folds=3)
    assert model_of(scored).l2 == scored.best_l2
    with pytest.raises(ValueError, match="expected heads of one target, got 2"):
        model_of(fit_heads(X, np.column_stack([Z, Z + 1]), loss="squared", l2=1.0))


def test_numbers_beyond_float32_are_refused():
    with pytest.raises(ValueError, match="within the range of float32; pass dtype=float64"):
        to_torch_state(Model(np.array([1e300]), None, 0.1, "squared"))
