"""The Fréchet distance of two sets of features, from sums over the sets.

Source: FID, arXiv:1706.08500, and with features of clips FVD, arXiv:1812.01717.
On the host, in NumPy's float64: accelerators have no fast one, and covariances
of correlated features need it. Sums of parts add up to those of the whole, so
that every batch, and every host, brings its own.
"""

import dataclasses
from typing import NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class FeatureSums:
  """Sums over a set of features; `a + b` are those of both sets together.

  Attributes:
    count: n.
    total: [C] float64, the sum of the features.
    outer: [C, C] float64, the sum of their outer products.
  """

  count: int
  total: np.ndarray
  outer: np.ndarray

  @classmethod
  def empty(cls, width: int) -> "FeatureSums":
    """Returns the sums over no feature of `width` channels."""
    return cls(0, np.zeros(width), np.zeros((width, width)))

  @classmethod
  def of(
    cls, features: np.ndarray, valid: np.ndarray | None = None
  ) -> "FeatureSums":
    """Returns the sums over a batch.

    Args:
      features: [n, C] float.
      valid: [n] bool, False for rows that are not to be read; None: all are.

    Raises:
      ValueError: another number of axes.
      FloatingPointError: a feature that is read is not finite.
    """
    x = np.asarray(features)
    if x.ndim != 2:
      raise ValueError(f"features must be [n, C], got {list(x.shape)}")
    x = (x if valid is None else x[np.asarray(valid)]).astype(np.float64)
    if not np.isfinite(x).all():
      raise FloatingPointError("a feature is not finite")
    return cls(len(x), x.sum(0), x.T @ x)

  def __add__(self, other: "FeatureSums") -> "FeatureSums":
    if self.total.shape != other.total.shape:
      raise ValueError(
        "features must have as many channels, "
        f"got {len(self.total)} and {len(other.total)}"
      )
    return FeatureSums(
      self.count + other.count,
      self.total + other.total,
      self.outer + other.outer,
    )

  def moments(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean [C] and the unbiased covariance [C, C].

    Raises:
      ValueError: fewer than two features.
    """
    if self.count < 2:
      raise ValueError(f"a covariance needs 2 features, got {self.count}")
    mean = self.total / self.count
    scatter = self.outer - np.outer(self.total, mean)
    return mean, (scatter + scatter.T) / (2 * (self.count - 1))


class Frechet(NamedTuple):
  """A distance, and how far rounding may have moved it.

  Attributes:
    distance: at least 0.
    imaginary: of the trace of the square root that the distance has: 0, but for
      rounding, which leaves eigenvalues below 0. Worth a word above 1e-3.
  """

  distance: float
  imaginary: float


def frechet_distance(x: FeatureSums, y: FeatureSums) -> Frechet:
  """Returns the squared Fréchet distance of two normal distributions.

  |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)), m and S the mean and covariance of
  each set. S S' has the eigenvalues of the symmetric R S' R, R = S^(1/2), whose
  roots add up to the trace. With fewer features than channels it depends much
  on how many there are: compare sets of one size, and see `split_distance`.

  Args:
    x: sums over at least two features.
    y: likewise, of as many channels.

  Raises:
    ValueError: a set has fewer than two features, or they differ in channels.
  """
  (mean_x, of_x), (mean_y, of_y) = x.moments(), y.moments()
  if mean_x.shape != mean_y.shape:
    raise ValueError(
      "features must have as many channels, "
      f"got {len(mean_x)} and {len(mean_y)}"
    )
  values, vectors = np.linalg.eigh(of_x)
  root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
  product = root @ of_y @ root
  product = np.linalg.eigvalsh((product + product.T) / 2)
  trace = np.sqrt(np.maximum(product, 0)).sum()
  distance = np.square(mean_x - mean_y).sum()
  distance += np.trace(of_x) + np.trace(of_y) - 2 * trace
  imaginary = np.sqrt(np.maximum(-product, 0)).sum()
  return Frechet(max(float(distance), 0.0), float(imaginary))


def split_distance(
  features: np.ndarray, *, groups: np.ndarray | None = None, seed: int = 0
) -> Frechet:
  """Returns the distance between two random halves of one set: the floor.

  What is no farther from the real features than their halves are from each
  other cannot be told from them. Halves being smaller, a perfect copy of the
  whole set comes out lower.

  Args:
    features: [n, C] float, at least 4; of an odd number one is left out.
    groups: [n] integers; features of one group, such as the frames of a clip,
      are alike and stay in one half, each of which has as many groups. None:
      each is a group.
    seed: of the split.

  Raises:
    ValueError: a half with fewer than two features, or another number of axes.
  """
  features = np.asarray(features)
  if groups is None:
    groups = np.arange(len(features))
  order = np.random.default_rng(seed).permutation(np.unique(groups))
  half = len(order) // 2
  one, other = (
    FeatureSums.of(features, np.isin(groups, part))
    for part in (order[:half], order[half : 2 * half])
  )
  return frechet_distance(one, other)
