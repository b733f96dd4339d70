"""Quantizers made of others."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.statistics import nested
from trajvit.quantizers.discrete import worst
from trajvit.quantizers.quantizer import Quantizer


class Composite(Quantizer):
  """Several quantizers, each with indices of its own.

  Losses are added up, so that each part trains as it would alone. Metrics are
  those of the worst part.

  Args:
    dim: width of what is quantized.
    code_dim: width of the codes.
    parts: the quantizers.
  """

  def __init__(self, *, dim: int, code_dim: int, parts: list[Quantizer]):
    sizes = tuple(size for part in parts for size in part.sizes)
    super().__init__(dim=dim, code_dim=code_dim, sizes=sizes)
    self.parts = nnx.List(parts)

  def _keys(self, key):
    """A key for each part, or None for each."""
    count = len(self.parts)
    return [None] * count if key is None else list(jax.random.split(key, count))

  def _split_indices(self, indices):
    """Indices [..., G] by part."""
    self._check_indices(indices)
    found, start = [], 0
    for part in self.parts:
      count = len(part.sizes)
      found.append(indices[..., start : start + count])
      start += count
    return found


def joined(auxes: list[dict]) -> dict:
  """Returns the aux of a composite, from those of its parts in order."""
  aux = {"losses": {}, "metrics": worst([each["metrics"] for each in auxes])}
  for each in auxes:
    for name, value in each["losses"].items():
      aux["losses"][name] = aux["losses"].get(name, 0.0) + value
  if all("indices" in each for each in auxes):
    indices = [each["indices"] for each in auxes]
    aux["indices"] = jnp.concatenate(indices, axis=-1)
  stats = {
    i: each["batch_stats"]
    for i, each in enumerate(auxes)
    if "batch_stats" in each
  }
  return nested("parts", aux | {"batch_stats": stats}) if stats else aux
