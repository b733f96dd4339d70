"""The discriminator: what its logits see, and that it can be trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import drawn, on_host

from trajvit.models.discriminator import Discriminator
from trajvit.ops.adversarial import (
  hinge_discriminator,
  hinge_generator,
  r1_penalty,
)

SHAPE = (2, 6, 8, 8, 3)
ALL = np.ones(SHAPE[:2], bool)


def build():
  return Discriminator(widths=(4, 6), rngs=nnx.Rngs(params=0))


@pytest.fixture(scope="module")
def judge():
  """frames, mask -> logits, and the gradient of the generator's loss."""
  net = drawn(build)

  def run(frames, mask):
    def loss(frames):
      logits = net(frames, mask)
      return hinge_generator(logits, mask=mask), logits

    (_, logits), grads = jax.value_and_grad(loss, has_aux=True)(frames)
    return logits, grads

  return on_host(run)


@pytest.fixture
def frames(rng):
  return rng.normal(size=SHAPE).astype(np.float32)


def test_there_is_a_map_for_every_frame(judge, frames):
  logits, grads = judge(frames, ALL)
  assert logits.shape == (2, 6, 2, 2) and logits.dtype == np.float32
  assert np.std(logits) > 0.01 and grads.any((2, 3, 4)).all()


def test_a_logit_sees_as_many_frames_as_it_says(judge, frames):
  """Two on each side with two stages; and nothing of the other clip."""
  before, _ = judge(frames, ALL)
  frames[0, 0] += 1
  after, _ = judge(frames, ALL)
  seen = (before != after).any((2, 3))
  assert seen.tolist() == [[True] * 3 + [False] * 3, [False] * 6]


def test_masked_frames_change_nothing(judge, frames):
  mask = ALL.copy()
  mask[1, 3:] = False
  logits, grads = judge(frames, mask)
  frames[~mask] = np.nan
  jax.tree.map(
    np.testing.assert_array_equal, judge(frames, mask), (logits, grads)
  )
  assert not logits[~mask].any() and not grads[~mask].any()
  alone, _ = judge(frames[1:, :3], ALL[1:, :3])
  np.testing.assert_allclose(logits[1:, :3], alone, atol=1e-5)


def test_it_learns_to_tell_noise_from_stripes(rng):
  """With the penalty on its gradient, whose own gradient is needed for that."""
  graphdef, params = nnx.split(drawn(build))
  real = np.broadcast_to(np.sign(np.sin(np.arange(8))), (2, 6, 3, 8, 8))
  real = real.transpose(0, 1, 3, 4, 2).astype(np.float32)
  fake = rng.normal(size=SHAPE).astype(np.float32)

  @jax.jit
  def step(params):
    def loss(params):
      net = nnx.merge(graphdef, params)
      hinge = hinge_discriminator(net(real), net(fake))
      return hinge + 1e-2 * r1_penalty(net, real), hinge

    (_, hinge), grads = jax.value_and_grad(loss, has_aux=True)(params)
    moved = jax.tree.map(lambda x, g: x - 1e-2 * jnp.sign(g), params, grads)
    return moved, hinge

  losses = []
  for _ in range(60):
    params, hinge = step(params)
    losses.append(float(hinge))
  assert losses[0] > 0.5 and losses[-1] < 0.25


def test_it_takes_images_and_both_modes(nnx_mode):
  image = jax.ShapeDtypeStruct((2, 1, 8, 12, 3), jnp.float32)
  logits = nnx.eval_shape(lambda x: build()(x), image)
  assert logits.shape == (2, 1, 2, 3)


def test_what_is_wrong_is_named(frames):
  with pytest.raises(ValueError, match="multiples of 4, got 8 x 6"):
    nnx.eval_shape(build)(frames[..., :6, :])
  with pytest.raises(ValueError, match="widths must have a stage"):
    Discriminator(widths=(), rngs=nnx.Rngs(params=0))
