"""Every shipped config builds, and takes one step, shrunk."""

import functools
import importlib
import pathlib

import jax
import numpy as np
import pytest

from configs import (
  common,
  flextok,
  flextok_sprites,
  grouping_sprites,
  probe_sprites,
  quickstart_sprites,
  reduction_sprites,
  trajtok_clip,
)
from trajvit.bench.reducer_cases import CASES
from trajvit.data import build_loader
from trajvit.data.decode import write_video
from trajvit.evaluators import EVALUATORS
from trajvit.layers.sizes import SIZES, transformer_size
from trajvit.models import build_model
from trajvit.objectives import build_objectives
from trajvit.training.config import read_config
from trajvit.training.feature_network import load_features
from trajvit.training.functional import functional, path_name
from trajvit.training.optim import build_optimizer
from trajvit.training.packed import is_packed
from trajvit.training.restore import restore_run
from trajvit.training.state import init_state
from trajvit.training.step import make_train_step
from trajvit.training.warm_start import transplant
from trajvit.training.workdir import find_run

ROOT = pathlib.Path(__file__).parent.parent
SHIPPED = sorted(
  path.stem
  for path in (ROOT / "configs").glob("*.py")
  if path.stem not in ("__init__", "common")
  # What needs public data has tests of its own, in test_benchmark_configs.
  and path.stem not in ("finetune", "protocols")
)
SMALL = dict(width=16, depth=2, num_heads=2)
SMALL_STEMS = {
  "conv": dict(widths=(8,), depths=(1,)),
  "convnext": dict(widths=(8, 8, 8, 8), depths=(1, 1, 1, 1)),
}
# Arguments of the configs that are one run for each method or objective.
ARGS = {
  "quickstart_sprites": [f"method={m}" for m in quickstart_sprites.METHODS]
  + [
    f"method={m},packed=True" for m in ("trajectory", "vit3d_128", "random_k")
  ],
  "flextok": ["latents=RUN,scaling_factor=0.5"],
  "flextok_sprites": [
    "",
    "decoder=flow",
    "decoder=coordinate",
    "joint=True",
    "nested=False,registers=8",
    "adversarial=True,perceptual=RUN",
    "joint=True,adversarial=True",
    "align=RUN,perceptual=RUN",
    "decoder=flow,joint=True,align=RUN",
  ],
  "grouping_sprites": [f"method={m}" for m in grouping_sprites.METHODS],
  "probe_sprites": [
    "encoder=RUN",
    "encoder=RUN,adapter=patches",
    "encoder=RUN,segmenter=RUN",
  ],
  "reduction_sprites": [
    "method=evs,place=pixels",
    "method=lookup_vit",
    "method=mixture_of_depths",
    "method=stts_scores",
    "method=token_learner_vit",
    "method=tome",
  ],
  "run_length_sprites": [
    "lengths=True,packed=True",
    "method=dense,camera=shake",
  ],
  "larp": ["adversarial=True"],
  "retok": ["", "align=RUN,adversarial=True"],
  "videoflextok": ["patches=all"],
  "trajtok_clip": [
    "objectives=joint",
    "objectives=grouping",
    "objectives=contrastive,segmenter=RUN,freeze=True",
  ],
  "trajvit_clip": ["", "packed=True"],
}
# What is not only traced by default, but run.
QUICK = (("quickstart_sprites", "method=trajectory,packed=True"),)
# One network serves the evaluations of many configs.
load_features_once = functools.cache(load_features)


def cases(mark):
  for name in SHIPPED:
    for arg in ARGS.get(name, [""]):
      yield pytest.param(
        name,
        arg,
        id=f"{name}:{arg}" if arg else name,
        marks=mark if (name, arg) not in QUICK else (),
      )


def shrink(config, folder):
  """Fewer, smaller clips, a narrow and shallow model, all else as shipped."""
  data = config["data"]
  data["batch_size"] = 2
  data["clip"]["frames"] = min(4, data["clip"]["frames"])
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
  shrink_model(config["model"])
  encoder = config["model"].get("encoder", {})
  shrink_counts(config["model"].get("tokenizer", {}))
  for part in (encoder, *filter(None, encoder.get("reducers", ()))):
    shrink_counts(part)
  for packing in (data.get("packing"), encoder.get("packing")):
    if packing:
      packing["clips"] = data["batch_size"]
  return config


def shrink_counts(part):
  """In place: as few tokens as fit clips of 2 x 2 x 2 patches."""
  small = dict(
    k=5,
    budgets=((2, 1, 1),),
    mixture_of_depths=dict(every=2, capacity=0.5),
  )
  part |= {key: x for key, x in small.items() if part.get(key)}


