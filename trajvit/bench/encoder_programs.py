"""An encoder's forward pass and training step: counted, compiled, then run."""

import dataclasses
import math
import time
from collections.abc import Callable

import jax
import optax

from trajvit.evaluators.cost import peak_memory
from trajvit.evaluators.flops import FlopCount, count_flops, used_arguments
from trajvit.models import build_model
from trajvit.objectives import build_objectives
from trajvit.ops.attention import use_implementation
from trajvit.training.functional import functional
from trajvit.training.state import init_state
from trajvit.training.step import make_train_step
from trajvit.types import Batch

LEARNING_RATE = 1e-4
STEPS = ("forward", "step")


class TooLong(Exception):
  """A run took longer than was allowed; it is not repeated."""


@dataclasses.dataclass(frozen=True)
class Costs:
  """What is known of an encoder before it runs.

  Attributes:
    slots: for tokens, those that enter the trunk.
    gflops: of a clip's forward pass, tokenizer counted.
    tokenizer_gflops: of it, up to the features of the tokens.
    step_gflops: of a clip in a training step, both towers.
    parameters: that the embedding of a clip depends on.
    exact: whether the counts of FLOPs saw everything.
  """

  slots: int
  gflops: float
  tokenizer_gflops: float
  step_gflops: float
  parameters: int
  exact: bool


class EncoderPrograms:
  """The two programs of an encoder, on batches of one shape.

  `forward` maps variables and a batch without captions to the embeddings of its
  clips; `step` is a whole training step: the contrastive loss against a small
  text tower, gradients, and AdamW. It gives away the state that it gets.
  """

  def __init__(self, spec: dict, context: dict, batch: Batch):
    """Traces the model; nothing is computed.

    Args:
      spec: of the model.
      context: what the data tells it.
      batch: of the step, arrays or their shapes.
    """
    init, apply = functional(lambda: build_model(spec, seed=0, **context))
    tx = optax.adamw(LEARNING_RATE)
    train_step = make_train_step(
      apply,
      build_objectives(dict(contrastive=dict(weight=1.0))),
      tx,
      lambda step: LEARNING_RATE,
    )

    def embed(variables, batch):
      return apply(variables, batch)["video_embedding"]

    self._apply, self._embed, self._train_step = apply, embed, train_step
    self._start = lambda: init_state(init(), tx, ema=False)
    self._state = None
    self._batch = jax.tree.map(_shape, batch)
    self._state_shapes = jax.eval_shape(self._start)
    self._functions = {
      "forward": jax.jit(embed),
      "step": jax.jit(train_step, donate_argnums=0),
    }
    self._compiled = {}

  def costs(self) -> Costs:
    """Returns what tracing tells; attention is counted as if it were dense."""
    # Kernels, and loops over the tiles of a pattern, would not tell.
    with use_implementation("reference"):
      return self._costs()

  def _costs(self):
    variables, batch = self._arguments("forward")
    rows = len(batch.clip.frames)
    # Not the functions that are compiled, whose traces are kept.
    embed = jax.jit(lambda *args: self._embed(*args))

    def features(variables, batch):
      return self._apply(variables, batch)["tokens"].features

    def step(*args):
      return self._train_step(*args)

    counts = [
      count_flops(embed, variables, batch),
      count_flops(features, variables, batch),
      count_flops(step, *self._arguments("step")),
    ]
    params = variables["params"]
    used = used_arguments(embed, variables, batch)[0]["params"]
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(used), strict=True)
    tokens = jax.eval_shape(features, variables, batch)
    whole = sum(counts, FlopCount())
    return Costs(
      tokens.shape[1],
      *(count.total / rows / 1e9 for count in counts),
      parameters=sum(math.prod(leaf.shape) for leaf, use in pairs if use),
      exact=not (whole.unbounded_loops or whole.unknown_calls),
    )

  def compile(self, name: str) -> float | None:
    """Compiles a program; returns the MiB that it takes, None if unknown.

    That is its peak on one device, variables and batch, and in a step the
    optimizer's state, included.
    """
    lowered = self._functions[name].lower(*self._arguments(name))
    self._compiled[name] = lowered.compile()
    return peak_memory(self._compiled[name]).get("peak_memory_MiB")

  def call(self, name: str, limit: float) -> Callable[[Batch], object]:
    """Returns a function that runs a compiled program on a batch.

    Args:
      name: "forward" or "step"; each step goes on from the last one.
      limit: seconds after which a run raises TooLong, in its end.
    """

    def run(batch):
      if self._state is None:
        self._state = jax.block_until_ready(jax.jit(self._start)())
      start = time.perf_counter()
      result = jax.block_until_ready(self._run(name, batch))
      took = time.perf_counter() - start
      if took > limit:
        raise TooLong(f"a run took {took:.0f} s")
      return result

    return run

  def free(self) -> None:
    """Forgets state and programs."""
    self._state, self._compiled = None, {}

  def _run(self, name, batch):
    compiled = self._compiled[name]
    if name == "forward":
      return compiled(self._state.variables, without_text(batch))
    self._state, metrics = compiled(self._state, batch, jax.random.key(0))
    return metrics["train/loss"]

  def _arguments(self, name):
    """What a program is compiled for."""
    if name == "forward":
      return self._state_shapes.variables, without_text(self._batch)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return self._state_shapes, self._batch, key


def without_text(batch: Batch) -> Batch:
  """Returns what a forward pass reads: the batch without its captions."""
  return dataclasses.replace(batch, text=None)


def _shape(x):
  return jax.ShapeDtypeStruct(x.shape, x.dtype)
