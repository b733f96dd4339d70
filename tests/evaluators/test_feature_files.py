"""Features in files: read back as they were, and never those of others."""

import numpy as np
import pytest
from fake_loader import LabelledLoader

from trajvit.evaluators import embed as embed_module
from trajvit.evaluators.feature_files import FeatureFiles, read_features


def predict(variables, batch):
  pixels = batch.clip.frames[:, 0, 0].reshape(len(batch.label), -1)
  return {
    "video_embedding": variables["scale"] * pixels.astype("float32"),
    "logits": pixels.astype("float32"),
  }


VARIABLES = {"scale": np.float32(2)}


class Loader:
  """What a loader tells of itself, around one of labelled clips."""

  captions, views = 1, 1

  def __init__(self, inner):
    self.evaluate = inner.evaluate

  def fingerprint(self):
    return "abc"


@pytest.fixture(name="loader")
def _loader():
  rng = np.random.default_rng(0)
  vectors = [rng.integers(0, 255, 3).astype(np.uint8) for _ in range(5)]
  return Loader(LabelledLoader([*vectors[:4], None], [0, 1, -1, 1, 2]))


def same(one, two):
  assert one.names == two.names and one.missing == two.missing
  for name, value in one.outputs.items():
    np.testing.assert_array_equal(value, two.outputs[name])
  for name in ("clip_id", "label", "place", "caption_clip"):
    np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_the_clips_are_read_once(loader, tmp_path):
  model = {"step": 3}
  passes = []
  evaluate = loader.evaluate
  loader.evaluate = lambda: passes.append(1) or evaluate()
  first = FeatureFiles(tmp_path, model)(loader, predict, VARIABLES, ["video"])
  again = FeatureFiles(tmp_path, model)(loader, None, None, ["video"])
  same(first, again)
  assert len(passes) == 1
  more = FeatureFiles(tmp_path, model)(loader, predict, VARIABLES, ["logits"])
  assert more.outputs.keys() == {"video", "logits"} and len(passes) == 2
  same(more, FeatureFiles(tmp_path, None)(loader, None, None, ["video"]))
  assert again.missing == (("clip4", "broken"),)
  (path,) = tmp_path.iterdir()
  assert path.name == "abc-1-captions-1-views.npz"
  assert read_features(path)[1] == model


def test_features_of_others_are_refused(loader, tmp_path):
  FeatureFiles(tmp_path, {"step": 3})(loader, predict, VARIABLES, ["video"])
  with pytest.raises(ValueError, match="'step': 3.*not of .*'step': 4"):
    FeatureFiles(tmp_path, {"step": 4})(loader, predict, VARIABLES, ["video"])
  with pytest.raises(ValueError, match="no features logits, and no model"):
    FeatureFiles(tmp_path, None)(loader, None, None, ["logits"])
  loader.views = 2
  with pytest.raises(ValueError, match="2-views.npz: there are no features"):
    FeatureFiles(tmp_path, None)(loader, None, None, ["video"])


@pytest.mark.parametrize("kind", ["truncated", "flipped", "text", "arrays"])
def test_a_damaged_file_is_named(loader, tmp_path, kind):
  files = FeatureFiles(tmp_path, None)
  files(loader, predict, VARIABLES, ["video"])
  (path,) = tmp_path.iterdir()
  data = path.read_bytes()
  if kind == "truncated":
    path.write_bytes(data[: len(data) // 2])
  elif kind == "flipped":
    path.write_bytes(data.replace(b'"names"', b'"nymes"'))
  elif kind == "text":
    path.write_text("hello")
  else:
    arrays = dict(np.load(path))
    arrays["place"] = arrays["place"][:1]
    np.savez(path, **arrays)
  with pytest.raises(ValueError, match="npz is no file of features"):
    files(loader, None, None, ["video"])


def test_prompts_are_kept_too(loader, tmp_path, monkeypatch):
  asked = []

  def embed_texts(loader, predict, variables, texts):
    asked.append(list(texts))
    return np.arange(len(texts), dtype=np.float32)[:, None], 0

  monkeypatch.setattr(embed_module, "embed_texts", embed_texts)
  files = FeatureFiles(tmp_path, None)
  files(loader, predict, VARIABLES, ["video"], ["b", "a"])
  found = files(loader, None, None, ["video"], ["a"])
  assert found.prompts == ("a", "b")
  assert found.prompt_vectors.tolist() == [[0], [1]]
  with pytest.raises(ValueError, match="no features c, and no model"):
    files(loader, None, None, ["video"], ["c"])
  files(loader, predict, VARIABLES, ["video"], ["c"])
  assert asked == [["a", "b"], ["a", "b", "c"]]
