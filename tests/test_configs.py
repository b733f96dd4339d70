"""Every shipped config builds, and takes one step, shrunk."""

import importlib
import pathlib

import jax
import numpy as np
import pytest

from configs import common, quickstart_sprites
from trajvit.data import build_loader
from trajvit.data.decode import write_video
from trajvit.evaluators import EVALUATORS
from trajvit.layers.sizes import SIZES, transformer_size
from trajvit.models import build_model
from trajvit.objectives import build_objectives
from trajvit.training.config import read_config
from trajvit.training.functional import functional
from trajvit.training.optim import build_optimizer
from trajvit.training.state import init_state
from trajvit.training.step import make_train_step

ROOT = pathlib.Path(__file__).parent.parent
SHIPPED = sorted(
  path.stem
  for path in (ROOT / "configs").glob("*.py")
  if path.stem not in ("__init__", "common")
)
SMALL = dict(width=16, depth=1, num_heads=2)


def cases():
  for name in SHIPPED:
    methods = quickstart_sprites.METHODS if "quickstart" in name else [""]
    for method in methods:
      arg = f"method={method}" if method else ""
      yield pytest.param(name, arg, id=f"{name}:{arg}" if arg else name)
  yield pytest.param("trajvit_clip", "packed=True", marks=pytest.mark.slow)
  for method in ("trajectory", "vit3d_128", "random_k"):
    yield "quickstart_sprites", f"method={method},packed=True"


def shrink(config, folder):
  """Fewer, smaller clips, a narrow and shallow model, all else as shipped."""
  data = config["data"]
  data["batch_size"] = 2
  data["clip"]["frames"] = 4
  if "manifest" in data["train"]:
    frames = np.random.default_rng(0).integers(
      0, 256, (8, 64, 64, 3), dtype=np.uint8
    )
    for label in ("a", "b"):
      (folder / label).mkdir()
      write_video(folder / label / "clip.mp4", frames, fps=8)
    data["clip"] |= dict(size=64, track_grid=16, max_tracks=4)
    data["train"]["manifest"] = str(folder)
  else:
    data["clip"] |= dict(size=32, track_grid=16)
    for source in [
      data["train"],
      *(e["data"] for e in config["evals"].values()),
    ]:
      source |= dict(count=8, cache_dir=None)
  for tower in ("encoder", "text"):
    config["model"][tower] |= SMALL
  if config["model"]["tokenizer"]["name"] == "trajtok":
    config["model"]["tokenizer"]["num_heads"] = 1  # 3-D rotary needs wide heads
  for reducer in config["model"]["encoder"].get("reducers", ()):
    if reducer:
      reducer["k"] = 3
  for packing in (
    data.get("packing"),
    config["model"]["encoder"].get("packing"),
  ):
    if packing:
      packing["clips"] = data["batch_size"]
  return config


@pytest.mark.parametrize(("name", "arg"), cases())
def test_a_shipped_config_takes_a_step(tmp_path, name, arg):
  module = importlib.import_module(f"configs.{name}")
  assert f"configs/{name}.py" in module.__doc__, "its docstring has the command"
  config = read_config(shrink(module.get_config(arg).to_dict(), tmp_path))
  loader = build_loader(config.data, config.data["train"], seed=config.seed)
  for key, setting in config.evals.items():
    clips = build_loader(config.data, setting.data, seed=config.seed)
    assert EVALUATORS.build(setting.spec, loader=clips), key
  context = loader.model_context()
  init, apply = functional(
    lambda: build_model(config.model, seed=config.seed, **context)
  )
  tx, schedule = build_optimizer(config.optimizer, config.total_steps)
  step = make_train_step(
    apply, build_objectives(config.objectives), tx, schedule
  )
  state = init_state(init(), tx, ema=False)
  batches = loader.train(0)
  batch, _ = next(batches)
  batches.close()
  state, metrics = jax.jit(step)(state, batch, jax.random.key(0))
  assert state.step == 1 and not state.halted
  assert np.isfinite(metrics["train/loss"]) and metrics["train/grad_norm"] > 0
  assert metrics.get("packing/overflow_tokens", 0) == 0
  assert ("packing/fill_%" in metrics) == ("packed" in arg)


def test_the_baselines_keep_as_many_tokens_as_there_are_tracks():
  config = quickstart_sprites.get_config().to_dict()
  train = config["data"]["train"] | dict(count=64, cache_dir=None)
  source = build_loader(config["data"], train, seed=0).source
  counts = [
    len(np.unique(source.example(i, None).tracks).clip(0)) for i in range(64)
  ]
  assert round(np.mean(counts)) == quickstart_sprites.MEAN_TRACKS


@pytest.mark.parametrize("variant", ["Ti", "S", "B", "L", "H"])
def test_every_size_of_trajvit_has_heads_that_divide_it(variant):
  config = importlib.import_module("configs.trajvit_clip").get_config(
    f"variant={variant}"
  )
  encoder = config.model.encoder.to_dict()
  names = ("variant", "width", "depth", "num_heads")
  size = transformer_size(**{name: encoder[name] for name in names})
  assert size.width == (512 if variant in "LH" else SIZES[variant].width)


def test_arguments_are_checked():
  values = common.parse_arg("steps=3,big=True", steps=1, big=False, name="x")
  assert (values.steps, values.big, values.name) == (3, True, "x")
  with pytest.raises(ValueError, match="'stebs'; known: steps"):
    common.parse_arg("stebs=3", steps=1)
  with pytest.raises(ValueError, match="steps must be int, got 'many'"):
    common.parse_arg("steps=many", steps=1)
  with pytest.raises(ValueError, match="known: trajectory"):
    quickstart_sprites.get_config("method=vit")
