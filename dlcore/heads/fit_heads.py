"""`fit_heads`: many linear heads over one copy of the features, each with its proof."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Never

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore._core.files import check_path
from dlcore._core.tables import columns
from dlcore.certificate.rows import DataLike
from dlcore.heads.checkpoint import StageCache, problem_of
from dlcore.heads.data.class_weights import ClassWeightLike
from dlcore.heads.data.device_rows import shared
from dlcore.heads.data.folds import FoldsLike, absent_classes, warn_of_absent_classes, warn_of_rare_classes
from dlcore.heads.data.training_data import read_training_data
from dlcore.heads.options import FitOptions
from dlcore.heads.progress import ProgressLike, read_progress
from dlcore.heads.result import Heads
from dlcore.heads.scoring.best_penalty import warn_at_the_edge
from dlcore.heads.scoring.held_out import Scoring, check_held_out, read_scoring
from dlcore.heads.scoring.leave_one_out import NAME, check_leave_one_out
from dlcore.heads.solve_heads import solve_heads

MAX_STEPS = 1000
"""Passes over all rows for one head."""


def fit_heads(
    x: DataLike,
    y: npt.ArrayLike,
    *,
    loss: str = "logistic",
    l2: npt.ArrayLike | None = None,
    C: npt.ArrayLike | None = None,
    alpha: npt.ArrayLike | None = None,
    folds: FoldsLike | None = None,
    groups: npt.ArrayLike | None = None,
    scoring: Scoring | None = None,
    sample_weight: npt.ArrayLike | None = None,
    class_weight: ClassWeightLike | None = None,
    validation: Sequence[DataLike] | None = None,
    fit_intercept: bool = True,
    standardize: bool = False,
    tol: float = 1e-6,
    max_steps: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: ProgressLike = None,
    **other: Never,
) -> Heads:
    r"""Fit linear heads of every strength and fold over one copy of the features, and certify each.

    Head k minimises $J(w, b) = \frac1S\sum_i s_i\ell_i + \frac{\lambda_k}2\|w\|^2$, $S = \sum_i s_i$; the
    intercept is not penalised. It has converged where its certificate proves $J - J^* \le
    \mathrm{tol}\cdot\min(\max(J, 10^{-3}J_0), E)$, with $J_0$ the objective of the best constant and E what the
    head improves, see `Certificate.gap_tol`. The squared loss is solved exactly from one factorisation per fold.
    L-BFGS with a shared preconditioner fits the other losses, and Newton's method the few heads that it leaves
    short of their tolerance. The compiled programs know neither strengths nor folds. The last gradients are
    float64 where float32 is not enough, whatever JAX's x64 mode. Another sweep of as many strengths and folds over
    data of the same shape compiles nothing, but for a program that only what float32 cannot solve, or scores that
    round too much, ask for: the first time it is needed.

    Args:
      x: shape (n, m), any real dtype, kept as it is and read block by block in float64: NumPy, also on disk, JAX,
        torch or whatever lends its memory; or a sparse table of SciPy's, which is dense on the device alone. The
        names of the columns of a data frame, if they are strings, are kept.
      y: shape (n,) or (n, targets): labels of two classes for "logistic", any numbers for "squared", counts or
        rates of at least 0 for "poisson"; for "softmax" shape (n,), labels of two or more classes. Labels are
        strings, booleans or whole numbers; the larger of two is the positive one. `Heads.classes_` keeps them.
        Or soft labels: for "logistic" numbers in [0, 1], some of them between 0 and 1, the probabilities of class
        1; for "softmax" floating-point numbers of shape (n, classes), whose rows sum to 1 and are divided by their
        sums. Their scores are "log_loss", "brier" or a function. They have no class weights, and an integer of
        folds does not stratify.
      loss: "logistic", "softmax", "squared" or "poisson", half the deviance of counts with the rates e^z.
      l2: λ, a number or several, at least 0. Or a table (folds, l2) with strengths for each fold; those on all
        rows then keep C: λ·S is the mean of λ_f·S_f.
      C: in place of `l2`, scikit-learn's of logistic regression: λ = 1/(C·S), in a fold with the S of its rows. It
        is above 0; infinity is λ = 0.
      alpha: in place of `l2`, that of scikit-learn's Ridge, λ = 2·alpha/S, or of its PoissonRegressor, λ = alpha.
      folds: None; an integer, scikit-learn's StratifiedKFold (KFold for numbers or many targets), not shuffled;
        0/1 weights of shape (folds, n), 1 where a row trains, scored on the others; a splitter of scikit-learn,
        or pairs (rows that train, rows that are scored). "leave-one-out" for the squared loss: every
        row by the others, from the one factorisation of all rows, at the alpha of all rows as RidgeCV has it: the
        others' λ is λ·S/(S − sᵢ). One row of scores is of all rows together. At λ = 0 the shortest solution of the
        others predicts a row. There are no fits of folds to certify. A standardised σ is that of all rows.
      groups: shape (n,), numbers or strings, for an integer or a splitter as `folds`: no group both trains and
        scores a fold. An integer is then scikit-learn's GroupKFold; a splitter gets the groups as numbers from 0.
      scoring: of the folds or the validation set, larger is better; rows count with `sample_weight`. The names are
        metrics of `dlcore.metrics`. Classifiers have "log_loss" (the default), "brier" and
        "expected_calibration_error", all three negative, "accuracy", "balanced_accuracy", "f1_macro", "f1_micro",
        "average_precision" and "average_precision_voc2007". The logistic loss also has "roc_auc". The softmax also
        has "roc_auc_ovr", the mean over the classes of each against the others, "roc_auc_micro",
        "average_precision_micro", and "top_2_accuracy", also for 3, 5 and 10. The squared loss has "r2" (the
        default) and "pearson_r", 0 for a constant; "poisson" has "d2" (the default) and "poisson_deviance",
        negative. Or a function of (y, prediction, weights) of the rows of
        positive weight that are held out, for every fold, strength and target: float64 NumPy, (n,) each, labels as
        their index in `classes_`. The prediction is the probability of class 1, of all classes (n, classes), the
        number or the rate; the weights are as given, without those of classes, or 1. It answers a finite number.
      sample_weight: shape (n,), s; None weighs every row 1.
      class_weight: what the rows of a class weigh besides, in every J but in no score: a dictionary with a
        positive number for every label; or "balanced", S/(K·S_k) for class k of K, over all rows and for each
        target, as scikit-learn has it. S then counts them too, and `certify` takes s times them as weights.
      validation: in place of folds, (x, y) or (x, y, weights): the heads are fitted on all rows and scored here:
        one row of scores.
      fit_intercept: whether b is fitted; else it is 0.
      standardize: whether the penalty is of the weights of standardised columns, $\frac{\lambda_k}2\sum_j
        (\sigma_jw_j)^2$, σ the deviations that s gives over the rows that train the fit or fold, 1 for a constant
        column. Weights and `certify` stay those of the columns as given; without an intercept none is centred.
        Subnormal numbers of x count as 0 where the device has none: their column is constant.
      tol: see above.
      max_steps: the most passes over all rows for one head, by default 1000.
      checkpoint: the path of a file. It is written as stages are done, taking at most a twentieth of the time, and
        when the call is broken off; called again with the same arguments, fit_heads goes on behind the last stage
        that is in it: some strengths with their folds (a cross-entropy), a fold (squared), and the certificates.
        The result has the bits of an unbroken call on the same machine and versions. It is kept at the end.
      progress: True prints a line on standard error after two seconds, with the heads done, the worst certified
        gap and the seconds left; False prints none. None, the default, prints it on a terminal alone. Or a
        function, which is called with a `HeadsProgress`. An error that it raises ends the call, as Ctrl-C does:
        what is in the checkpoint stays.
      **other: none; one by the name of another library, such as max_iter, is refused with the name here.

    Returns:
      `Heads`, float64 NumPy, in the order of `l2`, with an axis of targets in front where y has one. No head is
      returned without its certificate: a status other than converged says why it proves less, or that no row of a
      fold trains one of the classes, to which its softmax head gives the probability 0. At l2 = 0 a cross-entropy
      is converged by the curvature. Without an optimum it is `separable`, where the head puts every row on its
      side, or `quasi-separable`, where a hyperplane touches the classes; `certificate.bound` names the columns.
      Else it is `unproven`. Not differentiable.

    Raises:
      ValueError: if shapes do not fit; a value is not finite, or its square is beyond the range of float64 where
        squares are needed: of x, unless it is standardised for a cross-entropy, and of the numbers y; labels are
        not 0 and 1 (0, 1, … of classes), or all of one class; a weight or strength is negative, or all weights are
        0; a fold trains or is scored on no row, trains on one class, or without an intercept not on all, or, to be
        ranked, is scored on fewer than all; a class has no weight or is unknown; columns of a validation set have
        other names; `tol` is not above 0; a choice is unknown; a function's score is not finite; or a checkpoint
        is damaged or of other arguments.
      TypeError: if something is not an array of real numbers (Python's own, as objects, are converted), l2 is not
        given, some names of columns are strings and others not, or `max_steps` is no integer, a choice not True or
        False, `progress` neither these, None nor a function, a function's score no real number, or a path none.

    Warns:
      GridEdgeWarning: if the best of three strengths or more is the weakest, and not 0, or the strongest.
      UserWarning: if a class has fewer rows than an integer of folds, or a fold is scored on a class that it does
        not train on. The log loss of such a fold is infinite; the other folds choose the best strength.

    Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, sections 3.4.1 and 4.4.1;
    Nocedal and Wright, Numerical Optimization, section 3.3 (Newton with line search).

    >>> import numpy as np
    >>> x = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> heads = fit_heads(x, np.array([0, 0, 1, 0, 1, 1]), l2=[0.01, 0.1, 1.0, 10.0], folds=2)
    >>> print(heads.coef.shape, heads.scores.shape, *heads.status)
    (4, 1) (2, 4) converged converged converged converged
    >>> ridge = fit_heads(x, 2 * x[:, 0] + 1, loss="squared", l2=0.0)
    >>> print(ridge.coef.round(6), ridge.intercept.round(6))
    [[2.]] [1.]
    """
    host_checks.reject_unknown_arguments(
        "fit_heads", other, X="x", weights="sample_weight", cv="folds", max_iter="max_steps", metric="scoring"
    )
    names = columns.feature_names("x", x)
    if isinstance(validation, tuple | list) and validation:
        held_names = columns.feature_names("validation x", validation[0])
        order = columns.column_order("validation x", held_names, names, "x.columns")
        if order is not None:
            held = host_checks.as_numpy_or_sparse("validation x", validation[0])
            validation = (columns.take_columns(held, order), *validation[1:])
    x = shared(x)
    left_out = isinstance(folds, str) and folds == NAME
    of_fits = None if left_out else folds
    inputs = read_training_data(
        x,
        y,
        loss=loss,
        penalties={"l2": l2, "C": C, "alpha": alpha},
        folds=of_fits,
        groups=groups,
        sample_weight=sample_weight,
        class_weight=class_weight,
        validation=validation,
        standardize=standardize,
        fit_intercept=fit_intercept,
    )
    record = inputs.loss
    if left_out:
        check_leave_one_out(inputs, record)
    scoring = read_scoring(scoring, record)
    check_held_out(scoring, record, inputs)
    host_checks.check_number("tol", tol, above=0)
    max_steps = MAX_STEPS if max_steps is None else host_checks.check_count("max_steps", max_steps)
    path = None if checkpoint is None else check_path("checkpoint", checkpoint)
    reporter = read_progress(progress)
    fit_options = FitOptions(record.name, scoring, left_out, bool(fit_intercept), float(tol), max_steps)
    problem = {} if path is None else problem_of(inputs, **fit_options.problem())
    if record.is_classifier and inputs.y.ndim == 1:
        warn_of_rare_classes(of_fits, inputs.y, inputs.classes, stacklevel=2)
    if record.has_classes and record.is_classifier:
        train, test = inputs.train[1:], inputs.test[1:]
        absent = absent_classes(train, test, inputs.weight, inputs.y, inputs.classes)
        warn_of_absent_classes(absent, len(train), scoring, stacklevel=2)
    heads, _ = solve_heads(inputs, x, fit_options, StageCache(path, problem, reporter))
    if heads.scores is not None and heads.best is not None and np.isfinite(heads.scores).any():
        warn_at_the_edge(heads.best, heads.l2, stacklevel=2)
    known = names is not None and len(names) == heads.coef.shape[-1]
    return dataclasses.replace(heads, feature_names=names if known else None, classes_=inputs.classes)
