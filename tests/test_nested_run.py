"""Nested tokens from the first step to the page: every command, on two runs."""

import json

import pytest

import train
from configs import feature_net_sprites, flextok_sprites
from trajvit import cli
from trajvit.models.feature_net import weight_hash
from trajvit.training.feature_network import load_features
from trajvit.training.restore import restore_run

pytestmark = pytest.mark.slow
SIZE = dict(frames=4, size=32, track_grid=16)
EVALUATED = dict(count=6, cache_dir=None)


def shrunk(config):
  """Two steps on clips of 4 frames of 32 x 32."""
  values = config.to_dict() | dict(total_steps=2, compilation_cache="none")
  values["data"]["batch_size"] = 2
  values["data"]["clip"] |= SIZE
  values["data"]["train"] |= dict(count=8, cache_dir=None)
  for evaluation in values["evals"].values():
    evaluation["data"] |= EVALUATED
  values["optimizer"]["warmup_steps"] = 1
  return values


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """Directories of a network of features, and of a model that is judged."""
  folder = tmp_path_factory.mktemp("runs")
  config = shrunk(feature_net_sprites.get_config())
  config["model"]["widths"] = (4, 8)
  train.train(config, str(folder / "net"))

  config = shrunk(
    flextok_sprites.get_config(
      "registers=4,perceptual=moving_sprites,align=moving_sprites"
    )
  )
  config["model"] |= dict(width=16, num_heads=2)
  config["model"]["reconstruction"]["decoder"]["inner_width"] = 16
  back = config["evals"]["reconstruction"] | dict(budgets=(1,))
  distance = dict(name="frechet", features=str(folder / "net"))
  config["evals"] = dict(
    back=back,
    distance=back | distance,
    shipped=config["evals"]["frechet"] | dict(budgets=()),
  )
  train.train(config, str(folder / "nested"))
  return folder / "net", folder / "nested"


def test_distances_are_evaluated_and_name_the_weights(runs):
  found = json.loads((runs[1] / "eval" / "distance.json").read_text())
  assert len(found["manifest"]["features_sha256"]) == 64
  metrics = found["metrics"]
  assert metrics["n_evaluated"] == 6 and metrics["n_frames"] == 24
  assert metrics["frechet@1"] > 0 and metrics["real_floor"] > 0
  assert metrics["perceptual@1"] > 0
  assert metrics["frechet@1"] != metrics["frechet"]


def test_the_network_that_comes_along_trains_and_judges(runs):
  """By its name, and as it was: nothing in it is trained."""
  known = load_features("moving_sprites")
  found = json.loads((runs[1] / "eval" / "shipped.json").read_text())
  assert found["manifest"]["features_sha256"] == known.weight_hash
  assert found["metrics"]["frechet"] > 0
  parts = restore_run(runs[1]).variables["params"]["reconstruction"]
  for part in (parts["perceptual"]["network"], parts["alignment"]["teacher"]):
    assert weight_hash(part) == known.weight_hash


def test_the_report_shows_what_comes_back(runs, tmp_path):
  out = tmp_path / "index.html"
  command = ["report", str(runs[1]), "--out", str(out), "--clips", "2"]
  assert cli.main(command) == 0
  page = out.read_text()
  assert "data:image/gif" in page and "Fréchet distance" in page
  drawn = sorted(path.name for path in (tmp_path / "index_pictures").iterdir())
  assert drawn == ["back.gif", "back.png"]
  rows = (tmp_path / "index_budgets.csv").read_text().splitlines()
  assert rows[0] == "method,run,evaluation,score,k,value"
  scores = {tuple(row.split(",")[2:5]) for row in rows[1:]}
  expected = {("back", "PSNR_dB", k) for k in "14"}
  assert expected | {("distance", "frechet", "1")} <= scores


def test_a_missing_network_stops_the_run_at_once(runs, tmp_path):
  config = json.loads((runs[1] / "config.json").read_text())
  config["evals"]["distance"]["features"] = str(tmp_path / "nowhere")
  with pytest.raises(FileNotFoundError, match="nowhere is no run directory"):
    train.train(config, str(tmp_path / "run"))
  assert not (tmp_path / "run" / "metrics.jsonl").exists()
