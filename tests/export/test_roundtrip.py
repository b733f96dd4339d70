"""From a run directory through the command to an encoder, and back."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import CLIP_SHAPE, GRID, SIZE, TRACKS, WORDS, make_batch
from flax import nnx
from tiny_runs import CONTEXT, VOCABULARY, config, tiny_run

import trajvit
from trajvit import cli
from trajvit.data.decode import write_video
from trajvit.data.example import ClipSpec
from trajvit.data.video_files import VideoFiles
from trajvit.export import parity
from trajvit.training.checkpoint import Checkpoints
from trajvit.training.config import CheckpointConfig
from trajvit.training.state import init_state
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
def workdir(run, tmp_path_factory):
  """A run directory with the run as its checkpoint."""
  path = tmp_path_factory.mktemp("run")
  (path / "config.json").write_text(json.dumps(config()))
  state = init_state(run.variables, optax.sgd(1.0), ema=False)
  checkpoints = Checkpoints(path / "checkpoints", CheckpointConfig(every=1))
  checkpoints.save(7, state, data={}, meta=dict(model_context=CONTEXT))
  checkpoints.close()
  return path


@pytest.fixture(scope="module")
def exported(workdir):
  out = workdir / "export"
  assert cli.main(["export", str(workdir), str(out), "--step", "7"]) == 0
  return out


@pytest.fixture(scope="module")
def encoder(exported):
  return trajvit.load(exported)


@pytest.fixture
def damaged(exported, tmp_path):
  """A copy of the export, to be damaged."""
  return shutil.copytree(exported, tmp_path / "copy")


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
    "config.json",
    "preprocessing.json",
    "model.safetensors",
    "encode.stablehlo",
    "tokenize.stablehlo",
    "encode_text.stablehlo",
  }
  assert encoder.config["step"] == 7
  assert encoder.config["model"] == config()["model"]
  assert encoder.config["training"]["optimizer"]["learning_rate"] == 1e-3
  assert encoder.config["versions"]["jax"] == jax.__version__
  assert encoder.config["programs"]["encode"] == {
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
  differences = encoder.config["parity"]["max_abs_difference"]
  assert differences.keys() == encoder.config["programs"].keys()
  for found in differences.values():
    assert found.keys() == {"1", "5"}
    assert max(found.values()) <= encoder.config["parity"]["tolerance"] == 1e-5
  tracks = encoder.preprocessing["tracks"]
  assert (tracks["grid"], tracks["max_tracks"]) == (GRID, TRACKS)
  assert encoder.preprocessing["text"]["length"] == WORDS


def test_weights_are_not_in_the_programs(exported):
  weights = (exported / "model.safetensors").read_bytes()
  table = np.asarray(trajvit.load(exported)._weights["params/text/embedding"])
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


def test_pixel_tracks_are_read_in_the_middle_of_cells(encoder, five):
  stride = SIZE // GRID
  pixels = np.full((5, CLIP_SHAPE[0], SIZE, SIZE), -1)
  middle = slice(stride // 2, None, stride)
  pixels[:, :, middle, middle] = five.clip.tracks
  np.testing.assert_array_equal(
    encoder.encode(five.clip.frames, pixels),
    encoder.encode(five.clip.frames, five.clip.tracks),
  )


def test_captions_are_ids(encoder):
  words = ["green ball moves", "", "left " * WORDS]
  ids = np.zeros((3, WORDS), np.int32)
  ids[0, :4] = [2, *(3 + VOCABULARY.index(x) for x in words[0].split())]
  ids[2] = [
    2,
    *(3 + VOCABULARY.index(x) for x in words[2].split()[: WORDS - 1]),
  ]
  expected = encoder.encode_text(ids, ids > 0)
  np.testing.assert_array_equal(encoder.encode_text(words), expected)
  alone = encoder.encode_text(words[0])
  np.testing.assert_allclose(alone, expected[0], atol=1e-6)


@pytest.mark.parametrize("shape", [(48, 64), (200, 90)])
def test_a_file_is_read_as_an_evaluation_reads_it(
  encoder, rng, tmp_path, shape
):
  smooth = rng.integers(0, 256, (1, *shape, 3)).repeat(9, 0).astype(np.uint8)
  write_video(tmp_path / "a.mp4", np.roll(smooth, 3, 1), fps=8)
  manifest = tmp_path / "a.jsonl"
  manifest.write_text(json.dumps({"video": "a.mp4", "caption": "red"}))
  spec = ClipSpec(**encoder.config["clip"])
  source = VideoFiles(clip=spec, manifest=str(manifest), tracks="none")
  clip = source.example(0, None)
  tracks = rng.integers(-1, TRACKS, (CLIP_SHAPE[0], GRID, GRID))
  np.testing.assert_array_equal(
    encoder.encode(tmp_path / "a.mp4", tracks),
    encoder.encode(clip.frames, tracks),
  )


def test_without_the_extractor_tracks_must_be_given(encoder, five, monkeypatch):
  monkeypatch.setitem(sys.modules, "trajvit.data.extract", None)
  with pytest.raises(
    ValueError, match=r"tracks=, or install trajvit\[tracks\]"
  ):
    encoder.encode(five.clip.frames)


def test_tracks_are_extracted_where_none_are_given(encoder, rng, monkeypatch):
  """The extractor is asked for every clip, and its labels are used."""
  frames = rng.integers(0, 256, (2, *CLIP_SHAPE, 3), dtype=np.uint8)

  class Extractor:
    @staticmethod
    def extract_tracks(clip, max_tracks):
      return (clip[..., 0] % max_tracks).astype(np.int32)

  monkeypatch.setitem(sys.modules, "trajvit.data.extract", Extractor)
  tracks = (frames[..., 0] % TRACKS).astype(np.int32)
  np.testing.assert_array_equal(
    encoder.encode(frames), encoder.encode(frames, tracks)
  )


def test_another_format_is_refused(damaged):
  (damaged / "config.json").write_text('{"format": 2}')
  with pytest.raises(ValueError, match="has format 2, expected 1"):
    trajvit.load(damaged)


def test_a_run_directory_is_no_export(workdir):
  with pytest.raises(FileNotFoundError, match="no preprocessing.json"):
    trajvit.load(workdir)


def test_damaged_weights_are_refused(damaged):
  path = damaged / "model.safetensors"
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(ValueError, match="model.safetensors.*cut short"):
    trajvit.load(damaged)


def test_weights_of_another_model_are_refused(damaged):
  path = damaged / "model.safetensors"
  path.write_bytes(path.read_bytes().replace(b"[16,8]", b"[8,16]"))
  with pytest.raises(
    ValueError,
    match=r"expects 'params/project_text/kernel' to be float32 \[16, 8\], but "
    r"model.safetensors has float32 \[8, 16\] \(2 arrays differ\)",
  ):
    trajvit.load(damaged)


@pytest.mark.parametrize(
  "change",
  [
    lambda program: program[:3000],
    lambda program: program.replace(b"ML\xefR", b"ML\xefX"),
  ],
  ids=["cut short", "bytecode of another kind"],
)
def test_a_program_that_cannot_be_read_says_why(damaged, change):
  path = damaged / "tokenize.stablehlo"
  whole = path.read_bytes()
  path.write_bytes(change(whole))
  assert path.read_bytes() != whole
  with pytest.raises(
    ValueError, match=f"tokenize.stablehlo.*written by jax {jax.__version__}"
  ):
    trajvit.load(damaged)


def test_an_export_is_not_replaced_unasked(exported, workdir, capsys):
  before = (exported / "config.json").read_bytes()
  assert cli.main(["export", str(workdir), str(exported)]) == 2
  assert "--overwrite replaces it" in capsys.readouterr().err
  assert (exported / "config.json").read_bytes() == before


def test_a_missing_step_is_named(workdir, tmp_path, capsys):
  command = ["export", str(workdir), str(tmp_path / "out"), "--step", "8"]
  assert cli.main(command) == 2
  assert "saved steps: [7]" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_parity_sees_a_wrong_weight(exported, run, monkeypatch, wrong):
  monkeypatch.setattr(parity, "BATCH_SIZES", (1,))
  model = nnx.eval_shape(run.build)
  moved = jax.tree.map(jnp.copy, run.variables)
  moved["params"]["text"]["norm"]["bias"] += wrong
  with pytest.raises(ValueError, match="differs from the model by more than"):
    parity.check_parity(exported, model, moved, tolerance=1e-5)
