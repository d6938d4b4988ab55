"""Archives: damage is a ValueError that names the file, and undamaged files are read unchanged."""

import dataclasses
import itertools
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from damages import compressed, damaged, directory_of, flipped, parts_of, write_parts
from helpers import assert_same_heads

from dlcore import Heads, Objective, descent, fit, fit_heads
from dlcore._core import archive
from dlcore.fitting import checkpoint
from dlcore.heads import checkpoint as stages
from dlcore.heads import files
from dlcore.heads.checkpoint import StageCache
from dlcore.losses import squared_error
from dlcore.models import linear

pytestmark = pytest.mark.any_mode

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3))
Y = X @ [1.0, -1.0, 0.5] + RNG.normal(size=24)
PROBLEM = {"l2": "0.1", "contents of x": "0123456789abcdef"}
with jax.enable_x64(True):
    TREE = {
        "params": jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32),
        "moments": jnp.asarray(RNG.normal(size=7), jnp.bfloat16),
        "key": jax.random.key(3),
        "step": jnp.int32(17),
        "nothing": jnp.zeros((0, 2)),
    }
STAGES = {
    "fit 0": {"coef": RNG.normal(size=(4, 3)), "ended": np.array(["converged", "out of steps"])},
    "fit 1": {},
}


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


def ridge(**given: Any) -> Heads:
    return fit_heads(X, Y, loss="squared", l2=[0.01, 0.1, 1.0], folds=2, scoring="r2", **given)


class Case(NamedTuple):
    """A kind of file, with functions to write, read and compare it."""

    save: Callable[[Path], Any]
    load: Callable[[Path], Any]
    same: Callable[[Any], None]
    kind: str
    unchecked: int


def same_tree(loaded: Any) -> None:
    for actual, expected in zip(jax.tree.leaves(loaded), jax.tree.leaves(TREE), strict=True):
        key = jnp.issubdtype(actual.dtype, jax.dtypes.extended)
        actual, expected = (jax.random.key_data(leaf) if key else leaf for leaf in (actual, expected))
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(np.asarray(actual), np.asarray(expected))


def same_stages(loaded: Any) -> None:
    assert loaded.keys() == STAGES.keys()
    for name, arrays in STAGES.items():
        assert loaded[name].keys() == arrays.keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(loaded[name][key], array)
            assert loaded[name][key].dtype == array.dtype


def save_stages(path: Path) -> None:
    with StageCache(path, PROBLEM) as all_stages:
        for name, arrays in STAGES.items():
            form = {key: (array.dtype.kind, array.shape) for key, array in arrays.items()}
            all_stages.once(name, lambda arrays=arrays: arrays, form)


HEADS = ridge()
CASES = {
    "heads": Case(
        HEADS.save, Heads.load, lambda loaded: assert_same_heads(loaded, HEADS), files.KIND, files.UNCHECKED
    ),
    "fit": Case(
        lambda path: checkpoint.save(path, PROBLEM, TREE),
        lambda path: checkpoint.load(path, PROBLEM, TREE),
        same_tree,
        checkpoint.KIND,
        checkpoint.UNCHECKED,
    ),
    "fit_heads": Case(
        save_stages,
        lambda path: StageCache(path, PROBLEM).done,
        same_stages,
        stages.KIND,
        stages.UNCHECKED,
    ),
}


def refused(case: Case, path: Path, bad: bytes) -> bool:
    """Return whether a damaged file is refused with a ValueError that names it, or read unchanged."""
    path.write_bytes(bad)
    refusal = None
    try:
        loaded = case.load(path)
    except ValueError as error:
        refusal = error
    else:
        case.same(loaded)
    assert refusal is None or (type(refusal) is ValueError and str(path) in str(refusal))
    return refusal is not None


def file_of(case: Case, path: Path) -> bytes:
    case.save(path)
    data = path.read_bytes()
    path.unlink()
    return data


@pytest.mark.parametrize("name", CASES)
def test_a_file_is_read_as_written(name, tmp_path):
    case = CASES[name]
    data = file_of(case, tmp_path / "file")
    assert data == file_of(case, tmp_path / "again")  # it holds no time and no random numbers
    assert not refused(case, tmp_path / "file", data)


