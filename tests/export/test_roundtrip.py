"""From a run directory through the command to an encoder: the same numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import CLIP_SHAPE, GRID, TRACKS, WORDS, make_batch
from tiny_runs import CONTEXT, config, exported_run, tiny_run

import trajvit
from trajvit.export import parity
from trajvit.types import Batch, Clip, Text

REPOSITORY = Path(__file__).parents[2]
# Loads and runs an export where the libraries of training and of video are not.
BARE = """
import sys

class Blocked:
  names = {"flax", "optax", "orbax", "grain", "ml_collections", "absl", "av",
           "PIL", "safetensors", "tensorstore", "msgpack"}

  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in self.names:
      raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import numpy as np
import trajvit

inputs = dict(np.load(sys.argv[2]))
encoder = trajvit.load(sys.argv[1])
outputs = {}
for batch in (1, 5):
  clip = inputs["frames"][:batch], inputs["tracks"][:batch]
  outputs[f"encode{batch}"] = encoder.encode(*clip)
  outputs[f"tokenize{batch}"] = encoder.tokenize(*clip).features
  outputs[f"encode_text{batch}"] = encoder.encode_text(
    inputs["ids"][:batch], inputs["mask"][:batch]
  )
assert not Blocked.names & set(sys.modules)

# Words are turned to ids by the data side, which needs no Flax either.
Blocked.names = {"flax", "optax", "orbax"}
outputs["captions"] = encoder.encode_text(["red ball", "green"])
np.savez(sys.argv[3], **outputs)
"""


@pytest.fixture(scope="module")
def run():
  return tiny_run()


@pytest.fixture(scope="module")
def exported():
  return exported_run() / "export"


@pytest.fixture(scope="module")
def encoder(exported):
  return trajvit.load(exported)


@pytest.fixture
def five(rng):
  return make_batch(rng, batch=5)


def first(batch: Batch, count: int) -> Batch:
  """Of the first clips only what an encoder is given."""
  batch = jax.tree.map(lambda x: x[:count], batch)
  text = Text(batch.text.ids % CONTEXT["vocab_size"], batch.text.mask)
  clip = Clip(batch.clip.frames, tracks=batch.clip.tracks)
  return Batch(clip=clip, text=text)


@pytest.mark.parametrize("reader", ["this python", "another python"])
def test_without_flax_it_equals_the_model(
  exported, run, five, tmp_path, reader
):
  """In a new process; of another Python, with a newer jax, if one is named."""
  python = sys.executable
  if reader == "another python":
    python = os.environ.get("TRAJVIT_READER_PYTHON")
    if python is None:
      pytest.skip("TRAJVIT_READER_PYTHON names no other interpreter")
  five = first(five, 5)
  np.savez(
    tmp_path / "in.npz",
    frames=five.clip.frames,
    tracks=five.clip.tracks,
    ids=five.text.ids,
    mask=five.text.mask,
  )
  subprocess.run(
    [python, "-c", BARE, exported, tmp_path / "in.npz", tmp_path / "out.npz"],
    env={"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"},
    check=True,
    timeout=300,
  )
  got = np.load(tmp_path / "out.npz")
  for count in (1, 5):
    outputs = run.apply(run.variables, first(five, count))
    for name, expected in {
      "encode": outputs["video_embedding"],
      "tokenize": outputs["tokens"].features,
      "encode_text": outputs["text_embedding"],
    }.items():
      found = got[f"{name}{count}"]
      assert found.shape == expected.shape
      np.testing.assert_allclose(found, expected, atol=1e-5)
  np.testing.assert_allclose(
    got["captions"],
    trajvit.load(exported).encode_text(["red ball", "green"]),
    atol=1e-5,
  )


def test_it_says_what_it_is(exported, encoder):
  assert {file.name for file in exported.iterdir()} == {
    "README.md",
    "config.json",
    "preprocessor_config.json",
    "parity.json",
    "model.safetensors",
    "encode.stablehlo",
    "tokenize.stablehlo",
    "encode_text.stablehlo",
  }
  assert encoder.config["step"] == 7
  assert encoder.config["model"] == config()["model"]
  assert encoder.config["training"]["optimizer"]["learning_rate"] == 1e-3
  assert encoder.config["versions"]["jax"] == jax.__version__
  assert encoder.config["programs"]["stablehlo"]["encode"] == {
    "file": "encode.stablehlo",
    "inputs": [
      {"name": "frames", "dtype": "uint8", "shape": ["b", *CLIP_SHAPE, 3]},
      {
        "name": "tracks",
        "dtype": "int32",
        "shape": ["b", CLIP_SHAPE[0], GRID, GRID],
      },
    ],
    "outputs": {"dtype": "float32", "shape": ["b", 8]},
    "platforms": ["cpu", "cuda", "tpu"],
  }
  report = json.loads((exported / "parity.json").read_text())
  assert report.keys() == {"stablehlo"}
  differences = report["stablehlo"]["max_abs_difference"]
  assert differences.keys() == encoder.config["programs"]["stablehlo"].keys()
  for found in differences.values():
    assert found.keys() == {"1", "5"}
    assert max(found.values()) <= report["stablehlo"]["tolerance"] == 1e-5
  tracks = encoder.preprocessing["tracks"]
  assert (tracks["grid"], tracks["max_tracks"]) == (GRID, TRACKS)
  assert encoder.preprocessing["text"]["length"] == WORDS


def test_weights_are_not_in_the_programs(exported):
  weights = (exported / "model.safetensors").read_bytes()
  table = np.asarray(trajvit.load(exported).weights["params/text/embedding"])
  assert table.tobytes() in weights
  for program in exported.glob("*.stablehlo"):
    assert table[:1].tobytes() not in program.read_bytes()


def test_a_clip_alone_equals_the_clip_in_a_batch(encoder, five):
  clip = five.clip
  together = encoder.encode(clip.frames, clip.tracks)
  tokens = encoder.tokenize(clip.frames, clip.tracks)
  for i in range(2):
    alone = encoder.encode(clip.frames[i], clip.tracks[i])
    assert alone.shape == (8,)
    np.testing.assert_allclose(alone, together[i], atol=1e-5)
    token = encoder.tokenize(clip.frames[i], clip.tracks[i])
    np.testing.assert_allclose(token.features, tokens.features[i], atol=1e-5)
    np.testing.assert_array_equal(token.mask, tokens.mask[i])


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_parity_sees_a_wrong_weight(exported, run, monkeypatch, wrong):
  monkeypatch.setattr(parity, "BATCH_SIZES", (1,))
  model = nnx.eval_shape(run.build)
  moved = jax.tree.map(jnp.copy, run.variables)
  moved["params"]["text"]["norm"]["bias"] += wrong
  with pytest.raises(ValueError, match="differs from the model by more than"):
    parity.check_parity(exported, model, moved, tolerances={"stablehlo": 1e-5})
