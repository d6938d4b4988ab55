"""`fit_heads`: many linear heads over one copy of the features, each with its certificate."""

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
from dlcore.heads.data.device_rows import share_with_jax
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
    intercept is not penalised. A head has converged if its certificate proves $J - J^* \le
    \mathrm{tol}\cdot\min(\max(J, 10^{-3}J_0), E)$. $J_0$ is the objective of the best constant prediction. E is
    the improvement $\max(J_0 - J, \frac{\lambda_k}2\|w\|^2)$, see `Certificate.gap_tol`.

    The squared loss is solved exactly from one factorisation per fold. L-BFGS fits the other losses, with one
    preconditioner for all heads. Newton's method continues the few heads that L-BFGS does not bring to the
    tolerance. Passes are made in float64 where float32 does not reach the tolerance, whatever JAX's x64 mode.

    Strengths and folds are data of the compiled programs: other values compile nothing. A later call with the same
    shapes, and as many strengths and folds, compiles nothing new. Exceptions are programs that only some heads
    need, such as passes in float64 or r2 from the rows. Each compiles when a head first needs it.

    Args:
      x: shape (n, m), any real dtype: an array of NumPy (also memory-mapped), JAX, torch or another library with
        DLPack. Its memory is shared where the device can read it. Or a sparse table of SciPy's, which becomes
        dense on the device only. The names of the columns of a data frame, if they are strings, are kept.
      y: shape (n,) or (n, targets): labels of two classes for "logistic", any numbers for "squared", counts or
        rates of at least 0 for "poisson"; for "softmax" shape (n,), labels of two or more classes. Labels are
        strings, booleans or whole numbers; the larger of two is the positive one. `Heads.classes_` keeps them.
        Soft labels are accepted too: for "logistic" numbers in [0, 1], some of them between 0 and 1, the
        probabilities of class 1; for "softmax" floating-point numbers of shape (n, classes), whose rows sum to 1
        and are divided by their sums. Soft labels are scored by "log_loss", "brier" or a function. With soft
        labels `class_weight` must be None, and an integer `folds` does not stratify.
      loss: "logistic", "softmax", "squared" or "poisson", half the deviance of counts with the rates e^z.
      l2: λ, a number or several, at least 0. A table of shape (folds, l2) gives each fold its strengths. The λ of
        the fit on all rows is then the mean of λ_f·S_f over the folds, divided by S.
      C: the C of scikit-learn's LogisticRegression, in place of `l2`: λ = 1/(C·S). S is the sum of the weights
        that train the fit. C must be above 0; C = ∞ gives λ = 0.
      alpha: in place of `l2`, that of scikit-learn's Ridge, λ = 2·alpha/S, or of its PoissonRegressor, λ = alpha.
      folds: None; an integer, scikit-learn's StratifiedKFold (KFold for numbers or many targets), not shuffled;
        0/1 weights of shape (folds, n), 1 where a row trains, scored on the others; a splitter of scikit-learn,
        or pairs (rows that train, rows that are scored). "leave-one-out", for the squared loss, predicts each row
        by a fit on the remaining rows, from one factorisation. As in RidgeCV, alpha stays the same, so that row i
        has λ·S/(S − sᵢ). `scores` has one row. At λ = 0 the prediction is that of the shortest solution. No fits
        of folds are certified. A standardised σ is that of all rows.
      groups: shape (n,), numbers or strings, for an integer or a splitter as `folds`. An integer is then
        scikit-learn's GroupKFold, in which no group both trains and scores a fold. A splitter gets the groups as
        numbers from 0.
      scoring: the score of the held-out rows. Larger is better. Rows are weighted by `sample_weight`. The names
        are metrics of `dlcore.metrics`. Classifiers have "log_loss" (the default), "brier" and
        "expected_calibration_error", all three negative, "accuracy", "balanced_accuracy", "f1_macro", "f1_micro",
        "average_precision" and "average_precision_voc2007". The logistic loss also has "roc_auc". The softmax also
        has "roc_auc_ovr", the mean over the classes of each against the others, "roc_auc_micro",
        "average_precision_micro", and "top_2_accuracy", also for 3, 5 and 10. The squared loss has "r2" (the
        default) and "pearson_r", 0 for a constant; "poisson" has "d2" (the default) and "poisson_deviance",
        negative. A function (y, prediction, weights) → float is called for each fold, strength and target, with
        the held-out rows of positive weight. The arguments are float64 NumPy of shape (n,). Labels are indices
        into `classes_`. The prediction is the probability of class 1, the probabilities (n, classes) of a softmax
        head, the number, or the rate. The weights are `sample_weight`, or 1. The function returns a finite number.
      sample_weight: shape (n,), s; None weighs every row 1.
      class_weight: factors of the weights of each class, in J only and not in the scores: a dictionary with a
        positive number for every label; or "balanced", S/(K·S_k) for class k of K, over all rows and for each
        target, as scikit-learn has it. S includes the factors. Pass s times the factors as weights to `certify`.
      validation: (x, y) or (x, y, weights), in place of folds. Heads are fitted on all rows of `x` and scored on
        these rows. `scores` has one row.
      fit_intercept: whether b is fitted; else it is 0.
      standardize: whether the penalty is of the coefficients of standardised columns, $\frac{\lambda_k}2\sum_j
        (\sigma_jw_j)^2$. σ_j is the weighted standard deviation of column j over the rows that train the fit, and
        1 for a constant column. Coefficients and certificates refer to the columns as given. Without an intercept
        columns are not centered. Subnormal numbers of x count as 0 where the device has none: their column is
        constant.
      tol: see above.
      max_steps: the most passes over all rows for one head, by default 1000.
      checkpoint: the path of a file. The file is written after stages, in at most a twentieth of the time, and
        when an error ends the call. A call with the same arguments continues after the stored stages. A stage is a
        group of strengths with their folds, a fit of the squared loss, or a certificate. The result has the bits
        of an unbroken call on the same machine and versions. The file is kept at the end.
      progress: True prints a line on standard error after two seconds, with the heads done, the worst certified
        gap and the seconds left; False prints none. None, the default, prints the line only if standard error is a
        terminal. Or a function, which is called with a `HeadsProgress`. An error that it raises ends the call, as
        Ctrl-C does: what is in the checkpoint stays.
      **other: accepts nothing. An argument name of another library, such as `max_iter`, raises an error with the
        name that `fit_heads` uses.

    Returns:
      `Heads`, float64 NumPy, in the order of `l2`, with an axis of targets in front where y has one. Every head
      has a certificate. A status other than converged gives the reason why the certificate proves less. "class
      absent" means that a fold trains on no row of some class; the softmax head gives that class probability 0. At
      l2 = 0 the curvature certifies the heads of the iterative losses. If no optimum exists, the status is
      `separable` (the head classifies every row correctly) or `quasi-separable` (a hyperplane touches the
      classes); `certificate.bound` names the columns. Otherwise the status is `unproven`. `fit_heads` is not
      differentiable.

    Raises:
      ValueError: if one of these holds.

        - Shapes do not fit, or a value is not finite.
        - A sum of squares is beyond the range of float64: of x, unless it is standardised and the loss is not the
          squared, or of y for the squared loss.
        - A label is missing or no whole number, y has one class only, or a logistic y has more than two.
        - A weight or strength is negative, or all weights are 0.
        - A fold trains or is scored on no row, or trains on one class.
        - A fold lacks a class that it needs: without an intercept in training, with a ranking score in scoring.
        - A class has no weight, or is unknown.
        - Columns of a validation set have other names.
        - `tol` is not above 0, a choice is unknown, or a function's score is not finite.
        - A checkpoint is damaged, or belongs to other arguments.
      TypeError: if one of these holds.

        - Something is not an array of real numbers. Python's numbers, as objects, are converted.
        - Labels mix strings and numbers, or are of another kind, such as dates.
        - None or several of l2, C and alpha are given, or one that the loss does not take.
        - Some names of columns are strings and others are not.
        - `max_steps` is no integer, a choice is not True or False, or `checkpoint` is no path.
        - `progress` is not True, False, None or a function, or a function's score is no real number.

    Warns:
      GridEdgeWarning: if the best of three strengths or more is the weakest, and not 0, or the strongest.
      UserWarning: if a class has fewer rows than an integer `folds`, or a fold is scored on a class that it does
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
    x = share_with_jax(x)
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
        check_leave_one_out(inputs)
    scoring = read_scoring(scoring, record)
    check_held_out(scoring, inputs)
    host_checks.check_number("tol", tol, above=0)
    max_steps = MAX_STEPS if max_steps is None else host_checks.check_count("max_steps", max_steps)
    path = None if checkpoint is None else check_path("checkpoint", checkpoint)
    reporter = read_progress(progress)
    fit_options = FitOptions(scoring, left_out, bool(fit_intercept), float(tol), max_steps)
    problem = {} if path is None else problem_of(inputs, **fit_options.problem(record))
    if record.is_classifier and inputs.y.ndim == 1:
        warn_of_rare_classes(of_fits, inputs.y, inputs.classes, stacklevel=2)
    if record.has_classes and record.is_classifier:
        train, test = inputs.train[1:], inputs.test[1:]
        absent = absent_classes(train, test, inputs.weight, inputs.y, inputs.classes)
        warn_of_absent_classes(absent, len(train), scoring, stacklevel=2)
    heads, _ = solve_heads(inputs, x, fit_options, StageCache(path, problem, reporter))
    if heads.scores is not None and np.isfinite(heads.scores).any():
        warn_at_the_edge(heads.best, heads.l2, stacklevel=2)
    known = names is not None and len(names) == heads.coef.shape[-1]
    return dataclasses.replace(heads, feature_names=names if known else None, classes_=inputs.classes)