def shrink_autoencoder(model):
  """In place: what a model that makes frames has at both ends."""
  model |= {key: SMALL[key] for key in ("width", "num_heads") if key in model}
  tokenizer = model["tokenizer"]
  small = dict(depth=1, num_registers=4, rounds=2, num_new=2)
  tokenizer |= {key: x for key, x in small.items() if key in tokenizer}
  frames, *rest = tokenizer["patch"]
  tokenizer["patch"] = (min(frames, 4), *rest)
  decoder = model["reconstruction"]["decoder"]
  small = dict(inner_width=16, depth=1, num_heads=2, planes=(2, 4, 4))
  decoder |= {key: x for key, x in small.items() if key in decoder}
  if "latents" in model:
    model["latents"] |= dict(channels=4, widths=(32,) * 4, depth=1)
  small = dict(prior=SMALL, adversarial=dict(widths=(8,)))
  for part, options in small.items():
    if part in model["reconstruction"]:
      model["reconstruction"][part] |= options
  if alignment := model["reconstruction"].get("alignment"):
    alignment |= dict(block=0, hidden=16)
    shrink_model(alignment["teacher"])


def shrink_model(model):
  """In place: towers, segmenters and stems, wherever they are."""
  if "reconstruction" in model:
    shrink_autoencoder(model)
  if "widths" in model:
    model["widths"] = (8, 8)
  for part in (model, *(x for x in model.values() if isinstance(x, dict))):
    for tower in ("encoder", "text"):
      if tower in part:
        part[tower] |= SMALL
        if stages := part[tower].get("stages"):
          part[tower]["stages"] = (2,) if len(stages) == 1 else (1, 1)
    if "stem" in part and isinstance(part["stem"], dict):
      part["stem"] |= SMALL_STEMS[part["stem"]["name"]]
    if "num_slots" in part:
      part["num_heads"] = 1  # 3-D rotary needs wide heads
      part["num_slots"] = 4
      part |= {
        key: SMALL["width"] for key in ("width", "segment_width") if key in part
      }
    if "adapter" in part:
      shrink_model(part["adapter"])
      if part["adapter"]["name"] == "trajectories":
        part["adapter"]["num_heads"] = 1


def first_step(name, arg, folder):
  """The step of a shrunk config, how its state begins, and a batch."""
  module = importlib.import_module(f"configs.{name}")
  assert f"configs/{name}.py" in module.__doc__, "its docstring has the command"
  config = read_config(shrink(module.get_config(arg).to_dict(), folder))
  loader = build_loader(config.data, config.data["train"], seed=config.seed)
  for key, setting in config.evals.items():
    clips = build_loader(config.data, setting.data, seed=config.seed)
    assert EVALUATORS.build(
      setting.spec, loader=clips, load_features=load_features_once
    ), key
  context = loader.model_context()
  init, apply = functional(
    lambda: build_model(config.model, seed=config.seed, **context)
  )
  tx, schedule = build_optimizer(config.optimizer, config.total_steps)
  step = make_train_step(
    apply,
    build_objectives(config.objectives),
    tx,
    schedule,
    frozen=config.optimizer.frozen,
  )
  batches = loader.train(0)
  batch, _ = next(batches)
  batches.close()
  return step, lambda: init_state(init(), tx, ema=False), batch


@pytest.mark.parametrize(("name", "arg"), cases(()))
def test_a_shipped_config_builds(tmp_path, name, arg):
  step, start, batch = first_step(name, arg, tmp_path)
  state = jax.eval_shape(start)
  after, metrics = jax.eval_shape(step, state, batch, jax.random.key(0))
  assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
    lambda x: (x.shape, x.dtype), state
  )
  assert ("packing/fill_%" in metrics) == ("packed" in arg)


@pytest.mark.parametrize(("name", "arg"), cases(pytest.mark.slow))
def test_a_shipped_config_takes_a_step(tmp_path, name, arg):
  step, start, batch = first_step(name, arg, tmp_path)
  state, metrics = jax.jit(step)(start(), batch, jax.random.key(0))
  assert state.step == 1 and not state.halted
  assert np.isfinite(metrics["train/loss"]) and metrics["train/grad_norm"] > 0
  assert metrics.get("packing/overflow_tokens", 0) == 0


def test_the_baselines_keep_as_many_tokens_as_there_are_tracks():
  config = quickstart_sprites.get_config().to_dict()
  train = config["data"]["train"] | dict(count=64, cache_dir=None)
  source = build_loader(config["data"], train, seed=0).source
  counts = [
    len(np.unique(source.example(i, None).tracks).clip(0)) for i in range(64)
  ]
  assert round(np.mean(counts)) == quickstart_sprites.MEAN_TRACKS


@pytest.mark.slow
def test_every_reducer_has_a_config():
  """At the place where the benchmark has it."""
  args = [f"{case.name},place={case.place}" for case in CASES]
  args += reduction_sprites.ENCODERS
  pixels = ("dtd", "evs", "grt", "run_length", "vwt_intra")
  args += [f"{name},place=pixels" for name in pixels]
  context = dict(
    clip_shape=(16, 64, 64), max_tracks=4, vocab_size=9, text_length=5
  )
  for arg in args:
    raw = reduction_sprites.get_config(f"method={arg},kept=0.5").to_dict()
    model = read_config(raw).model
    init, _ = functional(lambda m=model: build_model(m, seed=0, **context))
    jax.eval_shape(init)
  with pytest.raises(ValueError, match="unknown place 'end'; known: pixels"):
    reduction_sprites.get_config("method=tome,place=end")


