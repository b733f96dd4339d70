"""Configs on public data sets: all that they name exists and goes together."""

import json
import pathlib

import jax
import pytest

from configs import finetune, protocols
from trajvit.data.augment import Augment
from trajvit.data.benchmarks import BENCHMARKS
from trajvit.data.build import SOURCES
from trajvit.data.example import ClipSpec
from trajvit.evaluators import EVALUATORS
from trajvit.models import build_model
from trajvit.table import check_arguments
from trajvit.training.config import read_config, read_evals
from trajvit.training.functional import functional, named_leaves

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "protocols.md"
CLIP = dict(frames=4, size=32, track_grid=16, max_tracks=4)
LOADER = ("clip", "captions", "views", "batch_size")  # not the source's own


def check_source(spec):
  """Raises unless a source of such a spec could be built of its files."""
  spec = dict(spec)
  own = {key: spec.pop(key) for key in LOADER if key in spec}
  name = spec.pop("name")
  check_arguments(name, SOURCES[name], spec)
  Augment(ClipSpec(**{**CLIP, **own["clip"]}))
  if name == "benchmark":
    known = BENCHMARKS[spec["benchmark"]]
    assert spec["split"] in known.splits, spec


@pytest.mark.parametrize("name", protocols.PROTOCOLS)
def test_a_protocol_names_what_there_is(name):
  config = protocols.get_config(f"names={name},root=/data").to_dict()
  assert set(config) == {"evals"}
  setting = read_evals(config["evals"])[name]
  check_source(setting.data)
  spec = dict(setting.spec)
  evaluator = spec.pop("name")
  check_arguments(evaluator, EVALUATORS[evaluator], spec)
  if "train" in spec:
    check_source(spec["train"])
    assert spec["train"]["split"] != setting.data["split"]
  assert f"| `{name}` |" in PAGE.read_text(encoding="utf-8")


def test_several_protocols_and_none_such():
  config = protocols.get_config("names=ucf101+msvd,counts=False")
  assert set(config.evals) == {"ucf101", "msvd"}
  assert config.evals.msvd.data.counts is False
  with pytest.raises(ValueError, match="unknown protocol 'msvdd'; known: msrv"):
    protocols.get_config("names=msvdd")


@pytest.fixture(name="run")
def _run(tmp_path):
  """A directory with the config of a run, and its model's parameters."""
  model = dict(
    name="video_text",
    tokenizer=dict(name="tubelet", patch=(2, 8, 8)),
    encoder=dict(name="vit", width=16, depth=1, num_heads=2),
    text=dict(name="transformer", width=16, depth=1, num_heads=2),
    embed_dim=8,
  )
  config = {"model": model, "data": {"clip": CLIP}}
  (tmp_path / "config.json").write_text(json.dumps(config))
  init, _ = functional(lambda: build_model(model, seed=0, **context()))
  return tmp_path, named_leaves(jax.eval_shape(init)["params"])


def context():
  return dict(
    clip_shape=(4, 32, 32), max_tracks=4, vocab_size=20, text_length=8
  )


@pytest.mark.parametrize("benchmark", finetune.BENCHMARKS)
def test_fine_tuning_names_what_there_is(run, benchmark):
  arg = f"run={run[0]},benchmark={benchmark},root=/data"
  config = read_config(finetune.get_config(arg).to_dict())
  for spec in (config.data["train"], config.evals["test"].data):
    check_source({"clip": config.data["clip"], **spec})
  splits = BENCHMARKS[benchmark].splits
  train = config.data["train"]["split"]
  if "classes" in splits[train].expected:
    assert config.model["num_classes"] == splits[train].expected["classes"]


@pytest.mark.parametrize("frozen", [False, True])
def test_a_fine_tuned_model_starts_from_all_of_the_encoder(run, frozen):
  path, trained = run
  values = finetune.get_config(f"run={path},frozen={frozen}").to_dict()
  config = read_config(values)
  init, _ = functional(lambda: build_model(config.model, seed=0, **context()))
  found = named_leaves(jax.eval_shape(init)["params"])
  (start,) = config.warm_start
  taken = set()
  for place, source in start.parts.items():
    below = {n for n in found if n.startswith(f"{place}/")}
    assert below
    for name in below:
      origin = source + name.removeprefix(place)
      assert found[name].shape == trained[origin].shape
    taken |= below
  assert {n for n in found if n.startswith("features/")} == taken
  assert ("mix" in config.data) != frozen
  assert bool(config.optimizer.frozen) == frozen
  with pytest.raises(ValueError, match="must name a finished run"):
    finetune.get_config("")
