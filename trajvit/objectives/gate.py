"""Distillation of a gate that predicts which tiles attention will need."""

import jax
import jax.numpy as jnp

from trajvit.types import Batch


def gate_distillation(outputs: dict, batch: Batch) -> tuple[jax.Array, dict]:
  """The KL divergence from the attention's own tiles to those of the gate.

  Source: SeerAttention, arXiv:2410.13276. The target of a row of tiles is the
  largest attention weight in each, divided by their sum. Rows of padding, and
  rows with fewer than two tiles to decide about, do not count.

  Args:
    outputs: of a model whose encoder attends by `seer_gate` with `distill`:
      `aux.encoder.attention` is a list, one dict a stage, with `gate_scores`
      and `gate_target` [layers, B, K, nq, nk] float32, target 0 and the
      lowest score where the gate does not decide, and `mass_recall` [layers].
    batch: unused.

  Returns:
    The mean over rows [], and {"mass_recall": share of the attention that the
    chosen tiles hold, mean over layers}.

  Raises:
    ValueError: no stage has a gate to distil.
  """
  del batch
  stages = [
    seen
    for seen in outputs["aux"]["encoder"].get("attention", [])
    if "gate_target" in seen
  ]
  if not stages:
    raise ValueError(
      "gate_distillation needs an encoder with "
      "attention=dict(name='seer_gate', distill=True, ...)"
    )
  totals, counts = zip(
    *(_divergence(x["gate_scores"], x["gate_target"]) for x in stages),
    strict=True,
  )
  recall = jnp.concatenate([x["mass_recall"] for x in stages]).mean()
  loss = sum(totals) / jnp.maximum(sum(counts), 1)
  return loss, {"mass_recall": recall}


def _divergence(scores, target):
  """The sum over rows of KL(target || softmax(scores)), and how many rows."""
  target = jax.lax.stop_gradient(target)
  decides = scores > jnp.finfo(scores.dtype).min
  total = target.sum(-1, keepdims=True)
  counted = (decides.sum(-1) > 1) & (total[..., 0] > 0)
  target = target / jnp.where(total > 0, total, 1)
  log_gate = jax.nn.log_softmax(scores, axis=-1)
  # Where the target is 0, t log t and its product with the score are 0.
  held = target > 0
  log_target = jnp.log(jnp.where(held, target, 1))
  terms = target * (log_target - jnp.where(held, log_gate, 0))
  return jnp.where(counted, terms.sum(-1), 0).sum(), counted.sum()
