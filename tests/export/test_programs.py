"""Programs alone: any batch size, both of Flax's modes, any model."""

import jax
import jax.export
import numpy as np
import pytest
from flax import nnx
from tiny import CLIP_SHAPE
from tiny_runs import MODEL, tiny_run

from trajvit.export.programs import flat_weights, model_programs, on_weights
from trajvit.export.targets.program import Program
from trajvit.export.targets.stablehlo import export_program
from trajvit.export.write import PLATFORMS
from trajvit.types import Batch, Clip

CLIP = {
  "frames": 4,
  "size": 32,
  "any_frames": {"refused": "not asked"},
  "tracks": None,
  "text": None,
}


class Scaled(nnx.Module):
  """The smallest model with parameters, statistics and a list of modules."""

  def __init__(self):
    self.layers = nnx.List([nnx.Linear(3, 2, rngs=nnx.Rngs(i)) for i in (0, 1)])
    self.mean = nnx.BatchStat(np.float32([1, 2, 3]))

  def scale(self, x):
    x = x - self.mean[...]
    return {"sum": self.layers[0](x) + self.layers[1](x)}


def scale(model, x):
  return model.scale(x)


def test_a_program_runs_for_any_batch_size(nnx_mode, rng):
  model = Scaled()
  _, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
  weights = flat_weights(
    {
      "params": nnx.to_pure_dict(params),
      "batch_stats": nnx.to_pure_dict(stats),
    }
  )
  assert sorted(weights) == [
    "batch_stats/mean",
    "params/layers/0/bias",
    "params/layers/0/kernel",
    "params/layers/1/bias",
    "params/layers/1/kernel",
  ]
  inputs = {"x": (np.float32, (3,))}
  program = Program(on_weights(scale, model), inputs)
  exported = export_program(program, weights, PLATFORMS)
  outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
  assert program.signature(outputs) == {
    "inputs": [{"name": "x", "dtype": "float32", "shape": ["b", 3]}],
    "outputs": {"sum": {"dtype": "float32", "shape": ["b", 2]}},
  }
  again = jax.export.deserialize(bytearray(exported.serialize()))
  for batch in (1, 5):
    x = rng.standard_normal((batch, 3), np.float32)
    other = {name: 2 * array for name, array in weights.items()}
    for used, factor in ((weights, 1), (other, 2)):
      centered = x - factor * np.float32([1, 2, 3])
      expected = sum(
        centered @ (factor * np.asarray(layer.kernel[...]))
        + factor * np.asarray(layer.bias[...])
        for layer in model.layers
      )
      np.testing.assert_allclose(
        again.call(used, x)["sum"], expected, rtol=1e-5
      )


def test_the_text_tower_exports_in_both_modes(nnx_mode):
  run = tiny_run()
  clip = CLIP | {"text": {"length": 6}}
  model = nnx.eval_shape(run.build)
  program = model_programs(model, clip, "portable")["encode_text"]
  weights = flat_weights(run.variables)
  exported = export_program(program, weights, ["cpu"])
  assert exported.platforms == ("cpu",)
  assert exported.out_avals[0].shape[1:] == (8,)


def test_an_attention_pattern_exports_without_kernels(rng):
  window = dict(name="window", t=1, y=1, x=1, grid=(2, 4, 4), block=8)
  run = tiny_run(
    tokenizer=dict(name="tubelet", patch=(2, 8, 8)),
    encoder=MODEL["encoder"] | dict(pattern=window),
  )
  model = nnx.eval_shape(run.build)
  program = model_programs(model, CLIP, "portable")["encode"]
  weights = flat_weights(run.variables)
  exported = export_program(program, weights, PLATFORMS)
  text = exported.mlir_module()
  assert "tpu_custom_call" not in text and "triton" not in text
  frames = rng.integers(0, 256, (3, *CLIP_SHAPE, 3), np.uint8)
  expected = run.apply(run.variables, Batch(Clip(frames)))["video_embedding"]
  found = exported.call(weights, frames)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_a_model_cannot_do_is_no_program():
  model = nnx.eval_shape(tiny_run().build)
  programs = model_programs(model, CLIP)
  assert programs.keys() == {"encode", "tokenize"}
  assert programs["encode"].inputs.keys() == {"frames"}
  with pytest.raises(ValueError, match="with encode_video, .*, got Scaled"):
    model_programs(Scaled(), CLIP)
