"""What a step would compute if nothing were computed twice."""

from jax.sharding import Mesh

from trajvit.evaluators.flops import count_jaxpr
from trajvit.plan.recompute import with_policy
from trajvit.training.build import build_training
from trajvit.training.config import read_config


def model_flops(
  raw: dict, mesh: Mesh, model_context: dict, batch, platform: str | None = None
) -> int:
  """Returns the FLOPs of a step on all devices, which MFU is by.

  Args:
    raw: the config.
    mesh: of the devices.
    model_context: with `batch` what `data.data_shapes` returns.
    batch: shapes.
    platform: see `evaluators.flops.count_jaxpr`.
  """
  plain = read_config(raw | {"model": with_policy(raw["model"], "none")})
  traced = build_training(plain, mesh, model_context).trace(batch)
  return count_jaxpr(traced.jaxpr.jaxpr, platform).total
