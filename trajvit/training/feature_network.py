"""A trained network of features, handed to what measures or trains by it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
from flax import nnx

from trajvit.models.feature_net import weight_hash
from trajvit.models.normalization import normalize
from trajvit.pixels import LEVELS
from trajvit.training.restore import restore_run
from trajvit.training.workdir import read_run_config
from trajvit.types import Clip

MODEL = "feature_net"


@dataclasses.dataclass(frozen=True)
class FeatureNetwork:
  """A network that nothing trains any more.

  Attributes:
    apply: `apply(variables, pixels, mask) -> (maps, pooled)`, a pure function
      of pixels [B, T, H, W, 3] float32 in [0, 1] and of mask [B, T] bool, True
      = real frame; see `models.feature_net.FeatureNet.features`.
    variables: {"params", "batch_stats"}, copied to all devices.
    weight_hash: names the weights, see `models.feature_net.weight_hash`.
  """

  apply: Callable
  variables: dict
  weight_hash: str


def load_features(
  workdir: str | Path, *, step: int | str | None = None
) -> FeatureNetwork:
  """Returns the network that a run of the model `feature_net` has trained.

  Args:
    workdir: of the run, packed or not, or a name in `workdir.SHIPPED`.
    step: which checkpoint; None = the newest, "best" = the best.

  Raises:
    FileNotFoundError: no run, or no such checkpoint.
    ValueError: a run of another model.
  """
  name = read_run_config(workdir)["model"].get("name")
  if name != MODEL:
    raise ValueError(
      f"features are those of a run of the model {MODEL!r}, but {workdir} "
      f"trained {name!r}"
    )
  run = restore_run(workdir, step=step)
  structure, *_ = nnx.split(nnx.eval_shape(run.build), nnx.Param, nnx.BatchStat)

  def apply(variables: dict, pixels: jax.Array, mask: jax.Array | None):
    net = nnx.merge(structure, variables["params"], variables["batch_stats"])
    clip = normalize(Clip(frames=pixels * LEVELS), net.normalization)
    return net.features(clip.frames, mask)

  digest = weight_hash(run.variables["params"])
  return FeatureNetwork(apply, run.variables, digest)
