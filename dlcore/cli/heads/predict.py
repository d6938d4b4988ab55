"""Command `dlcore predict`: the predictions of a model for the rows of a table."""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import tyro

from dlcore._core.files import atomic_writer, check_path
from dlcore.cli.heads.options import CONFIG, command
from dlcore.data import Dataset, read
from dlcore.data.read import open_source
from dlcore.export import Model, load_model

SUFFIXES = (".parquet", ".csv")
EXAMPLE = "Example: dlcore predict houses new_houses.csv --out predictions.csv"


@dataclasses.dataclass
class Options:
    """Options of the command."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """Folder that dlcore fit has written, or a model.safetensors"""
    data: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATA")]
    """File or folder with the columns of the fit"""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File for the predictions, .csv or .parquet; standard output by default"""
    drop_missing: bool = False
    """Leave out rows with missing values"""


def run(arguments: Sequence[str]) -> None:
    """Predict every row and write a table: the row, the prediction and the probabilities of classes."""
    options = tyro.cli(
        Options,
        prog="dlcore predict",
        args=list(arguments),
        description=f"Predict the rows of a table with a model of dlcore fit. {EXAMPLE}",
        config=CONFIG,
    )
    with command():
        out = None if options.out is None else check_path("--out", options.out)
        if out is not None and out.suffix.lower() not in SUFFIXES:
            raise ValueError(f"--out: expected a file that ends with .csv or .parquet, got {str(options.out)!r}")
        table = predictions(load_model(options.model, l2=0.0), options.data, drop_missing=options.drop_missing)
        file = io.BytesIO()
        if out is not None and out.suffix.lower() == ".parquet":
            pq.write_table(table, file)
        else:
            pyarrow.csv.write_csv(table, file)
        if out is None:
            print(file.getvalue().decode(), end="")
        else:
            with atomic_writer(out) as target:
                target.write(file.getvalue())


def predictions(model: Model, data: Path, *, drop_missing: bool = False) -> pa.Table:
    """Return the table of predictions of a file: row, prediction, and p_LABEL for each class."""
    rows = read_features(model, data, drop_missing=drop_missing)
    numbers = np.setdiff1d(np.arange(len(rows) + len(rows.dropped)), rows.dropped)
    columns = {"row": numbers, "prediction": model.predict(rows.features)}
    if model.loss in ("logistic", "softmax"):
        p = model.predict_proba(rows.features)
        labels = range(p.shape[1]) if model.classes_ is None else model.classes_.tolist()
        columns |= {f"p_{label}": p[:, k] for k, label in enumerate(labels)}
    return pa.table(columns)


def read_features(model: Model, data: Path, *, drop_missing: bool) -> Dataset:
    """Return the features of a model in its order. Other columns of the table are not read.

    Raises:
      ValueError: if the table lacks a column of the model.
    """
    names = model.feature_names
    if names is None:
        return read(data, drop_missing=drop_missing)
    present = set(open_source(data).names)
    chosen = [name if name in present else name.rpartition("[")[0] or name for name in names]
    found = read(data, features=list(dict.fromkeys(chosen)), drop_missing=drop_missing)
    if found.names != names:
        raise ValueError(
            f"{data}: expected the columns of the model, {len(names)} features, got {len(found.names)}"
        )
    return found
