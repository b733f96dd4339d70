"""Which models take any number of frames, as docs/export.md tells it."""

from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from tiny import FRAMES, GRID, SIZE, TRACKS
from tiny_models import MODELS
from tiny_runs import CONTEXT, run_of

from trajvit.export.programs import flat_weights, model_programs
from trajvit.export.targets.stablehlo import export_program
from trajvit.export.write import PLATFORMS, preprocessing
from trajvit.models import build_model
from trajvit.tokenizers import TOKENIZERS

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text()


def test_every_tokenizer_has_a_row():
  models = [model for model in MODELS.values() if "tokenizer" in model]
  assert {model["tokenizer"]["name"] for model in models} == set(TOKENIZERS)


@pytest.mark.slow
@pytest.mark.parametrize("row", MODELS)
def test_the_table_is_what_is_found(row):
  assert f"| {row} | {found(MODELS[row])} |\n" in PAGE


def found(model) -> str:
  """What the table says of a model."""
  run = run_of(model)
  rule = preprocessing(run, nnx.eval_shape(run.build))["any_frames"]
  if "refused" in rule:
    return f"no: {rule['refused']}"
  step = rule["multiple_of"]
  return "any" if step == 1 else f"multiples of {step}"


ALLOWED = [row for row in MODELS if f"| {row} | no: " not in PAGE]


@pytest.mark.slow
@pytest.mark.parametrize("row", ALLOWED)
def test_it_is_the_model_of_the_other_number(row, rng):
  """The run's number is nowhere in it: one built for 6 frames is the same."""
  run = run_of(MODELS[row])
  clip = preprocessing(run, nnx.eval_shape(run.build))
  frames = FRAMES + 2
  built = nnx.eval_shape(
    lambda: build_model(
      run.config.model, seed=0, **CONTEXT | dict(clip_shape=(6, SIZE, SIZE))
    )
  )
  weights = {
    name: abs(x) if name.startswith("batch_stats") else x  # variances
    for name, x in flat_weights(run.variables).items()
  }
  shape = (2, frames, SIZE, SIZE, 3)
  inputs = [rng.integers(0, 256, shape, dtype=np.uint8)]
  if clip["tracks"] is not None:
    shape = (2, frames, GRID, GRID)
    inputs.append(rng.integers(-1, TRACKS, shape, dtype=np.int32))
  programs = model_programs(nnx.eval_shape(run.build), clip, "portable")
  others = model_programs(built, clip)
  names = [name for name in programs if "frames" in programs[name].inputs]
  one, other = {}, {}
  for name in names:
    exported = export_program(programs[name], weights, PLATFORMS)
    one[name] = jax.device_get(exported.call(weights, *inputs))
    other[name] = jax.jit(others[name].call)(weights, *inputs)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(one))
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), one, other
  )
