"""What a clip costs: tokens, FLOPs, parameters, memory and time."""

import contextlib
import dataclasses
import functools
import itertools
import math
import statistics
import time

import jax
import numpy as np

from trajvit.evaluators.flops import count_flops, used_arguments


class Cost:
  """Tokens, FLOPs, parameters, memory and speed of the video side.

  The tokenizer is always counted, the text tower never runs. Tokens and FLOPs
  are exact and depend on no machine; memory and speed are those of the device
  that the evaluation runs on.
  """

  def __init__(
    self, loader, *, batches: int = 4, repeats: int = 5, timing: bool = True
  ):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo), one clip a row.
      batches: how many are decoded to measure the speed with decoding.
      repeats: how often a batch is run to measure the speed without.
      timing: whether to measure speed, the only result that changes from one
        run to the next.

    Raises:
      ValueError: `batches` or `repeats` is less than 1.
    """
    for name, value in (("batches", batches), ("repeats", repeats)):
      if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    self.loader, self.timing = loader, timing
    self.batches, self.repeats = batches, repeats
    self.details = {}

  def run(self, predict, variables) -> dict[str, float]:
    """Returns the cost of the clips that can be read.

    Args:
      predict: `(variables, batch) -> outputs` with `video_embedding` [B, E] and
        `tokens`; it can be traced, and takes a batch without text.
      variables: {"params": ..., ...}.

    Returns:
      tokens_per_clip_mean, _p50, _p95, _max: real tokens that enter the
        encoder, registers aside.
      token_budget: slots for them, N.
      GFLOPs_per_clip: 1e9 FLOPs from the frames to the embedding, at the shapes
        that run, empty slots included. See `count_flops`.
      tokenizer_GFLOPs_per_clip: the part up to the features of the tokens.
      unbounded_loops, unknown_calls: what the count could not see; it is exact
        where both are 0.
      parameters: of the whole model.
      video_parameters: of them, those in arrays that the embedding depends on.
      batch_size: B, which memory and speed depend on.
      peak_memory_MiB: 2**20 bytes on one device, variables and batch included,
        as planned by the compiler; absent where it does not tell. On a CPU,
        the sum of all buffers.
      clips_per_second_model: with the batch on the device, the median of
        `repeats` runs; absent without `timing`.
      clips_per_second_with_decoding: from the files on, the start of the
        loader included, after they have been read once; likewise.
      n_evaluated: clips whose tokens were counted.
      n_missing: clips that could not be read.
      After it, `details` has `tokens_per_clip`, see `histogram`.

    Raises:
      ValueError: no clip can be read, or a row of tokens is not one clip.
    """
    tokens, budget, missing, batch = self._tokens(predict, variables)
    self.details = {"tokens_per_clip": histogram(tokens)}
    rows = len(batch.clip.frames)

    def embed(variables, batch):
      return predict(variables, batch)["video_embedding"]

    def tokenize(variables, batch):
      return predict(variables, batch)["tokens"].features

    flops = count_flops(embed, variables, batch)
    params = variables["params"]
    used = used_arguments(embed, variables, batch)[0]["params"]
    compiled = jax.jit(embed).lower(variables, batch).compile()
    return {
      "tokens_per_clip_mean": float(tokens.sum() / len(tokens)),
      "tokens_per_clip_p50": float(np.percentile(tokens, 50)),
      "tokens_per_clip_p95": float(np.percentile(tokens, 95)),
      "tokens_per_clip_max": float(tokens.max()),
      "token_budget": float(budget),
      "GFLOPs_per_clip": flops.total / rows / 1e9,
      "tokenizer_GFLOPs_per_clip": (
        count_flops(tokenize, variables, batch).total / rows / 1e9
      ),
      "unbounded_loops": float(flops.unbounded_loops),
      "unknown_calls": float(flops.unknown_calls),
      "parameters": float(_size(params)),
      "video_parameters": float(_size(params, used)),
      "batch_size": float(rows),
      **peak_memory(compiled),
      **(self._speed(compiled, variables, batch) if self.timing else {}),
      "n_evaluated": float(len(tokens)),
      "n_missing": float(missing),
    }

  def _tokens(self, predict, variables):
    """Tokens of every clip, slots for them, clips missing, the first batch."""
    counts, missing, first, budget = [], 0, None, 0
    for batch, valid, info in self._clips():
      real = np.asarray(_token_mask(predict, variables, batch))  # [B, N]
      if len(real) != len(valid):
        raise ValueError(
          f"tokens must have a row a clip, got {len(real)} rows for "
          f"{len(valid)} clips"
        )
      counts.append(real.sum(1)[valid])
      missing += len(info.skipped)
      budget = real.shape[1]
      first = batch if first is None else first
    counts = np.concatenate(counts) if counts else np.zeros(0, int)
    if not len(counts):
      raise ValueError("cost needs at least one clip, the loader has none")
    return counts, budget, missing, first

  def _speed(self, compiled, variables, batch):
    rows, on_device = len(batch.clip.frames), jax.device_put(batch)
    jax.block_until_ready(compiled(variables, on_device))  # warm up
    seconds = []
    for _ in range(self.repeats):
      start = time.perf_counter()
      jax.block_until_ready(compiled(variables, on_device))
      seconds.append(time.perf_counter() - start)

    read, outputs = 0, []
    start = time.perf_counter()
    with contextlib.closing(self._clips()) as clips:
      for decoded, valid, _ in itertools.islice(clips, self.batches):
        outputs.append(compiled(variables, decoded))
        read += int(valid.sum())
      jax.block_until_ready(outputs)
      elapsed = time.perf_counter() - start
    return {
      "clips_per_second_model": rows / statistics.median(seconds),
      "clips_per_second_with_decoding": read / elapsed,
    }

  def _clips(self):
    """Yields batches without text, which of their rows are clips, and info."""
    with contextlib.closing(self.loader.evaluate()) as batches:
      for batch, info in batches:
        valid = batch.valid
        if valid is None:
          valid = np.ones(len(batch.clip.frames), bool)
        yield dataclasses.replace(batch, text=None), np.asarray(valid), info


def histogram(counts: np.ndarray, bins: int = 32) -> dict[str, list]:
  """Returns how often whole numbers come, in bins of equal width.

  Args:
    counts: [n] integers, at least one.
    bins: how many there are at most.

  Returns:
    `edges`, ascending halves of odd numbers, between which a bin lies, and
    `clips`, how many lie there, one fewer.
  """
  low, high = int(counts.min()), int(counts.max())
  width = -(-(high - low + 1) // bins)
  edges = np.arange(low, high + width + 1, width) - 0.5
  return {
    "edges": edges.tolist(),
    "clips": np.histogram(counts, edges)[0].tolist(),
  }


@functools.partial(jax.jit, static_argnums=0)
def _token_mask(predict, variables, batch):
  tokens = predict(variables, batch)["tokens"]
  if tokens.segments is not None:
    raise ValueError("cost needs one clip a row, got rows packed with several")
  return tokens.mask


def _size(params, chosen=None) -> int:
  """How many numbers there are in the arrays, or in the chosen ones."""
  leaves = jax.tree.leaves(params)
  flags = [True] * len(leaves) if chosen is None else jax.tree.leaves(chosen)
  pairs = zip(leaves, flags, strict=True)
  return sum(math.prod(leaf.shape) for leaf, flag in pairs if flag)


def peak_memory(compiled: jax.stages.Compiled) -> dict[str, float]:
  """Returns {"peak_memory_MiB": ...} of a program, as `Cost` tells it.

  It is {} where the compiler does not tell.
  """
  stats = compiled.memory_analysis()
  if stats is None:
    return {}
  peak = stats.peak_memory_in_bytes
  if jax.default_backend() == "cpu":  # its peak leaves out the temporaries
    peak = (
      stats.argument_size_in_bytes
      + stats.output_size_in_bytes
      - stats.alias_size_in_bytes
      + stats.temp_size_in_bytes
    )
  return {"peak_memory_MiB": peak / 2**20}
