"""Which models are converted to ONNX, as docs/export.md tells it.

`pytest -m slow -s tests/export/test_onnx_table.py` prints the table.
"""

from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from tiny import FRAMES, GRID, SIZE, TRACKS, WORDS
from tiny_models import MODELS, SIZES, TUBELET, tokens
from tiny_runs import MODEL, run_of

from trajvit.encoders import ENCODERS, TEXT_ENCODERS
from trajvit.export.frames import with_fixed_frames
from trajvit.export.programs import flat_weights, model_programs
from trajvit.export.quantize import quantized
from trajvit.export.targets import TARGETS
from trajvit.export.write import preprocessing
from trajvit.reducers import REDUCERS

pytest.importorskip("jax2onnx")
TARGET = TARGETS["onnx"]
PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
SECTION = PAGE.split("\n## What ONNX cannot hold\n")[1].split("\n## ")[0]
# Row -> the error, whose first words are in the documentation.
REFUSED = {
  "reducer `llava_scissor`": "fails in ONNX Runtime",
  "reducer `random_k`": "draws numbers",
}
# With the clips of seed 0 two slots claim a cell to within a rounding: the
# model itself gives it to the other one when its weights move by as much.
SEEDS = {"`trajtok`": 1}


def reducing(name):
  stages = dict(stages=(1, 1), reducers=[None, dict(name=name, k=24)])
  return tokens("tubelet", encoder=stages, patch=(1, 8, 8))


def reading(name, **options):
  return MODEL | dict(text=dict(name=name, **SIZES, **options))


def encoding(name, **options):
  return tokens(**TUBELET, encoder=dict(name=name, **options))


ROWS = {
  **{row: (model, "encode") for row, model in MODELS.items()},
  "encoder `factorized_vit`": (encoding("factorized_vit"), "encode"),
  "encoder `lookup_vit`": (
    encoding("lookup_vit", budgets=((1, 2, 2),)),
    "encode",
  ),
  "encoder `token_learner_vit`": (
    encoding("token_learner_vit", frame_tokens=2),
    "encode",
  ),
  "encoder `vit`, 20 layers": (encoding("vit", depth=20), "encode"),
  "encoder `vit`, bfloat16": (
    encoding("vit") | dict(dtype="bfloat16"),
    "encode",
  ),
  **{f"reducer `{name}`": (reducing(name), "encode") for name in REDUCERS},
  "text `bert`": (reading("bert", mlp_dim=32), "encode_text"),
  "text `transformer`": (reading("transformer"), "encode_text"),
  "text `transformer`, causal": (
    reading("transformer", causal=True, pool="last"),
    "encode_text",
  ),
  "text `videoprism`": (reading("videoprism", mlp_dim=32), "encode_text"),
}


def test_every_entry_has_a_row():
  rows = " ".join(ROWS)
  assert all(f"encoder `{name}`" in rows for name in ENCODERS)
  assert all(f"text `{name}`" in rows for name in TEXT_ENCODERS)


def test_the_page_names_what_is_refused():
  listed = {
    line[2:].split(":")[0] for line in SECTION.splitlines() if line[:2] == "- "
  }
  assert listed == set(REFUSED)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_it_is_converted_or_refused(row, tmp_path):
  model, name = ROWS[row]
  if row in REFUSED:
    with pytest.raises(ValueError, match=REFUSED[row]):
      difference(run_of(model), name, tmp_path)
    print(f"| {row} | no: {REFUSED[row]} |")
  else:
    found = difference(run_of(model), name, tmp_path, seed=SEEDS.get(row, 0))
    print(f"| {row} | {found:.0e} |")
    rounded = model.get("dtype") == "bfloat16"
    assert found <= (2e-2 if rounded else TARGET.TOLERANCE)


@pytest.mark.slow
def test_weights_of_eight_bits_are_converted(tmp_path):
  pytest.importorskip("qwix")
  run = quantized(run_of(encoding("vit")), "int8")
  assert difference(run, "encode", tmp_path) <= TARGET.TOLERANCE


def difference(run, name, directory, seed=0) -> float:
  """How far the ONNX program is from the model, both called once."""
  rng, model = np.random.default_rng(seed), nnx.eval_shape(run.build)
  clip = with_fixed_frames(preprocessing(run, model), "as in an export")
  programs = model_programs(model, clip, TARGET.ATTENTION)
  name = name if name in programs else next(iter(programs))
  weights = {
    key: abs(np.asarray(x)) if key.startswith("batch_stats") else np.asarray(x)
    for key, x in flat_weights(run.variables).items()  # variances
  }
  chosen = {name: programs[name]}
  signatures = TARGET.write(directory, chosen, weights, platforms=())
  config = {"programs": {"onnx": signatures}}
  call = TARGET.load(directory, config, weights)[name]
  inputs = {
    "frames": rng.integers(0, 256, (3, FRAMES, SIZE, SIZE, 3), np.uint8),
    "tracks": rng.integers(-1, TRACKS, (3, FRAMES, GRID, GRID), np.int32),
    "ids": rng.integers(1, 8, (3, WORDS), np.int32),
    "mask": np.arange(WORDS) < np.array([[WORDS], [1], [3]]),
  }
  inputs = [inputs[key] for key in programs[name].inputs]
  expected = jax.jit(programs[name].call)(weights, *inputs)
  found = call(weights, *inputs)
  return max(
    float(np.abs(np.asarray(x, np.float32) - np.asarray(y, np.float32)).max())
    for x, y in zip(
      jax.tree.leaves(expected), jax.tree.leaves(found), strict=True
    )
  )
