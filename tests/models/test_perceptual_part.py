"""The network beside a decoder: what it sees, and what learns by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import drawn, on_host

from trajvit.models.feature_net import FeatureNet
from trajvit.models.normalization import NORMALIZATIONS, normalize
from trajvit.models.perceptual import Perceptual
from trajvit.types import Clip

SHAPE = (2, 2, 4, 4, 3)


@pytest.fixture(scope="module")
def network():
  """One that was trained on frames of another normalisation."""
  options = dict(num_classes=2, widths=(3,), normalization="imagenet")
  return drawn(lambda: FeatureNet(**options, rngs=nnx.Rngs(params=0)))


def test_frames_are_normalised_as_the_network_wants_them(network, rng):
  made, real = rng.integers(0, 256, (2, *SHAPE), dtype=np.uint8)
  mask = np.ones(SHAPE[:2], bool)
  mask[1, 1] = False
  part = Perceptual(network, normalization="symmetric")

  @on_host
  def run(made, real):
    shown, wanted = (
      [normalize(Clip(x), name).frames for x in (made, real)]
      for name in ("symmetric", "imagenet")
    )

    def total(made, real):
      told = part(made, real, mask)
      return {k: sum(jnp.sum(m) for m in maps) for k, maps in told.items()}

    maps = [network.features(x, mask)[0] for x in wanted]
    return part(*shown, mask), maps, jax.jacrev(total, (0, 1))(*shown)

  told, (predicted, target), slopes = run(made, real)
  for name, maps in (("predicted", predicted), ("target", target)):
    for one, other in zip(told[name], maps, strict=True):
      np.testing.assert_allclose(one, other, atol=1e-4)
  by_made, by_real = slopes["predicted"]
  assert by_made.any((2, 3, 4)).tolist() == mask.tolist()
  assert not by_real.any() and not any(x.any() for x in slopes["target"])


def test_a_normalisation_is_known(network):
  assert "symmetric" in NORMALIZATIONS
  with pytest.raises(ValueError, match="must be one of .* got 'none'"):
    Perceptual(network, normalization="none")
