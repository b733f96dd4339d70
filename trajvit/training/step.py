"""The training step: (state, batch, key) -> (state, metrics)."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from trajvit.training.optim import frozen_mask
from trajvit.training.state import TrainState
from trajvit.types import Batch

Array = jax.Array


def make_train_step(
  apply: Callable,
  objectives: Callable,
  tx: optax.GradientTransformation,
  schedule: Callable,
  *,
  accumulate_steps: int = 1,
  ema_decay: float = 0.0,
  frozen: Sequence[str] = (),
) -> Callable:
  """Returns the step as a pure function, to be compiled by the caller.

  With several micro-batches, the gradients are the mean of those of each: rows
  i, i + A, i + 2A, ... are micro-batch i of A, which leaves every row on its
  device. A contrastive objective then has the negatives of its micro-batch
  only, and the metrics are means over micro-batches.

  A loss or gradient that is not finite halts the state: this update and all
  later ones leave it as it was. The host can look at the metrics one step late
  and still find the state from before the step that went wrong.

  Args:
    apply: `apply(variables, batch, key) -> outputs`.
    objectives: `(outputs, batch) -> (loss, metrics)`; they find the number of
      steps done, [] int32, in `outputs["step"]`.
    tx: the optimizer.
    schedule: step -> learning rate, for the metrics.
    accumulate_steps: A, divides the batch size.
    ema_decay: of the moving average, where the state has one.
    frozen: patterns of the parameters that keep their values, the optimizer's.

  Returns:
    `(state, batch, key) -> (state, metrics)`, with `key` the key of the run.
    Metrics are float32 scalars: `train/loss`, `train/grad_norm` (before
    clipping), `train/lr`, `train/tokens_per_clip`, `train/padding_%` (share of
    the token slots that are masked), those of the objectives, and those in
    `outputs["metrics"]` under the names they have there.
  """

  def loss(params, batch_stats, batch, key, step):
    # Zero gradients, which the compiler then does not compute either.
    params = jax.tree.map(
      lambda fixed, x: jax.lax.stop_gradient(x) if fixed else x,
      frozen_mask(params, frozen),
      params,
    )
    variables = {"params": params, "batch_stats": batch_stats}
    outputs = apply(variables, batch, key)
    value, metrics = objectives(outputs | {"step": step}, batch)
    mask = outputs["tokens"].mask
    metrics = {f"train/{name}": x for name, x in metrics.items()} | {
      "train/loss": value,
      "train/tokens_per_clip": mask.sum() / batch.clip.frames.shape[0],
      "train/padding_%": 100 * (~mask).mean(dtype=jnp.float32),
    }
    metrics |= outputs.get("metrics", {})
    metrics = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), metrics)
    return value, (merge(batch_stats, outputs.get("batch_stats", {})), metrics)

  gradient = jax.grad(loss, has_aux=True)

  def accumulated(params, batch_stats, batch, key, step):
    """The mean over micro-batches; running statistics go from one to next."""
    count = accumulate_steps

    def one(carry, inputs):
      batch_stats, total = carry
      grads, (batch_stats, metrics) = gradient(
        params, batch_stats, *inputs, step
      )
      total = jax.tree.map(lambda t, x: t + x / count, total, grads)
      return (batch_stats, total), metrics

    zeros = jax.tree.map(jnp.zeros_like, params)
    inputs = _micro_batches(batch, count), jax.random.split(key, count)
    (batch_stats, grads), metrics = jax.lax.scan(
      one, (batch_stats, zeros), inputs
    )
    return grads, (batch_stats, jax.tree.map(lambda x: x.mean(0), metrics))

  def train_step(
    state: TrainState, batch: Batch, key: Array
  ) -> tuple[TrainState, dict]:
    key = jax.random.fold_in(key, state.step)
    backward = gradient if accumulate_steps == 1 else accumulated
    grads, (batch_stats, metrics) = backward(
      state.params, state.batch_stats, batch, key, state.step
    )
    norm = optax.global_norm(grads)
    metrics |= {"train/grad_norm": norm, "train/lr": schedule(state.step)}

    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if ema is not None:
      average = optax.incremental_update(params, ema, 1 - ema_decay)
      # An average of equal values would drift by its rounding.
      ema = jax.tree.map(
        lambda fixed, x, mean: x if fixed else mean,
        frozen_mask(params, frozen),
        params,
        average,
      )
    finite = jnp.isfinite(metrics["train/loss"]) & jnp.isfinite(norm)
    advance = finite & ~state.halted
    updated = TrainState(
      step=state.step + 1,
      params=params,
      batch_stats=batch_stats,
      opt_state=opt_state,
      ema=ema,
      halted=state.halted,
    )
    kept = dataclasses.replace(state, halted=~advance)
    state = jax.tree.map(
      lambda new, old: jnp.where(advance, new, old), updated, kept
    )
    return state, metrics

  return train_step


def merge(old: dict, new: dict) -> dict:
  """Returns `old` with the leaves of `new`, which may have fewer of them.

  Raises:
    ValueError: `new` has a path that `old` has not.
  """
  unknown = sorted(map(str, set(new) - set(old)))
  if unknown:
    raise ValueError(
      f"new running statistics {', '.join(unknown)} belong to no variable; "
      f"known here: {', '.join(map(str, old))}"
    )
  return old | {
    name: merge(old[name], value) if isinstance(value, dict) else value
    for name, value in new.items()
  }


def _micro_batches(batch, count):
  """Every array [B, ...] as [count, B / count, ...]."""
  if batch.layout is not None:
    raise ValueError(
      "a batch that the loader packs cannot be cut into micro-batches, which "
      "take clips of every group; pack by the encoder's own packing instead"
    )

  def split(x):
    rows = x.shape[0]
    if rows % count:
      raise ValueError(
        f"accumulate_steps must divide the batch size {rows}, got {count}"
      )
    x = x.reshape(rows // count, count, *x.shape[1:])
    return x.swapaxes(0, 1)  # [count, B / count, ...]

  return jax.tree.map(split, batch)