DAMAGES = [250, pytest.param(6_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]


@pytest.mark.parametrize("count", DAMAGES)
@pytest.mark.parametrize("name", CASES)
def test_damage_is_refused_or_harmless(name, count, tmp_path):
    case, path = CASES[name], tmp_path / "file"
    good, other = file_of(case, path), file_of(CASES[{"heads": "fit"}.get(name, "heads")], path)
    loaded = [refused(case, path, bad) for bad in damaged(good, other, count, seed=7)]
    assert np.mean(loaded) > 0.8  # bytes that zip never reads, such as dates, may change


@pytest.mark.parametrize("step", [97, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
@pytest.mark.parametrize("name", CASES)
def test_every_flipped_bit_of_the_directory(name, step, tmp_path):
    """A flipped bit in the length of a comment hides the entries behind it."""
    case, path = CASES[name], tmp_path / "file"
    good = file_of(case, path)
    for bit in range(8 * directory_of(good), 8 * len(good), step):
        refused(case, path, flipped(good, bit))


def with_hidden_entries(good: bytes) -> list[bytes]:
    """Change the comment length of each directory entry so that the comment hides the next entry."""

    def length(at: int) -> int:
        """Return the length of the entry at `at`, or 0."""
        parts = [int.from_bytes(good[at + k : at + k + 2], "little") for k in (28, 30, 32)]
        return 46 + sum(parts) if good[at : at + 4] == b"PK\x01\x02" else 0

    loaded, at = [], directory_of(good)
    while following := length(at + length(at)):
        loaded.append(good[: at + 32] + following.to_bytes(2, "little") + good[at + 34 :])
        at += length(at)
    return loaded


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_no_array_is_skipped(name, older, tmp_path):
    """Files without checksums are checked too."""
    case, path = CASES[name], tmp_path / "file"
    good = file_of(case, path)
    if older:
        path.write_bytes(good)
        to_older_format(path, case)
        good = path.read_bytes()
    bad = with_hidden_entries(good)
    assert len(bad) >= 2
    for data in bad:
        with zipfile.ZipFile(_written(path, data)) as archive:
            assert len(archive.namelist()) == len(bad)  # one less, and zip raises no error
        assert refused(case, path, data)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def to_older_format(path: Path, case: Case) -> None:
    """Rewrite a file in the older format without checksums."""
    parts = parts_of(path)
    about = json.loads(bytes(parts.pop("about")))
    about = {key: value for key, value in about.items() if key not in ("arrays", "checksum")}
    about["format"] = case.unchecked
    write_parts(path, about, parts)


@pytest.mark.parametrize("name", CASES)
def test_files_without_checksums_are_read(name, tmp_path):
    case, path = CASES[name], tmp_path / "file"
    case.save(path)
    to_older_format(path, case)
    case.same(case.load(path))
    old = path.read_bytes()
    for bad in damaged(old, old[::-1], 120, seed=8):
        refused(case, path, bad)


@pytest.mark.parametrize("name", CASES)
def test_a_file_without_its_checksums_is_refused(name, tmp_path):
    """Older formats with checksums and newer formats are refused too."""
    case, path = CASES[name], tmp_path / "file"
    case.save(path)
    parts = parts_of(path)
    about = json.loads(bytes(parts.pop("about")))
    bare = {key: value for key, value in about.items() if key not in ("arrays", "checksum")}
    for changed, message in (
        (bare, "damaged.* its format and its checksums disagree"),
        ({**about, "format": case.unchecked}, "damaged.* its header is not what was written"),
        ({key: about[key] for key in about if key != "arrays"}, "damaged.* its header is not what was written"),
        ({**bare, "format": 99}, "of format 99, this version reads"),
    ):
        write_parts(path, changed, parts)
        with pytest.raises(ValueError, match=rf"file is {message}"):
            case.load(path)


# -- files that would allocate memory or run code ---------------------------------------------------------------


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], None]) -> None:
    """Rewrite a file with a changed header or changed arrays, and with matching checksums."""
    parts = parts_of(path)
    about = json.loads(bytes(parts.pop("about")))
    del about["checksum"], about["arrays"]
    change(about, parts)
    archive.write(path, about, parts)


@pytest.mark.parametrize("name", CASES)
def test_compressed_files_are_not_expanded(name, tmp_path):
    case, path, small = CASES[name], tmp_path / "whole", tmp_path / "file"
    case.save(path)
    compressed(path, small)
    with pytest.raises(ValueError, match=r"file is damaged, or no .* is compressed"):
        case.load(small)


