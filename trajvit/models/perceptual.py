"""A network whose features a decoder is to match, beside an autoencoder."""

import jax
from flax import nnx

from trajvit.models.feature_net import FeatureNet
from trajvit.models.normalization import known_normalization


class Perceptual(nnx.Module):
  """Looks at made and at real frames with one and the same network.

  The network is to come from a run that trained it (`warm_start`), and to keep
  its weights (`optimizer.frozen`): one that is trained along learns to see no
  difference. It has a gradient by the made frames all the same.

  Args:
    network: of the features; frames are normalised anew, as it wants them.
    normalization: of the frames that it is shown, a name in NORMALIZATIONS.
  """

  def __init__(self, network: FeatureNet, *, normalization: str):
    self.network = network
    self.normalization = known_normalization(normalization)

  def __call__(
    self, made: jax.Array, real: jax.Array, mask: jax.Array | None = None
  ) -> dict:
    """Returns what `objectives.perceptual` compares.

    Args:
      made: [B, T, H, W, 3] float, frames as they were decoded.
      real: likewise, as they are.
      mask: [B, T] bool, True = real frame; None: all are. Others are not read.

    Returns:
      `predicted` and `target`, lists of maps [B, T, h, w, C], one a stage of
      the network; the target is a constant.
    """
    return {
      "predicted": self._look(made, mask),
      "target": jax.lax.stop_gradient(self._look(real, mask)),
    }

  def _look(self, frames, mask):
    return self.network.features(
      frames, mask, normalization=self.normalization
    )[0]
