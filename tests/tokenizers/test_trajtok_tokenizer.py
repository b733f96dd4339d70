"""TrajTok's tokens: what they are made of, and what learns from them."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from trajtok_parts import (
  BATCH,
  CELLS,
  FRAMES,
  SLOTS,
  WIDTH,
  largest,
  make_frames,
  make_pool,
  make_segmenter,
)

from trajvit.tokenizers import TOKENIZERS
from trajvit.tokenizers.trajtok import SegmentTokenizer
from trajvit.tokenizers.trajtok.tokenizer import given_slots
from trajvit.types import Clip

SHAPE = (BATCH, FRAMES, CELLS, CELLS)
REAL = np.ones((BATCH, FRAMES), bool)


def make_tokenizer(*, freeze=False, teacher=0.0, **pool):
  return SegmentTokenizer(
    make_segmenter(), make_pool(**pool), teacher=teacher, freeze=freeze
  )


@pytest.fixture(scope="module")
def tokenizer():
  return make_tokenizer()


@pytest.fixture(scope="module")
def tokenize(tokenizer):
  return jax.jit(tokenizer)


@pytest.fixture
def grid(rng):
  """Features, and logits by which slot 4 owns nothing."""
  features = rng.normal(size=(*SHAPE, WIDTH)).astype(np.float32)
  logits = rng.normal(size=(*SHAPE, SLOTS)).astype(np.float32)
  logits[..., 4] -= 10
  return features, logits


def test_tokens_follow_the_hard_assignment(tokenize, rng):
  tokens, aux = tokenize(Clip(make_frames(rng)))
  owner = np.asarray(aux["assignment"])
  np.testing.assert_array_equal(owner, np.argmax(aux["logits"], -1))
  assert set(aux) == {"logits", "assignment"}
  axes = [(np.arange(n) + 0.5) / n for n in SHAPE[1:]]
  centers = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
  for b in range(BATCH):
    for m in range(SLOTS):
      cells = owner[b] == m
      assert tokens.size[b, m] == cells.sum()
      assert tokens.mask[b, m] == cells.any()
      if cells.any():
        center = centers[cells].mean(0)
        np.testing.assert_allclose(tokens.positions[b, m], center, atol=1e-5)
        assert np.any(tokens.features[b, m])


def test_permuting_slots_permutes_tokens(tokenizer, tokenize, rng):
  order = np.array([3, 0, 5, 1, 4, 2])
  graphdef, state = nnx.split(tokenizer)
  for part in (state["segmenter"], state["pool"]):
    part["latents"] = part["latents"].replace(part["latents"][...][order])
  clip = Clip(make_frames(rng))
  before = tokenize(clip)[0]
  after = jax.jit(nnx.merge(graphdef, state))(clip)[0]
  for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
    np.testing.assert_allclose(b, a[:, order], atol=1e-5)


def test_padding_frames_change_no_token_and_no_gradient(tokenizer, rng):
  frames = make_frames(rng)
  mask = np.ones((BATCH, FRAMES), bool)
  mask[0, 1:] = mask[1, 0] = False

  @jax.jit
  def step(frames):
    def loss(frames):
      tokens, aux = tokenizer(Clip(frames, frame_mask=mask))
      return jnp.square(tokens.features).sum(), (tokens, aux)

    return jax.value_and_grad(loss, has_aux=True)(frames)

  clean = step(frames)
  for fill in (1e4, np.nan):
    found = step(np.where(mask[:, :, None, None, None], frames, fill))
    pairs = zip(jax.tree.leaves(clean), jax.tree.leaves(found), strict=True)
    for a, b in pairs:
      np.testing.assert_array_equal(a, b)
  tokens, aux = clean[0][1]
  assert np.all((aux["assignment"] == -1) == ~mask[:, :, None, None])
  assert tokens.size.sum(1).tolist() == [CELLS**2, 2 * CELLS**2]


def gradients(**options):
  """Gradients of a loss on the tokens alone, as a contrastive one is."""
  graphdef, state = nnx.split(make_tokenizer(**options))
  clip = Clip(make_frames(np.random.default_rng(0)))

  @jax.jit
  def grad(state):
    def loss(state):
      return jnp.square(nnx.merge(graphdef, state)(clip)[0].features).sum()

    return jax.grad(loss)(state)

  return grad(state)


def choosing(grads):
  """Of what decides the assignment, aside from the stem."""
  names = ["cell_head", "slot_head", "perceiver", "latents", "log_scale"]
  return largest([grads["segmenter"][name] for name in names])


def test_the_soft_means_tell_the_segmenter_what_to_own():
  grads = gradients()
  assert np.isfinite(largest(grads)).all()
  assert min(choosing(grads)) > 0
  assert min(largest(grads["segmenter"]["stem"])) > 0


def test_without_the_soft_means_only_the_stem_learns():
  grads = gradients(add_mean=False)
  assert max(choosing(grads)) == 0
  assert min(largest(grads["segmenter"]["stem"])) > 0


def test_a_frozen_segmenter_has_no_gradient():
  grads = gradients(freeze=True)
  assert max(largest(grads["segmenter"])) == 0
  assert min(largest(grads["pool"])) > 0


@jax.jit
def taught(clip, key):
  return make_tokenizer(teacher=1.0)(clip, key=key)


def test_a_taught_clip_is_read_by_its_tracks(tokenize, rng):
  """Numbered by their first cell; what is segmented stays what it is."""
  make_segmenter(), make_pool()
  frames, key = make_frames(rng), jax.random.key(0)
  tracks = rng.integers(-1, 3, SHAPE).astype(np.int32) * 1000
  tracks[:, 0, 0, 0] = 2000
  clip = Clip(frames, REAL, tracks=tracks)
  tokens, aux = taught(clip, key)
  segmented, plain = tokenize(Clip(frames, REAL))
  np.testing.assert_array_equal(aux["assignment"], plain["assignment"])
  assert tokens.mask.sum(1).tolist() == [3] * BATCH
  sizes = (tracks == 2000).sum((1, 2, 3))
  np.testing.assert_array_equal(tokens.size[:, 0], sizes)
  untaught, _ = taught(Clip(frames, REAL), key)  # no tracks: nobody to teach
  evaluated, _ = jax.jit(make_tokenizer(teacher=1.0))(clip)
  for other in (untaught, evaluated):
    np.testing.assert_allclose(other.features, segmented.features, atol=1e-5)


def test_a_share_of_the_clips_is_taught(rng):
  """Each clip by its tracks or by the segmentation, whole."""
  many = 64
  shape = (many, *SHAPE[1:])
  found = given_slots(Clip(None, tracks=np.zeros(shape, np.int32)), (*shape, 6))
  assert not np.any(found)
  frames = np.repeat(make_frames(rng)[:1], many, 0)
  clip = Clip(frames, tracks=np.zeros(shape, np.int32))
  make_segmenter(), make_pool()
  tokens, _ = jax.jit(make_tokenizer(teacher=0.25))(clip, key=jax.random.key(1))
  counts = np.asarray(tokens.mask.sum(1))
  assert set(counts) == {1, counts.max()} and 4 < (counts == 1).sum() < 32


def test_a_slot_without_a_cell_is_a_masked_zero_with_a_finite_gradient(grid):
  pool = make_pool()

  @jax.jit
  def step(features, logits):
    def loss(features, logits):
      tokens, _ = pool(features, logits)
      return jnp.square(tokens.features).sum(), tokens

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(features, logits)

  (_, tokens), grads = step(*grid)
  expected = [True] * SLOTS
  expected[4] = False
  assert tokens.mask.tolist() == [expected] * BATCH
  assert not np.any(tokens.features[:, 4])
  assert not np.any(tokens.positions[:, 4]) and not np.any(tokens.size[:, 4])
  assert np.isfinite(largest(grads)).all()


def test_soft_tokens_are_the_weighted_means(grid):
  features, logits = grid
  pool = make_pool(assignment="soft")
  tokens, _ = jax.jit(pool)(features, logits)
  share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  total = np.einsum("bthwm,bthwd->bmd", share, features)
  means = total / share.sum((1, 2, 3))[..., None]
  expected = pool.project(pool.norm(means))
  expected = np.where(tokens.mask[..., None], expected, 0)
  np.testing.assert_allclose(tokens.features, expected, atol=1e-4)


def test_a_hard_token_reads_no_other_slot(grid):
  """Without means: the features of other slots may be anything."""
  features, logits = grid
  pool = jax.jit(make_pool(add_mean=False))
  tokens, owner = pool(features, logits)
  other = np.where((owner == 2)[..., None], features, -features)
  changed, _ = pool(other, logits)
  np.testing.assert_allclose(
    changed.features[:, 2], tokens.features[:, 2], atol=1e-5
  )
  assert np.abs(changed.features - tokens.features).max() > 0.1


def test_where_a_slot_goes_is_seen_if_features_know_their_place():
  """On frames without content, one path and the same one backwards."""
  place = make_segmenter().place(SHAPE[1:], None)
  pool = jax.jit(make_pool())

  def path(features, columns):
    logits = np.zeros((1, *SHAPE[1:], SLOTS), np.float32)
    for t, column in enumerate(columns):
      logits[:, t, 1:3, column, 2] = 9
    return pool(features, logits)[0].features[0, 2]

  def difference(features):
    return np.abs(path(features, [0, 1, 2]) - path(features, [2, 1, 0])).max()

  same = jnp.broadcast_to(place[:, :1, :1, :1], place.shape)
  assert difference(place) > 1e-2 and difference(same) < 1e-5


def test_levels_are_nested(grid):
  """In the 3-D variant latents never meet: level 1 begins with level 0."""
  low, _ = jax.jit(make_pool(max_level=1, level=0))(*grid)
  high, _ = jax.jit(make_pool(max_level=1))(*grid)
  assert low.features.shape == (BATCH, SLOTS, 16)
  assert high.features.shape == (BATCH, 2 * SLOTS, 16)
  first, second = high.features[:, ::2], high.features[:, 1::2]
  np.testing.assert_allclose(first, low.features, atol=1e-5)
  assert np.abs(first - second).max() > 1e-3
  assert high.mask.tolist() == np.repeat(low.mask, 2, axis=1).tolist()
  np.testing.assert_array_equal(high.positions[:, 1::2], low.positions)
  np.testing.assert_allclose(high.size.sum(1), low.size.sum(1))


def test_logits_are_resized_to_other_features(grid, rng):
  """Features of a frozen encoder, on a coarser grid of another width."""
  _, logits = grid
  features = rng.normal(size=(*SHAPE[:2], 2, 2, WIDTH)).astype(np.float32)
  tokens, owner = jax.jit(make_pool())(features, logits)
  coarse = logits.reshape(*SHAPE[:2], 2, 2, 2, 2, SLOTS).mean((3, 5))
  np.testing.assert_array_equal(owner, coarse.argmax(-1))
  assert tokens.size.sum(1).tolist() == [FRAMES * 4] * BATCH


def test_the_last_cells_leak_only_where_the_release_is_asked_for(grid):
  features, logits = grid
  logits = np.array(logits)
  logits[:, -1, -1, -2:, 3] = 99  # slot 3 owns them
  moved = np.array(features)
  moved[:, -1, -1, -2:] *= -1

  def change(**options):
    pool = jax.jit(make_pool(add_mean=False, **options))
    before, after = pool(features, logits)[0], pool(moved, logits)[0]
    return np.abs(after.features - before.features).max((0, 2))

  plain, leaking = change(), change(leak_last_two=True)
  assert plain[3] > 0 and plain[[0, 1, 2, 5]].max() < 1e-5
  assert leaking[[0, 1, 2, 3, 5]].min() > 1e-3


ERRORS = [
  (dict(assignment="both"), "'hard' or 'soft', got 'both'"),
  (dict(level=1), r"level must be in \[0, 0\], got 1"),
  (dict(add_mean=False, use_latents=False), "got neither"),
  (dict(max_level=1, use_latents=False), "level 1 needs latents"),
  (dict(assignment="soft", max_level=1), "level 1 needs latents"),
  (dict(assignment="soft", add_mean=False), "needs add_mean"),
]


@pytest.mark.parametrize(("options", "message"), ERRORS)
def test_options_that_do_not_go_together_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    make_pool(**options)


def test_a_teacher_is_a_share():
  with pytest.raises(ValueError, match=r"teacher must be in \[0, 1\], got 2"):
    make_tokenizer(teacher=2.0)


def test_logits_of_other_slots_are_refused(grid):
  features, logits = grid
  with pytest.raises(ValueError, match=r"must be \(2, 3, 4, 4, 6\), got"):
    make_pool()(features, logits[..., :5])


def test_a_config_builds_it_and_it_exports():
  """From a spec, in the release's form, with a batch of unknown size."""
  spec = dict(
    name="trajtok",
    stem=dict(name="conv", widths=(8,), depths=(1,), stride=8),
    num_slots=SLOTS,
    segment_width=8,
    position="rotary_1d",
    add_position=False,
    pool=dict(name="cells", leak_last_two=True, add_mean=False),
  )
  context = dict(width=16, num_heads=2)
  tokenizer = nnx.eval_shape(
    lambda: TOKENIZERS.build(spec, **context, rngs=nnx.Rngs(0))
  )
  assert not tokenizer.needs_tracks and tokenizer.segmenter.width == 8
  graphdef, state = nnx.split(tokenizer)
  (batch,) = jax.export.symbolic_shape("b")
  exported = jax.export.export(
    jax.jit(lambda *x: nnx.merge(graphdef, x[0])(Clip(x[1]))[0].features)
  )(state, jax.ShapeDtypeStruct((batch, 3, 32, 32, 3), jnp.float32))
  assert exported.out_avals[0].shape == (batch, SLOTS, 16)


