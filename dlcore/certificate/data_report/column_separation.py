r"""Quasi-separation by one column: a threshold that touches the classes and crosses none.

For a threshold c let P be the classes with rows above c and N those with rows below. A direction that is 1 for the
classes of P, −1 for those of N and 0 for the rest has no negative margin if no class is in both. It has a positive
margin if P or N is neither empty nor all classes. This search does not start at a head. Newton's method from a
head may miss these directions. With at most 32 classes, the search finds a column whenever one column
quasi-separates the classes. With more classes, it tries only the smallest and the largest number of each column.

One-hot columns and pixels that are 0 in all rows but a few are the usual case.

Source: Albert and Anderson (1984), On the existence of maximum likelihood estimates in logistic regression models.
"""

import numpy as np

from dlcore.certificate.rows import TrainingData, index_slices

MAX_THRESHOLDS = 64
"""Maximum number of thresholds of a column.

If there are more, only the smallest and the largest number of the column are tried.
"""


def quasi_separating_column(
    data: TrainingData, logits: int, *, fit_intercept: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a direction of one column that quasi-separates the classes, or None if no column does.

    Args:
      data: rows of classes 0, 1, … with one set of weights. Rows of weight 0 are ignored.
      logits: the number of logits of a row, 1 for the sigmoid.
      fit_intercept: whether the threshold is free. Without an intercept it is 0.

    Returns:
      Coefficients (logits, m) and intercepts (logits,).
    """
    features = data.x.shape[1]
    lowest = np.full((max(logits, 2), features), np.inf)
    highest = np.full((max(logits, 2), features), -np.inf)
    for block in index_slices(len(data.x), features):
        rows, labels = data.weighted_block(block)
        for label in np.unique(labels):
            class_rows = rows[labels == label]
            lowest[label] = np.minimum(lowest[label], class_rows.min(0))
            highest[label] = np.maximum(highest[label], class_rows.max(0))
    present = np.isfinite(lowest).any(1)
    thresholds = np.vstack([lowest[present], highest[present]]) if fit_intercept else np.zeros((1, features))
    if len(thresholds) > MAX_THRESHOLDS:
        thresholds = np.stack([thresholds.min(0), thresholds.max(0)])
    for threshold in thresholds:
        above, below = highest > threshold, lowest < threshold
        crossed = (above & below).any(0)
        positive = (above.any(0) & ~above[present].all(0)) | (below.any(0) & ~below[present].all(0))
        columns = np.flatnonzero(~crossed & positive)
        if len(columns):
            j = columns[0]
            sign = above[:, j].astype(float) - below[:, j].astype(float)
            return _direction(sign, float(threshold[j]), j, features, logits, fit_intercept=fit_intercept)
    return None


def _direction(
    sign: np.ndarray, threshold: float, column: int, features: int, logits: int, *, fit_intercept: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients and intercepts of sign·(x − threshold) in one column.

    For the sigmoid they are those of class 1.
    """
    if logits == 1:
        sign = np.array([sign[1] if sign[1] else -sign[0]])
    coef = np.zeros((len(sign), features))
    coef[:, column] = sign
    return coef, -sign * threshold if fit_intercept else np.zeros(len(sign))
