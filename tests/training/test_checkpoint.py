"""Checkpoints: exact, partial, ranked, and tied to their data."""

import jax
import pytest

from trajvit.training.checkpoint import (
  Checkpoints,
  abstract,
  check_data_record,
)
from trajvit.training.config import CheckpointConfig, MeshConfig
from trajvit.training.sharding import (
  REPLICATE,
  build_mesh,
  replicated,
  state_shardings,
)

KEEP_TWO = CheckpointConfig(every=1, keep_last=2)


def like(state, tx):
  mesh = build_mesh(MeshConfig())
  return abstract(state, state_shardings(state, mesh, REPLICATE, tx))


def test_everything_comes_back_exactly(tiny, tmp_path):
  make_training, make_batch, assert_trees_equal = tiny
  state, step, tx, _ = make_training(ema_decay=0.5)
  step = jax.jit(step)
  state, _ = step(state, make_batch(), jax.random.key(0))
  with_data = Checkpoints(tmp_path, KEEP_TWO)
  with_data.save(1, state, data={"seed": 3}, meta={"note": "x"})
  with_data.close()

  checkpoints = Checkpoints(tmp_path, KEEP_TWO, read_only=True)
  found, data, meta = checkpoints.restore(like(state, tx))
  assert_trees_equal(found, state)
  assert (data, meta) == ({"seed": 3}, {"note": "x"})
  assert checkpoints.meta() == {"note": "x"}
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  everywhere = replicated(build_mesh(MeshConfig()))
  shapes = abstract(variables, jax.tree.map(lambda _: everywhere, variables))
  assert_trees_equal(checkpoints.restore_variables(shapes), variables)
  average = checkpoints.restore_variables(shapes, ema=True)
  assert_trees_equal(average["params"], state.ema)


def test_a_saved_state_may_be_given_away(tiny, tmp_path):
  make_training, make_batch, assert_trees_equal = tiny
  state, step, tx, _ = make_training()
  step = jax.jit(step, donate_argnums=0)
  state, _ = step(state, make_batch(), jax.random.key(0))
  expected = jax.device_get(state)
  checkpoints = Checkpoints(tmp_path, KEEP_TWO)
  shapes = like(state, tx)
  checkpoints.save(1, state, data={}, meta={})
  for i in range(5):
    state, _ = step(state, make_batch(i), jax.random.key(0))
  checkpoints.close()
  found, _, _ = Checkpoints(tmp_path, KEEP_TWO).restore(shapes)
  assert_trees_equal(jax.device_get(found), expected)


@pytest.mark.parametrize(
  ("metric", "best"), [("eval/recall", 3), ("-eval/recall", 1)]
)
def test_keeps_the_newest_and_the_best(tiny, tmp_path, metric, best):
  make_training, _, _ = tiny
  state, _, _, _ = make_training()
  config = CheckpointConfig(
    every=1, keep_last=2, keep_best=1, best_metric=metric
  )
  checkpoints = Checkpoints(tmp_path, config)
  scores = {1: 0.1, 3: 0.9, 5: 0.4}  # the other steps are not evaluated
  for step in range(1, 8):
    metrics = {"eval/recall": scores[step]} if step in scores else {}
    checkpoints.save(step, state, data={}, meta={}, metrics=metrics)
  checkpoints.close()
  kept = sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit())
  assert kept == [best, 6, 7]
  reader = Checkpoints(tmp_path, config, read_only=True)
  assert reader.find("best") == best
  assert reader.find() == 7


def test_what_is_not_there_is_named(tiny, tmp_path):
  make_training, _, _ = tiny
  state, _, _, _ = make_training()
  checkpoints = Checkpoints(tmp_path, KEEP_TWO)
  assert checkpoints.latest_step() is None
  with pytest.raises(FileNotFoundError, match="saved steps"):
    checkpoints.find()
  checkpoints.save(4, state, data={}, meta={})
  with pytest.raises(FileNotFoundError, match=r"saved steps: \[4\]"):
    checkpoints.find(3)
  with pytest.raises(ValueError, match="keep_best is 0"):
    checkpoints.find("best")
  checkpoints.close()


def test_a_change_of_data_is_named():
  saved = {"step": 5, "seed": 0, "fingerprint": "abc"}
  check_data_record(saved, {"seed": 0, "fingerprint": "abc"})
  with pytest.raises(ValueError, match="fingerprint was 'abc' and is 'xyz'"):
    check_data_record(saved, {"seed": 0, "fingerprint": "xyz"})