@pytest.mark.parametrize("older", [False, True])
def test_sizes_are_checked_before_memory_is_allocated(older, tmp_path):
    """A header asks for a terabyte in a file of some thousand bytes."""
    case, path = CASES["heads"], tmp_path / "heads.npz"
    case.save(path)
    if older:
        to_older_format(path, case)
    data = path.read_bytes()
    start = data.index(b"coef.npy")
    header = data.index(b"(3, 3), }", start)
    bad = data[:header] + b"(9999999999, 99)}"[:17].ljust(17) + data[header + 17 :]
    assert refused(case, path, bad)
    with zipfile.ZipFile(path, "w") as archive:  # with correct zip checksums
        for name, part in parts_of(_written(tmp_path / "good", data)).items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, part)
                if name == "coef":
                    member.write(b"more")
    with pytest.raises(ValueError, match=r"heads\.npz is damaged.* coef: expected .* bytes"):
        Heads.load(path)


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "heads.npz"
    path.write_bytes(pickle.dumps(HEADS.coef))
    with pytest.raises(ValueError, match=r"heads\.npz is damaged"):
        Heads.load(path)
    with pytest.raises(TypeError, match="expected arrays of numbers or texts, got object of 'coef'"):
        archive.write(path, {}, {"coef": np.array([HEADS], object)})
    CASES["heads"].save(path)
    for older in (False, True):
        if older:
            to_older_format(path, CASES["heads"])
        parts = parts_of(path)
        about = json.loads(bytes(parts.pop("about")))
        write_parts(tmp_path / "bad.npz", about, parts | {"coef": np.array([[print]], object)})
        with pytest.raises(ValueError, match=r"bad\.npz is damaged"):
            Heads.load(tmp_path / "bad.npz")


def test_a_deeply_nested_header_is_refused(tmp_path):
    path = tmp_path / "heads.npz"
    np.savez(path, about=np.frombuffer(b"[" * 1_000_000, np.uint8))
    with pytest.raises(ValueError, match=r"heads\.npz is damaged.*RecursionError"):
        Heads.load(path)


# -- invalid contents ------------------------------------------------------------------------------------------