@pytest.mark.parametrize("variant", ["Ti", "S", "B", "L", "H"])
def test_every_size_of_trajvit_has_heads_that_divide_it(variant):
  config = importlib.import_module("configs.trajvit_clip").get_config(
    f"variant={variant}"
  )
  encoder = config.model.encoder.to_dict()
  names = ("variant", "width", "depth", "num_heads")
  size = transformer_size(**{name: encoder[name] for name in names})
  assert size.width == (512 if variant in "LH" else SIZES[variant].width)


# Runs that start from others, those others, and what is to come from them.
WARM = [
  (
    "trajtok_clip:segmenter=RUN",
    ["trajtok_clip:objectives=grouping"],
    ["tokenizer/segmenter"],
  ),
  (
    "probe_sprites:encoder=RUN,method=vit3d_128",
    ["quickstart_sprites:method=vit3d_128"],
    ["features"],
  ),
  (
    "flextok_sprites:perceptual=RUN,align=RUN",
    ["feature_net_sprites"] * 2,
    ["reconstruction/perceptual", "reconstruction/alignment/teacher"],
  ),
  (
    "flextok_sprites:perceptual=moving_sprites,align=moving_sprites",
    ["moving_sprites"] * 2,
    ["reconstruction/perceptual", "reconstruction/alignment/teacher"],
  ),
  (
    "retok:align=RUN,classes=7",
    ["feature_net_clip:classes=7"],
    ["reconstruction/alignment/teacher"],
  ),
  (
    "probe_sprites:encoder=RUN,segmenter=RUN",
    ["quickstart_sprites:method=vit3d_256", "trajtok_sprites"],
    ["features", "adapter/regions/segmenter"],
  ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("run", "others", "places"), WARM)
def test_a_config_takes_whole_parts_of_the_runs_it_starts_from(
  run, others, places
):
  def built(spec, value):
    if is_packed(find_run(spec)):
      packed = restore_run(spec)
      return packed.config, filled(packed.variables, value)
    name, _, arg = spec.partition(":")
    raw = importlib.import_module(f"configs.{name}").get_config(arg).to_dict()
    if raw["data"]["train"]["name"] == "video_files":
      shrink_model(raw["model"])  # sprites are as shipped: widths have to agree
    config = read_config(raw)
    context = dict(
      clip_shape=(16, 64, 64), max_tracks=4, vocab_size=9, text_length=5
    )
    init, _ = functional(lambda: build_model(config.model, seed=0, **context))
    return config, filled(jax.eval_shape(init), value)

  def filled(variables, value):
    return jax.tree.map(lambda x: jax.numpy.full(x.shape, value), variables)

  config, variables = built(run, 0.0)
  assert len(config.warm_start) == len(others)
  for number, (source, other) in enumerate(
    zip(config.warm_start, others, strict=True), 1
  ):
    _, theirs = built(other, float(number))
    variables = transplant(variables, theirs, source.parts)
  for path, x in jax.tree_util.tree_leaves_with_path(variables["params"]):
    name = path_name(path)
    sources = [0, *(n for n, x in enumerate(places, 1) if name.startswith(x))]
    assert (x == sources[-1]).all(), name


def test_budgets_end_with_all():
  assert common.budgets(8) == (1, 2, 4, 8)
  assert common.budgets(6) == (1, 2, 4, 6)


def test_arguments_are_checked():
  values = common.parse_arg("steps=3,big=True", steps=1, big=False, name="x")
  assert (values.steps, values.big, values.name) == (3, True, "x")
  with pytest.raises(ValueError, match="'stebs'; known: steps"):
    common.parse_arg("stebs=3", steps=1)
  with pytest.raises(ValueError, match="steps must be int, got 'many'"):
    common.parse_arg("steps=many", steps=1)
  with pytest.raises(ValueError, match="known: trajectory"):
    quickstart_sprites.get_config("method=vit")
  with pytest.raises(ValueError, match="encoder=RUN must name"):
    probe_sprites.get_config()
  with pytest.raises(ValueError, match="for decoder=pixel, got flow"):
    flextok_sprites.get_config("decoder=flow,adversarial=True")
  with pytest.raises(ValueError, match="needs the scaling_factor of the run"):
    flextok.get_config("latents=RUN")
  with pytest.raises(ValueError, match="pixel and flow, got coordinate"):
    flextok_sprites.get_config("decoder=coordinate,align=RUN")
  with pytest.raises(ValueError, match="segmenter=RUN is for adapter=traj"):
    probe_sprites.get_config("encoder=a,segmenter=b,adapter=patches")
  with pytest.raises(ValueError, match="not grouping"):
    trajtok_clip.get_config("segmenter=a,objectives=grouping")
  with pytest.raises(ValueError, match="needs segmenter=RUN,objectives"):
    trajtok_clip.get_config("segmenter=a,freeze=True")
