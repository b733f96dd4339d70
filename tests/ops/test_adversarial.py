"""Adversarial losses against closed forms, and what a gradient may reach."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import on_host

from trajvit.ops import adversarial as ops

SHAPE = (2, 3, 2, 2)
MASK = np.array([[True, True, False], [True, False, False]])
ALL = np.ones(SHAPE[:2], bool)
ANCHORS = {"real": np.float32(0.4), "fake": np.float32(-0.7)}


@on_host
def losses(real, fake, mask):
  """Every loss, and its gradients by both maps of logits."""

  def run(real, fake):
    found = {"lecam": ops.lecam(real, fake, ANCHORS, mask=mask)}
    for name, (discriminator, generator) in ops.ADVERSARIAL.items():
      found[f"{name}_d"] = discriminator(real, fake, mask=mask)
      found[f"{name}_g"] = generator(fake, mask=mask)
    return found

  return run(real, fake), jax.jacrev(run, (0, 1))(real, fake)


@pytest.fixture
def logits(rng):
  return 2 * rng.normal(size=(2, *SHAPE)).astype(np.float32)


def sigmoid(x):
  return 1 / (1 + np.exp(-x.astype(np.float64)))


def expected(real, fake):
  """Of flat logits."""
  return {
    "hinge_d": (np.maximum(1 - real, 0).mean() + np.maximum(1 + fake, 0).mean())
    / 2,
    "hinge_g": -fake.mean(),
    "non_saturating_d": -(
      np.log(sigmoid(real)).mean() + np.log(1 - sigmoid(fake)).mean()
    )
    / 2,
    "non_saturating_g": -np.log(sigmoid(fake)).mean(),
    "lecam": (np.maximum(real + 0.7, 0) ** 2).mean()
    + (np.maximum(0.4 - fake, 0) ** 2).mean(),
  }


@pytest.mark.parametrize("mask", [ALL, MASK], ids=["all", "masked"])
def test_equal_closed_forms_of_what_is_real(logits, mask):
  real, fake = logits
  values = expected(real[mask], fake[mask])
  real[~mask], fake[~mask] = np.nan, np.nan
  found, grads = losses(real, fake, mask)
  assert found.keys() == values.keys()
  for name, value in values.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
    for grad in grads[name]:
      assert np.isfinite(grad).all() and not grad[~mask].any(), name


def test_gradients_are_those_of_the_closed_forms(logits):
  real, fake = logits
  _, grads = losses(real, fake, ALL)
  steps = 1e-5 * np.random.default_rng(2).normal(size=logits.shape)
  up = expected(real + steps[0], fake + steps[1])
  down = expected(real - steps[0], fake - steps[1])
  for name, (by_real, by_fake) in grads.items():
    slope = (by_real * steps[0]).sum() + (by_fake * steps[1]).sum()
    difference = (up[name] - down[name]) / 2
    np.testing.assert_allclose(slope, difference, rtol=1e-3, err_msg=name)


def test_each_side_wants_the_opposite(logits):
  real, fake = logits
  _, grads = losses(real, fake, ALL)
  for name in ops.ADVERSARIAL:
    by_real, by_fake = grads[f"{name}_d"]
    assert (by_real <= 0).all() and (by_fake >= 0).all()
    assert (grads[f"{name}_g"][1] < 0).all()


def test_without_a_mask_all_count(logits):
  real, fake = logits
  found, _ = losses(real, fake, ALL)

  @on_host
  def unmasked(real, fake):
    return (
      ops.hinge_discriminator(real, fake),
      ops.non_saturating_generator(fake),
      ops.lecam(real, fake, ANCHORS),
    )

  names = ("hinge_d", "non_saturating_g", "lecam")
  same = [found[name] for name in names]
  np.testing.assert_allclose(unmasked(real, fake), same, rtol=1e-6)


def test_a_smooth_label_has_its_least_loss_within(logits):
  """At p = 1 - s, and generated clips are what they were."""
  s = 0.2
  best = np.log((1 - s) / s)

  @jax.jit
  @jax.value_and_grad
  def loss(real):
    return ops.non_saturating_discriminator(real, logits[1], smoothing=s)

  value, grad = loss(np.full(SHAPE, best, np.float32))
  np.testing.assert_allclose(grad, 0, atol=1e-6)
  entropy = -(s * np.log(s) + (1 - s) * np.log(1 - s))
  rest = np.logaddexp(0, logits[1]).mean()
  np.testing.assert_allclose(value, (entropy + rest) / 2, rtol=1e-5)


def test_label_noise_is_small_and_bounded():
  draw = jax.jit(lambda key: ops.label_noise(key, (4000,)))
  noise = np.asarray(draw(jax.random.key(0)))
  assert noise.min() >= 0 and noise.max() == np.float32(0.3)
  # |n| > 2 in 4.55 % of the draws; below that the mean of 0.15 |n|.
  np.testing.assert_allclose((noise == noise.max()).mean(), 0.0455, atol=0.01)
  np.testing.assert_allclose(np.median(noise), 0.15 * 0.6745, rtol=0.06)


@on_host
def r1(real, mask, weight):
  """Of a discriminator with known slopes: sums of squares, a logit a frame."""

  def penalty(weight):
    def discriminator(frames):
      return weight * jnp.square(frames).sum((2, 3, 4)) / 2

    return ops.r1_penalty(discriminator, real, mask=mask)

  return jax.value_and_grad(penalty)(weight)


def test_the_gradient_penalty_of_known_slopes(rng):
  """D is the mean over n frames of w |x|^2 / 2: its gradient is w x / n."""
  x = rng.normal(size=(2, 3, 4, 4, 3)).astype(np.float32)
  for mask in (ALL, MASK):
    expected = np.mean(
      [np.square(3 * x[b][mask[b]] / mask[b].sum()).sum() for b in range(2)]
    )
    spoiled = np.where(mask[:, :, None, None, None], x, np.nan)
    value, slope = r1(spoiled, mask, 3.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(slope, 2 * expected / 3, rtol=1e-5)
  whole = r1(x, None, 3.0)[0]
  np.testing.assert_allclose(whole, r1(x, ALL, 3.0)[0], rtol=1e-5)


def test_a_clip_without_a_real_frame_has_no_penalty(rng):
  x = rng.normal(size=(2, 3, 4, 4, 3)).astype(np.float32)
  mask = ALL.copy()
  mask[1] = False
  expected = np.square(x[0]).sum() / 9
  np.testing.assert_allclose(r1(x, mask, 1.0)[0], expected, rtol=1e-5)
  assert r1(x, np.zeros_like(ALL), 1.0)[0] == 0


def test_anchors_follow_the_mean_logits(logits):
  real, fake = logits
  anchors = {"real": np.float32(0), "fake": np.float32(0)}

  @on_host
  def follow(anchors, real):
    def run(real):
      return ops.lecam_anchors(anchors, real, fake, decay=0.9, mask=MASK)

    return run(real), jax.jacrev(run)(real)

  for n in range(1, 4):
    anchors, grads = follow(anchors, real)
    gone = 1 - 0.9**n
    mean = real[MASK].mean(), fake[MASK].mean()
    np.testing.assert_allclose(anchors["real"], gone * mean[0], rtol=1e-5)
    np.testing.assert_allclose(anchors["fake"], gone * mean[1], rtol=1e-5)
  assert not jax.tree.reduce(lambda a, g: a or g.any(), grads, False)


def test_anchors_are_constants_to_lecam(logits):
  real, fake = logits
  grads = on_host(jax.grad(lambda a: ops.lecam(real, fake, a)))(ANCHORS)
  assert not any(g.any() for g in grads.values())


@on_host
def weight(rec, adv, largest):
  def run(scale):
    scaled = jax.tree.map(lambda x: scale * x, rec)
    return ops.adaptive_weight(scaled, adv, largest=largest)

  return jax.value_and_grad(run)(1.0)


def test_the_adaptive_weight_makes_gradients_alike(rng):
  rec, adv = (
    {
      "kernel": rng.normal(size=(3, 4)).astype(np.float32),
      "bias": rng.normal(size=4).astype(np.float32),
    }
    for _ in range(2)
  )

  def norm(tree):
    return np.sqrt(sum(np.square(x).sum() for x in tree.values()))

  value, slope = weight(rec, adv, 1e4)
  np.testing.assert_allclose(value, norm(rec) / norm(adv), rtol=1e-4)
  assert slope == 0
  nothing = jax.tree.map(np.zeros_like, adv)
  np.testing.assert_allclose(
    weight(rec, nothing, 1e6)[0], 1e4 * norm(rec), rtol=1e-4
  )
  assert weight(rec, nothing, 2.0)[0] == 2 and weight(nothing, adv, 2.0)[0] == 0


def test_the_ramp_starts_late_and_ends_at_one():
  late = jax.jit(lambda s: ops.ramp(s, start=10, length=4))
  steps = [0, 9, 10, 11, 13, 14, 1000]
  assert [float(late(s)) for s in steps] == [0, 0, 0, 0.25, 0.75, 1, 1]
  at_once = jax.jit(lambda s: ops.ramp(s, start=10))
  assert [float(at_once(s)) for s in (0, 9, 10, 11)] == [0, 0, 1, 1]
  with pytest.raises(ValueError, match="at least 0, got -1 and 0"):
    ops.ramp(3, start=-1)
