"""The two sides of an adversary: what each is, and that they do not mix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import drawn, on_host

from trajvit.models.adversary import Adversary
from trajvit.models.discriminator import Discriminator
from trajvit.ops.adversarial import (
  hinge_discriminator,
  hinge_generator,
  lecam,
  r1_penalty,
)

SHAPE = (2, 3, 4, 4, 3)
R1, LECAM = 0.7, 0.3


def build(**options):
  spec = dict(widths=(4,), r1=R1, lecam=LECAM, decay=0.9) | options
  return Adversary(**spec, rngs=nnx.Rngs(params=0))


@pytest.fixture(scope="module")
def adversary():
  return drawn(build)


@pytest.fixture(scope="module")
def play(adversary):
  """What it tells, and the gradients of each side's loss by what it sees."""
  graphdef, params, stats = nnx.split(adversary, nnx.Param, nnx.BatchStat)

  def run(made, real, mask):
    def losses(params, made, real):
      told = nnx.merge(graphdef, params, stats)(made, real, mask)
      return (sum(told["losses"].values()), told["generator"]), told

    _, back, told = jax.vjp(losses, params, made, real, has_aux=True)
    return told, {
      "discriminator": back((jnp.ones(()), jnp.zeros(()))),
      "generator": back((jnp.zeros(()), jnp.ones(()))),
    }

  return on_host(run)


@pytest.fixture(scope="module")
def expected(adversary):
  """The same from the definitions."""
  judge = adversary.discriminator
  assert isinstance(judge, Discriminator)
  anchors = {name: adversary.anchors[name][...] for name in ("real", "fake")}

  def run(made, real, mask):
    def generator(made):
      return hinge_generator(judge(made, mask), mask=mask)

    logits = {"real": judge(real, mask), "fake": judge(made, mask)}
    penalty = r1_penalty(lambda x: judge(x, mask), real, mask=mask)
    generated, slope = jax.value_and_grad(generator)(made)
    count = jnp.maximum(mask.sum() * 4, 1)
    return {
      "losses": {
        "discriminator": hinge_discriminator(**logits, mask=mask),
        "lecam": LECAM * lecam(**logits, anchors=anchors, mask=mask),
        "r1": R1 / 2 * penalty,
      },
      "generator": generated,
      "slope": slope,
      "anchors": {
        name: 0.9 * anchors[name] + 0.1 * x.sum() / count
        for name, x in logits.items()
      },
    }

  return on_host(run)


@pytest.fixture
def clips(rng):
  made, real = rng.normal(size=(2, *SHAPE)).astype(np.float32)
  mask = np.ones(SHAPE[:2], bool)
  mask[1, 2] = False
  return made, real, mask


def test_its_losses_are_the_ones_defined(play, expected, clips):
  told, grads = play(*clips)
  wanted = expected(*clips)
  assert told["losses"].keys() == wanted["losses"].keys()
  assert min(map(abs, told["losses"].values())) > 1e-4
  for name, value in wanted["losses"].items():
    np.testing.assert_allclose(told["losses"][name], value, rtol=1e-5)
  np.testing.assert_allclose(told["generator"], wanted["generator"], rtol=1e-5)
  anchors = told["batch_stats"]["anchors"]
  for name, value in wanted["anchors"].items():
    np.testing.assert_allclose(anchors[name], value, rtol=1e-4, atol=1e-6)
  slope = wanted["slope"]
  np.testing.assert_allclose(
    told["slope"], np.sqrt(np.square(slope).sum()), rtol=1e-5
  )
  _, made, _ = grads["generator"]
  np.testing.assert_allclose(made, slope, atol=1e-6)


def test_a_loss_reaches_its_side_alone(play, clips):
  _, grads = play(*clips)
  params, made, _ = grads["discriminator"]
  assert not made.any()
  # The logit's bias has no slope at clips, but the hinge moves it.
  assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(params))
  params, made, real = grads["generator"]
  assert not any(x.any() for x in jax.tree.leaves(params)) and not real.any()
  assert made.any((2, 3, 4)).tolist() == clips[2].tolist()


def test_masked_frames_change_nothing(play, clips):
  made, real, mask = clips
  before = play(*clips)
  made[~mask] = real[~mask] = np.nan
  jax.tree.map(np.testing.assert_array_equal, play(made, real, mask), before)


def test_what_is_off_is_not_there(nnx_mode):
  frames = jax.ShapeDtypeStruct(SHAPE, jnp.float32)

  def told(**options):
    return nnx.eval_shape(lambda x: build(**options)(x, x), frames)

  plain = told(r1=0.0, lecam=0.0, loss="non_saturating")
  assert plain["losses"].keys() == {"discriminator"}
  assert "batch_stats" not in plain
  stats = nnx.eval_shape(lambda: nnx.state(build(lecam=0.0), nnx.BatchStat))
  assert not jax.tree.leaves(stats)
  full = told()
  assert full["losses"].keys() == {"discriminator", "lecam", "r1"}
  assert full["batch_stats"]["anchors"].keys() == {"real", "fake"}


def test_what_is_wrong_is_named():
  with pytest.raises(ValueError, match="hinge, non_saturating, got 'wgan'"):
    build(loss="wgan")
  with pytest.raises(ValueError, match="at least 0, got -1 and 0.3"):
    build(r1=-1)
