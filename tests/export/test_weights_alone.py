"""An export without its programs: the model is built from its config."""

import shutil

import numpy as np
import pytest
from tiny_runs import exported_run

import trajvit


@pytest.fixture
def bare(tmp_path):
  """A copy of the export that has no program."""
  ignore = shutil.ignore_patterns("*.stablehlo")
  return shutil.copytree(
    exported_run() / "export", tmp_path / "bare", ignore=ignore
  )


def test_it_encodes_as_the_programs_do(bare, clip):
  programs = trajvit.load(exported_run() / "export")
  model = trajvit.load(bare)
  assert model.preprocessing == programs.preprocessing
  for one, two in (
    (
      model.encode(clip.frames, clip.tracks),
      programs.encode(clip.frames, clip.tracks),
    ),
    (model.encode_text("red ball"), programs.encode_text("red ball")),
  ):
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_weights_of_another_model_are_refused(bare):
  path = bare / "model.safetensors"
  path.write_bytes(path.read_bytes().replace(b"[16,8]", b"[8,16]"))
  with pytest.raises(
    ValueError,
    match=r"the model expects 'params/project_text/kernel' to be float32 "
    r"\[16, 8\], but model.safetensors has float32 \[8, 16\]",
  ):
    trajvit.load(bare)
