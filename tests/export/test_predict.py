"""An export is evaluated as the model that it was made of."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny import WORDS, make_batch
from tiny_runs import CONTEXT, exported_run, tiny_run

import trajvit
from trajvit.export.predict import as_predict
from trajvit.types import Text


def several_captions(rng):
  """A batch of 3 clips with 2 captions each."""
  batch = make_batch(rng)
  ids = rng.integers(1, CONTEXT["vocab_size"], (3, 2, WORDS)).astype(np.int32)
  text = Text(ids=ids, mask=np.ones(ids.shape, bool))
  return dataclasses.replace(batch, text=text)


def test_outputs_are_those_of_the_model(rng):
  run, batch = tiny_run(), several_captions(rng)
  expected = jax.jit(run.apply)(run.variables, batch)
  predict, weights = as_predict(trajvit.load(exported_run() / "export"))
  found = jax.jit(predict)(weights, batch)
  assert found.keys() == {"video_embedding", "text_embedding"}
  for name, value in found.items():
    assert value.shape == expected[name].shape
    np.testing.assert_allclose(value, expected[name], atol=1e-5)


def test_tracks_are_missed(rng):
  predict, weights = as_predict(trajvit.load(exported_run() / "export"))
  batch = several_captions(rng)
  clip = dataclasses.replace(batch.clip, tracks=None)
  batch = dataclasses.replace(batch, clip=clip)
  with pytest.raises(ValueError, match="reads tracks, and the batch has none"):
    predict(weights, batch)


def test_budgets_are_refused(rng):
  predict, weights = as_predict(trajvit.load(exported_run() / "export"))
  batch = dataclasses.replace(
    several_captions(rng), budget=np.full(3, 2, np.int32)
  )
  with pytest.raises(ValueError, match="the batch has a budget"):
    predict(weights, batch)
