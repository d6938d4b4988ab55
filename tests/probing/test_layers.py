"""Probes of layers: each is that of its features alone, and only the first compiles programs."""

import numpy as np
import pytest
from probe_problems import X, Y, record_of

from dlcore._core.compilation.compilations import Compilations
from dlcore.probing import ProbeSettings, Split, probe_layers, select_penalty

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:C. .* choices are at the edge:dlcore.GridEdgeWarning"),
]

RNG = np.random.default_rng(1)
NAMES = [(layer, position) for layer in range(6) for position in ("first", "last")]
LAYERS = {name: (X + RNG.normal(size=X.shape) * k / 6).astype(np.float32) for k, name in enumerate(NAMES)}
SPLIT = Split(np.arange(0, 90), np.arange(90, 120), np.arange(120, 180))
SETTINGS = ProbeSettings(C=[0.01, 0.1, 1.0], metrics=("accuracy", "log_loss"))


def test_twelve_layers_compile_nothing_after_the_first():
    counts = []

    def features():
        for name, x in LAYERS.items():
            counts.append(compiled.count)
            yield name, x

    with Compilations() as compiled:
        table = probe_layers(features(), Y, SETTINGS, split=SPLIT)
    assert counts[0] == 0
    assert compiled.count == counts[1]
    assert len(table) == 12 * 4
    digests = record_of(table)["sha256_of_layers"]
    assert len(digests) == len(set(digests.values())) == 12
    for (layer, position), x in LAYERS.items():
        cells = table.select(layer=layer, position=position)
        alone = select_penalty(
            (x[:90], Y[:90]), SETTINGS, validation=(x[90:120], Y[90:120]), test=(x[120:], Y[120:])
        )
        for name in alone.columns:
            np.testing.assert_array_equal(cells[name], alone[name])


def test_a_single_penalty_needs_no_validation_rows():
    table = probe_layers(
        [(0, X), (1, X[:, ::-1].copy())],
        Y,
        ProbeSettings(C=1.0),
        split=Split(np.arange(90), test=np.arange(120, 180)),
    )
    assert table["layer"].tolist() == [0, 1]
    np.testing.assert_allclose(table["test_accuracy"][0], table["test_accuracy"][1])


@pytest.mark.parametrize(
    ("layers", "split", "error", "message"),
    [
        ([], SPLIT, ValueError, "layers: expected at least one pair of a name and features, got none"),
        ([(("a", 1, 2), X)], SPLIT, TypeError, "layers: expected a string, an integer or a pair"),
        (
            [("a", X)],
            Split(np.arange(200)),
            ValueError,
            "split.train: expected row numbers from 0 to 179, got 0 to 199",
        ),
        ([("a", X)], Split([0, 0, 1]), ValueError, "split.train: expected each row once, got row 0 2 times"),
        ([("a", X)], Split(np.array([0.5])), ValueError, "split.train: expected row numbers"),
        ([("a", X * np.nan)], SPLIT, ValueError, "layer = a: layer x: expected finite numbers, got nan"),
    ],
)
def test_wrong_layers(layers, split, error, message):
    with pytest.raises(error, match=message):
        probe_layers(layers, Y, ProbeSettings(C=1.0), split=split)