L, M, F = 3, 3, 2
WRONG: dict[str, tuple[Any, str]] = {
    "loss": ("bogus", "loss: expected one of 'logistic', 'softmax', 'squared', 'poisson', got 'bogus'"),
    "scoring": (3, "scoring: expected a str, got 3"),
    "device": (None, "device: expected a str, got None"),
    "fit_intercept": (1, "fit_intercept: expected a bool, got 1"),
    "coef": (np.zeros((L + 1, M)), r"intercept: expected shape \(4\), got \(3,\)"),
    "coef of one": (np.zeros(M), r"coef: expected shape \(any, any\), got \(3,\)"),
    "coef in words": (np.full((L, M), "one"), "coef: expected an array of float64, got <U3"),
    "coef of float32": (np.zeros((L, M), np.float32), "coef: expected an array of float64, got float32"),
    "coef of nan": (np.full((L, M), np.nan), "coef: expected numbers, got nan"),
    "intercept": (np.array([0, np.nan, 0]), "intercept: expected numbers, got nan"),
    "l2": (np.array([-1.0, 0, 1]), "l2: expected finite numbers of at least 0"),
    "l2 without end": (np.array([np.inf, 0, 1]), "l2: expected finite numbers of at least 0"),
    "value": (np.zeros(L + 1), r"value: expected shape \(3\), got \(4,\)"),
    "steps": (np.ones(L), "steps: expected an array of integers, got float64"),
    "steps below 0": (np.array([1, -1, 1]), "steps: expected finite numbers of at least 0"),
    "fold_gap": (np.full((F, L), np.nan), "fold_gap: expected numbers, got nan"),
    "fold_status": (np.full((F + 1, L), "converged"), r"fold_status: expected shape \(2, 3\), got \(3, 3\)"),
    "status": (np.full(L, "perfect"), "status: expected a status, such as 'converged', got 'perfect'"),
    "scores": (np.full((F, L + 1), 0.5), r"scores: expected shape \(2, 3\)"),
    "scores of nan": (np.full((F, L), np.nan), "scores: expected numbers, got nan"),
    "best": (np.array(99), "best: expected an index of 3 strengths, got 99"),
    "best of many": (np.array([0, 1]), r"best: expected shape \(\), got \(2,\)"),
    "best of none": (None, "best: expected an array of integers"),
    "scale": (np.array([1.0, 0.0, 1.0]), "scale: expected finite numbers of at least 4.9"),
    "certificate.gap": (np.full(L, np.nan), "certificate.gap: expected numbers, got nan"),
    "certificate.value": (np.full((1, L), 0.0), r"certificate.value: expected shape \(3\), got \(1, 3\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_invalid_heads_are_refused_by_field(name, tmp_path):
    """All checksums are right, or the file is of the older format without checksums."""
    path = tmp_path / "heads.npz"
    CASES["heads"].save(path)
    value, message = WRONG[name]
    field = name.partition(" ")[0]

    def change(about: dict[str, Any], parts: dict[str, np.ndarray]) -> None:
        if isinstance(value, np.ndarray):
            parts[field] = value
        elif field in about:
            about[field] = value
        else:
            del parts[field]

    rewritten(path, change)
    for older in (False, True):
        if older:
            to_older_format(path, CASES["heads"])
        with pytest.raises(ValueError, match=rf"path: .*heads\.npz is damaged, or no heads of dlcore: {message}"):
            Heads.load(path)


@pytest.mark.parametrize("name", ["coef", "coef of nan", "loss", "best"])
def test_invalid_heads_are_not_saved(name, tmp_path):
    value, message = WRONG[name]
    value = int(value) if name == "best" else value
    path = tmp_path / "heads.npz"
    with pytest.raises(ValueError, match=f"heads.{message}"):
        dataclasses.replace(HEADS, **{name.partition(" ")[0]: value}).save(path)
    assert not path.exists()


def longer(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, array])


@pytest.mark.parametrize(
    "change", [longer, lambda array: array.astype(np.float32), lambda array: array.astype(str), None]
)
def test_a_stage_of_another_shape_is_refused(change, tmp_path):
    path = tmp_path / "sweep.npz"
    ridge(checkpoint=path)

    def edit(about: dict[str, Any], parts: dict[str, np.ndarray]) -> None:
        key = f"{about['stages'].index('fit 0')}.coef"
        if change is None:
            del parts[key]
        else:
            parts[key] = change(parts[key])

    rewritten(path, edit)
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"checkpoint: .*sweep\.npz is damaged, or no checkpoint of dlcore heads: fit 0: "
    ):
        ridge(checkpoint=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_every_array_of_a_stage_is_checked(loss, tmp_path):
    """Broadcasting would accept a number in place of a table."""
    path = tmp_path / "sweep.npz"

    def call() -> Heads:
        return fit_heads(X, (Y > 0).astype(int), loss=loss, l2=[0.1, 1.0], checkpoint=path)

    call()
    good = path.read_bytes()
    names = [name for name in parts_of(path) if name != "about"]
    assert len(names) > 8
    for name in names:
        path.write_bytes(good)
        rewritten(path, lambda about, parts, name=name: parts.update({name: parts[name][..., None]}))
        with pytest.raises(ValueError, match=r"sweep\.npz is damaged"):
            call()


def test_a_state_of_another_shape_is_refused(tmp_path):
    path = tmp_path / "fit.npz"

    def call(steps: int) -> Any:
        problem = Objective(linear, squared_error, 0.1)
        return fit(problem, (X, Y), descent.adam(0.01), max_steps=steps, checkpoint=path)

    call(5)
    good = path.read_bytes()
    about = json.loads(bytes(parts_of(path)["about"]))
    names = {name: i for i, (name, *_) in enumerate(about["leaves"])}
    weight, step, value = (names[key] for key in ("[0].params.weight", "[0].step", "[1].value"))
    code = names["[0].code"]
    changes: list[tuple[dict[str, Any], str]] = [
        ({f"leaf{weight}": np.zeros(4)}, r"params\.weight: expected shape \(3\), got \(4,\)"),
        ({f"leaf{weight}": np.zeros(3, np.int8)}, "params.weight: expected an array of float"),
        ({f"leaf{step}": np.int32(-1)}, "expected a step of at least 0 and a known code, got -1 and 2"),
        ({f"leaf{code}": np.int32(9)}, "expected a step of at least 0 and a known code, got 5 and 9"),
        ({f"leaf{step}": np.int32(3)}, "expected a history of 4 evaluations, got 6"),
        ({f"leaf{value}": np.zeros(2)}, r"\[1\].value: expected shape \(6\), got \(2,\)"),
    ]
    for parts, message in changes:
        path.write_bytes(good)
        rewritten(path, lambda about, old, parts=parts: old.update(parts))
        with pytest.raises(ValueError, match=rf"checkpoint: .*fit\.npz is damaged, or no .*: .*{message}"):
            call(8)
    for key, edit in itertools.product(("problem", "leaves"), (None, [], "text", {"l2": 3})):
        path.write_bytes(good)
        rewritten(path, lambda about, old, key=key, edit=edit: about.update({key: edit}))
        with pytest.raises(ValueError, match=r"checkpoint: .*fit\.npz is (damaged|of another problem)"):
            call(8)
    path.write_bytes(good)
    assert call(8).steps == 8
