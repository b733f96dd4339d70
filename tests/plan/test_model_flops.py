"""What a step computes does not grow by what it computes twice."""

import pytest

from configs import smoke_trajectory
from trajvit.data import data_shapes
from trajvit.evaluators.flops import count_jaxpr
from trajvit.plan.model_flops import model_flops
from trajvit.training.build import build_training
from trajvit.training.config import MeshConfig, read_config
from trajvit.training.sharding import build_mesh


@pytest.fixture(scope="module")
def config():
  config = smoke_trajectory.get_config("batch_size=2")
  config.data.clip.frames = 4
  config.data.clip.size = 32
  config.data.clip.track_grid = 8
  config.model.encoder.remat = "full"
  return config.to_dict()


def test_what_is_recomputed_counts_once(config):
  mesh = build_mesh(MeshConfig())
  context, batch = data_shapes(config["data"])
  training = build_training(read_config(config), mesh, context)
  with_remat = count_jaxpr(training.trace(batch).jaxpr.jaxpr).total
  once = model_flops(config, mesh, context, batch)
  assert 0 < once < with_remat < 1.5 * once
