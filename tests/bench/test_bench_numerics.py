import dataclasses

import numpy as np
import pytest

from trajvit.bench import numerics

CASE = dict(
  lengths=(41,),
  head_dims=(8,),
  dtypes=("float32",),
  block_query=8,
  block_key=8,
  seed=1,
)


def loop(query, key, value, allowed):
  """Attention of one clip and one head, a query at a time."""
  out = np.zeros_like(query)
  for i, row in enumerate(query):
    keys = [j for j in range(len(key)) if allowed[i, j]]
    weights = np.exp([row @ key[j] / len(row) ** 0.5 for j in keys])
    if keys:
      out[i] = (weights / weights.sum()) @ value[keys]
  return out


def test_the_definition_is_the_loop(rng):
  query, key, value, out_grad = rng.normal(size=(4, 2, 7, 3, 4))
  allowed = rng.random((2, 3, 7, 7)) < 0.4
  allowed[:, :, 2] = False
  found = numerics.definition(
    query, key, value, out_grad, None, allowed=allowed
  )
  for b, k in np.ndindex(2, 3):
    expected = loop(query[b, :, k], key[b, :, k], value[b, :, k], allowed[b, k])
    np.testing.assert_allclose(found["out"][b, :, k], expected, atol=1e-12)
  assert np.isneginf(found["logsumexp"][:, 2]).all()


@pytest.mark.parametrize("name", ["query", "key", "value", "bias"])
def test_the_definition_has_its_own_gradients(rng, name):
  arrays = dict(
    zip(
      ("query", "key", "value", "out_grad"),
      rng.normal(size=(4, 1, 6, 2, 3)),
      strict=True,
    ),
    bias=rng.normal(size=(1, 6)),
  )
  allowed = rng.random((1, 2, 6, 6)) < 0.7
  way = rng.normal(size=arrays[name].shape)

  def loss(step):
    moved = arrays | {name: arrays[name] + step * way}
    out = numerics.definition(**moved, allowed=allowed)["out"]
    return (out * arrays["out_grad"]).sum()

  slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
  found = numerics.definition(**arrays, allowed=allowed)[name]
  assert (found * way).sum() == pytest.approx(slope, rel=1e-6)


def test_the_masks_have_what_kernels_get_wrong():
  found = numerics.masks(41, block_query=8, block_key=8, seed=0)
  random = np.asarray(found["random tiles"].dense())
  assert not random.any(3).all()  # a query without keys
  assert not random.any(2).all()  # a key without queries
  assert not np.asarray(found["segments"].dense())[:, :, -8:].any()
  assert np.asarray(found["full lists"].dense()).all()


def test_a_right_implementation_is_found_right():
  rows = numerics.check(["reference"], **CASE)
  assert len(rows) == 4 * 2
  assert {row["verdict"] for row in rows} == {"ok"}
  assert {row["bias"] for row in rows} == {True, False}
  for row in rows:
    assert ("bias" in row["errors"]) == row["bias"]


def spoil(monkeypatch, change):
  """Changes what attention returns, and leaves one mask to check it with."""
  attend, masks = numerics.attend, numerics.masks

  def spoiled(*args, **kwargs):
    return change(attend(*args, **kwargs))

  def one(*args, **kwargs):
    return {"random tiles": masks(*args, **kwargs)["random tiles"]}

  monkeypatch.setattr(numerics, "attend", spoiled)
  monkeypatch.setattr(numerics, "masks", one)


@pytest.mark.parametrize(
  ("field", "change"),
  [
    ("out", lambda x: 1.001 * x),
    ("out", lambda x: x + 1e-20),
    ("out", lambda x: x.at[0, 0].set(np.nan)),
    ("logsumexp", lambda x: x + 1e-4),
  ],
  ids=["off", "not zero", "nan", "logsumexp"],
)
def test_wrong_results_are_found_wrong(monkeypatch, field, change):
  def spoiled(found):
    return dataclasses.replace(found, **{field: change(getattr(found, field))})

  spoil(monkeypatch, spoiled)
  rows = numerics.check(["reference"], **CASE)
  assert {row["verdict"] for row in rows} == {"WRONG"}


def test_an_implementation_may_keep_its_logsumexp_to_itself(monkeypatch):
  spoil(monkeypatch, lambda found: dataclasses.replace(found, logsumexp=None))
  for row in numerics.check(["reference"], **CASE):
    assert row["verdict"] == "ok"
    assert "logsumexp" not in row["errors"]


@pytest.mark.parametrize(
  ("error", "verdict"),
  [(NotImplementedError, "cannot"), (RuntimeError, "FAILED")],
)
def test_an_implementation_that_raises_is_told_apart(
  monkeypatch, error, verdict
):
  def change(found):
    raise error("so it is")

  spoil(monkeypatch, change)
  for row in numerics.check(["reference"], **CASE):
    assert row["verdict"] == verdict
    assert row["reason"] == f"{error.__name__}: so it is"


def test_tolerances_follow_the_arithmetic_of_the_platform():
  limits = numerics.TOLERANCES
  assert numerics.tolerance("float32", "cpu") == limits["float32"]
  assert numerics.tolerance("float32", "gpu") == limits["tensorfloat"]
  assert numerics.tolerance("float32", "tpu") == limits["bfloat16"]
  assert numerics.tolerance("bfloat16", "gpu") == limits["bfloat16"]
