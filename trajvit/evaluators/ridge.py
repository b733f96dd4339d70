"""A linear probe with a closed form, for features that are there already."""

import numpy as np


def ridge_accuracy(
  features: np.ndarray,
  labels: np.ndarray,
  test_features: np.ndarray,
  test_labels: np.ndarray,
  *,
  penalty: float = 1e-2,
) -> float:
  """Returns how often ridge regression on one-hot classes finds the class.

  Features are standardised by those of training, and a constant is added. It
  has no step size, no seed and no number of steps, so that methods are compared
  by their features alone.

  Args:
    features: [n, D] float.
    labels: [n] integers; negative = unknown, left out.
    test_features: [m, D].
    test_labels: [m], likewise.
    penalty: of the squared weights, times the number of clips.

  Returns:
    Percent of the test clips of a known class.

  Raises:
    ValueError: no clip of a known class on one of the sides.
  """
  train, test = labels >= 0, test_labels >= 0
  if not train.any() or not test.any():
    raise ValueError(
      f"a probe needs clips of a known class, got {train.sum()} to train on "
      f"and {test.sum()} to test"
    )
  found = ridge_classes(
    features[train], labels[train], test_features[test], penalty=penalty
  )
  return 100.0 * float((found == test_labels[test]).mean())


def ridge_classes(
  features: np.ndarray,
  labels: np.ndarray,
  test_features: np.ndarray,
  *,
  penalty: float = 1e-2,
) -> np.ndarray:
  """Returns the classes that the regression of `ridge_accuracy` names, [m].

  Args:
    features: [n, D] float.
    labels: [n] integers, all known.
    test_features: [m, D].
    penalty: of the squared weights, times the number of clips.
  """
  features = features.astype(np.float64)
  mean, deviation = features.mean(0), features.std(0) + 1e-6

  def standardised(x):
    x = (x.astype(np.float64) - mean) / deviation
    return np.hstack([x, np.ones((len(x), 1))])

  x = standardised(features)
  classes = np.unique(labels)
  target = (labels[:, None] == classes).astype(np.float64)
  regular = penalty * len(x) * np.eye(x.shape[1])
  weights = np.linalg.solve(x.T @ x + regular, x.T @ target)
  return classes[(standardised(test_features) @ weights).argmax(1)]
