"""The probe as a whole: what is frozen, what is read, what is learned."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from tiny import CLIP_SHAPE, TRACKS, WORDS, drawn, make_batch

from trajvit.models import build_model
from trajvit.objectives import build_objectives
from trajvit.training.functional import path_name
from trajvit.training.optim import frozen_mask

CONTEXT = dict(
  clip_shape=CLIP_SHAPE, max_tracks=TRACKS, vocab_size=20, text_length=WORDS
)
STEM = dict(name="conv", stride=8, widths=(8,), depths=(1,))
SEGMENTER = dict(stem=STEM, width=24, num_slots=4, num_heads=2, depth=1)
TRAJECTORIES = dict(name="trajectories", num_heads=2, depth=1)
ADAPTERS = {
  "patches": dict(name="patches"),
  "tracks": TRAJECTORIES,
  "segmenter": TRAJECTORIES | dict(segmenter=SEGMENTER),
}
SPEC = dict(
  name="probe",
  features=dict(name="stem", stem=STEM, width=24),
  adapter=ADAPTERS["patches"],
  num_classes=3,
  num_heads=2,
)
TOKENS = {"patches": 4 * 4 * 4, "tracks": TRACKS, "segmenter": 4}
FROZEN = ("^features/", "^adapter/regions/segmenter/")


def build(**spec):
  return drawn(lambda: build_model(SPEC | spec, seed=0, **CONTEXT))


def labelled():
  batch = make_batch(np.random.default_rng(0))
  return dataclasses.replace(batch, label=np.int32([2, -1, 0]))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_gradients_reach_the_head_alone(adapter):
  """And the patterns that a config freezes are just what has none."""
  graphdef, state = nnx.split(build(adapter=ADAPTERS[adapter]))
  batch = labelled()
  objectives = build_objectives({"classification": {}})

  @jax.jit
  def gradient(params):
    def loss(params):
      outputs = nnx.merge(graphdef, params)(batch)
      return objectives(outputs, batch)[0], outputs

    return jax.grad(loss, has_aux=True)(params)

  params = nnx.to_pure_dict(state)
  grads, outputs = gradient(params)
  assert outputs["logits"].shape == (3, 3)
  assert outputs["tokens"].mask.shape == (3, TOKENS[adapter])
  assert outputs["tokens"].mask.any(1).all()

  patterns = FROZEN if adapter == "segmenter" else FROZEN[:1]
  frozen = jax.tree.leaves(frozen_mask(params, patterns))
  leaves = jax.tree_util.tree_leaves_with_path(grads)
  for (path, grad), fixed in zip(leaves, frozen, strict=True):
    name = path_name(path)
    # The softmax is blind to a bias of the keys.
    assert name == "pool/key/bias" or np.any(grad) == (not fixed), name


def test_features_that_are_not_frozen_learn():
  graphdef, state = nnx.split(build(frozen=False))
  batch = labelled()
  objectives = build_objectives({"classification": {}})

  @jax.jit
  def gradient(params):
    return jax.grad(
      lambda p: objectives(nnx.merge(graphdef, p)(batch), batch)[0]
    )(params)

  grads = gradient(nnx.to_pure_dict(state))
  assert all(np.any(x) for x in jax.tree.leaves(grads["features"]))


def test_a_masked_frame_and_the_order_of_tracks_change_nothing(nnx_mode, rng):
  model = build(adapter=ADAPTERS["tracks"])
  run = jax.jit(lambda batch: model(batch))
  batch = labelled()
  mask = batch.clip.frame_mask.copy()
  mask[0, 2:] = False
  clip = dataclasses.replace(batch.clip, frame_mask=mask)
  expected = run(dataclasses.replace(batch, clip=clip))
  assert expected["video_embedding"].shape == (3, 24)

  hidden = ~mask[..., None, None]
  order = rng.permutation(TRACKS)
  tracks = np.where(clip.tracks < 0, -1, order[clip.tracks])
  other = dataclasses.replace(
    clip,
    frames=np.where(hidden[..., None], 255 - clip.frames, clip.frames),
    tracks=np.where(hidden, 3, tracks).astype(np.int32),
  )
  got = run(dataclasses.replace(batch, clip=other))
  np.testing.assert_allclose(got["logits"], expected["logits"], atol=1e-5)


ERRORS = [
  (dict(num_classes=0), "num_classes must be at least 1, got 0"),
  (dict(features=dict(name="resnet")), "unknown feature provider 'resnet'"),
  (dict(adapter=dict(name="patch")), "known: patches, trajectories"),
  (dict(heads=2), "model 'probe' reads no 'heads'"),
]


@pytest.mark.parametrize(("spec", "message"), ERRORS)
def test_what_a_config_gets_wrong_is_named_by_the_probe(spec, message):
  with pytest.raises(ValueError, match=message):
    build(**spec)