def shapes_of(**spec):
  """A tokenizer from a spec, of shapes without values."""
  context = dict(width=512, num_heads=8, dtype=spec.pop("dtype", jnp.float32))
  return nnx.eval_shape(
    lambda: TOKENIZERS.build(
      dict(name="trajtok", **spec), **context, rngs=nnx.Rngs(0)
    )
  )


def test_the_release_has_as_many_parameters():
  """In millions, from the released code, as built by its configuration."""
  tokenizer = shapes_of(
    stem=dict(name="convnext", variant="small"),
    position="rotary_1d",
    add_position=False,
    pool=dict(name="cells", add_mean=False),
    high_resolution=True,
  )
  segmenter, pool = tokenizer.segmenter, tokenizer.pool
  expected = {
    59.55: segmenter,
    50.20: segmenter.stem,
    8.41: segmenter.perceiver,
    0.07: segmenter.slot_head,
    0.66: segmenter.high_cell_head,
    8.4060: pool.perceiver,
    0.26: pool.project,
  }
  for millions, part in expected.items():
    count = sum(x.size for x in jax.tree.leaves(nnx.state(part, nnx.Param)))
    assert abs(count / 1e6 - millions) < 0.006, (millions, count)
  assert pool.latents.shape == (128, 1, 512)


@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_in_bfloat16_logits_and_parameters_stay_float32(assignment):
  stem = dict(name="conv", widths=(8,), depths=(1,))
  pool = dict(name="cells", assignment=assignment)
  tokenizer = shapes_of(stem=stem, pool=pool, dtype=jnp.bfloat16)
  graphdef, state = nnx.split(tokenizer)
  assert {x.dtype for x in jax.tree.leaves(state)} == {jnp.dtype("float32")}
  frames = jax.ShapeDtypeStruct((1, 2, 8, 8, 3), jnp.float32)
  tokens, aux = jax.eval_shape(
    lambda state, frames: nnx.merge(graphdef, state)(Clip(frames)),
    state,
    frames,
  )
  assert tokens.features.dtype == jnp.bfloat16
  assert aux["logits"].dtype == tokens.positions.dtype == jnp.float32
