"""Command `dlcore certify`: how far anybody's model is from the optimum of its objective."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from dlcore.certificate import Certificate, certify
from dlcore.certificate.display import to_plain
from dlcore.cli import interrupts
from dlcore.cli.console import print_result
from dlcore.cli.heads.class_weight import class_weight_json, class_weight_text, read_class_weight, total_weight
from dlcore.cli.heads.options import CONFIG, DataOptions, LossName, command, read_split
from dlcore.data import Dataset
from dlcore.export import Model, load_model

EXAMPLE = "Example: dlcore certify theirs.npz houses.parquet --target price --loss squared --l2 0.01"


@dataclasses.dataclass
class ModelOption:
    """The first argument of the command."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """Folder of dlcore fit, or coefficients in .safetensors or .npz"""


@dataclasses.dataclass
class Options(DataOptions, ModelOption):
    """Options of the command. The rows that a split holds out are not part of the objective."""

    loss: LossName = "auto"
    """Loss of a model of another origin"""
    l2: float | None = None
    """Penalty of a model of another origin"""
    C: float | None = None
    """In place of l2, C of scikit-learn"""
    class_weight: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WEIGHT ...")] = ()
    """Class weights of a model of another origin: balanced, or NAME=WEIGHT for each"""
    tol: float = 1e-6
    """Relative tolerance"""
    tight: bool = False
    """Compute the bound by curvature too"""
    json: bool = False
    """Print JSON"""


def run(arguments: Sequence[str]) -> None:
    """Certify a model and print its bound; exit with 1 if the bound exceeds the tolerance."""
    options = tyro.cli(
        Options,
        prog="dlcore certify",
        args=list(arguments),
        description=f"Bound how far a model is from the optimum of its objective. {EXAMPLE}",
        config=CONFIG,
    )
    with command():
        model, certificate = certify_file(options)
    answer = describe(model, certificate, options.tol)
    if options.json:
        print_result(answer)
    else:
        print(_text(model, certificate, answer))
    if not answer["converged"]:
        interrupts.fail(f"dlcore certify: the model is not certified to --tol {options.tol:g}", interrupts.FAILED)


def certify_file(options: Options) -> tuple[Model, Certificate]:
    """Read a model and the rows that trained it, and return its certificate."""
    train, _, loss = read_split(options, options.loss)
    target = np.asarray(train.target)
    class_weight = read_class_weight(options.class_weight, train, loss)
    l2 = options.l2
    if options.C is not None:
        if l2 is not None:
            raise ValueError("--C: expected --l2 or --C, got both")
        if not options.C > 0:
            raise ValueError(f"--C: expected a number above 0, got {options.C}")
        l2 = 1 / (options.C * total_weight(class_weight, train))
    model = load_model(options.model, loss=loss, l2=l2)
    if model.classes_ is None and model.loss in ("logistic", "softmax"):
        model = dataclasses.replace(model, classes_=np.unique(target))
        count = 2 if model.loss == "logistic" else len(model.coef)
        if len(np.unique(target)) != count:
            raise ValueError(f"target: expected {count} classes, as the model has, got {len(np.unique(target))}")
    if model.feature_names is None:
        model = dataclasses.replace(model, feature_names=train.names)
    _check_features(model, train)
    if class_weight is not None:
        model = _with_class_weight(model, class_weight, target)
    return model, certify(model, train.features, target, train.weight, tight=options.tight)


def _with_class_weight(model: Model, class_weight: np.ndarray, target: np.ndarray) -> Model:
    """Return a model of another origin with class weights. A model of dlcore has its own, and refuses others."""
    if model.versions:
        raise ValueError("--class-weight: expected none, because a model of dlcore knows its objective")
    if not np.array_equal(np.unique(target), np.asarray(model.classes_)):
        raise ValueError("--class-weight: expected rows of every class of the model")
    return dataclasses.replace(model, class_weight=class_weight)


def _check_features(model: Model, train: Dataset) -> None:
    """Raise a `ValueError` if the features are not those of the model."""
    names = model.feature_names or ()
    if len(names) != len(train.names) or model.coef.shape[-1] != len(names):
        raise ValueError(
            f"features: expected {model.coef.shape[-1]} columns, as the model has, got {len(train.names)}"
        )
    for name, other in zip(names, train.names, strict=True):
        if name != other:
            raise ValueError(f"features: expected the columns of the model, {name!r}, got {other!r}")


def describe(model: Model, certificate: Certificate, tol: float) -> dict[str, Any]:
    """Return the certificate as values of JSON, with the gap relative to what the model improves."""
    scale = certificate.gap_tol(1.0)
    content = {
        "loss": model.loss,
        "l2": model.l2,
        "class_weight": class_weight_json(model),
        "value": certificate.value,
        "gap": certificate.gap,
        "relative_gap": certificate.gap / scale if scale else None,
        "rounding": certificate.rounding,
        "gradient_norm": certificate.gradient_norm,
        "bound": certificate.bound,
        "tol": tol,
        "converged": bool(certificate.gap <= certificate.gap_tol(tol)),
    }
    plain = to_plain(content)
    assert isinstance(plain, dict)
    return plain


def _text(model: Model, certificate: Certificate, answer: dict[str, Any]) -> str:
    classes = "" if model.class_weight is None else f", class weights {class_weight_text(model)}"
    relative = "not known" if answer["relative_gap"] is None else f"{answer['relative_gap']:.2g}"
    lines = [
        ("model", f"{model.loss}, l2 {model.l2:.4g}{classes}, {model.coef.size} coefficients"),
        ("value", f"J = {certificate.value:.10g}"),
        ("gap", f"J − J* ≤ {certificate.gap:.3g}, of which rounding {certificate.rounding:.1g}"),
        ("relative", f"{relative} of min(J, what the model improves on a constant)"),
        ("gradient", f"‖∇J‖ = {certificate.gradient_norm:.3g}"),
        ("bound", str(certificate.bound)),
    ]
    return "\n".join(f"{name:10} {text}" for name, text in lines)
