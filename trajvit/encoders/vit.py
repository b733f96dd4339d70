"""The Vision Transformer over any tokens, in stages with reducers between."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.encoders.masking import PaddingMask, pattern_mask
from trajvit.encoders.packing import Packing, groups, metrics
from trajvit.encoders.reducing import Reducers, checked, reduce, wants_block
from trajvit.encoders.reducing import metrics as reducer_metrics
from trajvit.layers.attention_methods.context import Context
from trajvit.layers.attention_methods.summary import (
  layer_means,
  split_statistics,
)
from trajvit.layers.block import Block
from trajvit.layers.last_block import LastBlock
from trajvit.layers.mixture_of_depths import MixtureOfDepths
from trajvit.layers.norm import LayerNorm
from trajvit.layers.sizes import transformer_size
from trajvit.layers.stack import Stack
from trajvit.ops.packing import pack, place, plan, unpack
from trajvit.ops.token_size import log_size
from trajvit.ops.tokens import prepend, zero_masked
from trajvit.types import Layout, Tokens


class ViT(nnx.Module):
  """Pre-norm Transformer (ViT), whose tokens a reducer may thin between stages.

  Source: arXiv:2010.11929. Tokens bring their own position embedding. Blocks of
  a stage run as one scan; the number of tokens changes only between stages,
  where a reducer sits. The first reducer runs before the class token is added.

  Args:
    variant: "Ti", "S", "B", "L" or "H"; the next four override its values.
    width: D.
    depth: number of blocks.
    num_heads: K.
    mlp_dim: hidden width of the perceptron.
    stages: blocks of each stage, summing to `depth`; empty means one stage.
    reducers: a reducer, or None, in front of each stage, and maybe one more for
      the output, see `layers.reducer`; empty means none.
    registers: learned tokens in front, the first of which is the class token.
    final_norm: whether a layer norm ends the encoder (TrajViT has none).
    passes: how often the whole encoder is applied, with the same weights. The
      released TrajViT code does it twice, for imported weights; 1 is meant.
    epsilon: of the layer norms.
    final_epsilon: of the one that ends the encoder; None is `epsilon`.
    packing: `{"clips", "rows", "length"}`: in the stages, clips share rows of a
      fixed length, see `ops.packing`; a list has one, or None, for each stage.
      None leaves each clip a row of its own, padded. It changes no result,
      unless tokens overflow.
    pattern: which tokens may meet, such as `{"name": "window", "t": 2, "y": 3,
      "x": 3, "grid": (8, 14, 14)}`, see `encoders.masking.pattern_mask`; None
      lets all of a clip meet.
    attention: how blocks attend, a spec of an entry in
      `layers.attention_methods`; None is full attention.
    proportional: add the log of a token's size to the logits of those who
      attend to it (ToMe, arXiv:2210.09461), so that a merged token counts as
      much as its patches.
    mixture_of_depths: `{"every": 2, "capacity": 0.125}`: of so many blocks the
      last is gone through by that share of the tokens alone, see
      `layers.mixture_of_depths`; None lets all go through all.
    remat: what of a block is computed twice, see `layers.remat`; with a
      mixture of depths `every` blocks at once.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    variant: str = "B",
    width: int | None = None,
    depth: int | None = None,
    num_heads: int | None = None,
    mlp_dim: int | None = None,
    stages: Sequence[int] = (),
    reducers: Reducers = (),
    registers: int = 1,
    final_norm: bool = True,
    passes: int = 1,
    packing: Packing = None,
    pattern: dict | None = None,
    attention: dict | None = None,
    proportional: bool = False,
    mixture_of_depths: dict | None = None,
    epsilon: float = 1e-6,
    final_epsilon: float | None = None,
    remat: str | bool = "none",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    size = transformer_size(variant, width, depth, num_heads, mlp_dim)
    stages = tuple(stages) or (size.depth,)
    if sum(stages) != size.depth or min(stages) < 1:
      raise ValueError(
        f"stages must be positive and sum to depth {size.depth}, got {stages}"
      )
    reducers = checked(reducers, len(stages))
    if any(map(wants_block, reducers)) and (pattern or attention):
      raise ValueError(
        "a reducer that reads the block before it needs full attention, got "
        f"pattern {pattern} and attention {attention}"
      )
    if passes > 1 and any(r is not None for r in reducers[1:-1]):
      raise ValueError("a reducer between stages cannot run in two passes")
    self.width, self.num_heads, self.passes = size.width, size.num_heads, passes
    self.shared_attention = (attention or {}).get("shared", False)
    self.proportional = proportional
    self.packing = groups(packing, len(stages))
    self.masking = PaddingMask() if pattern is None else pattern_mask(**pattern)

    def block(rngs):
      return Block(
        size.width,
        size.num_heads,
        size.mlp_dim,
        epsilon=epsilon,
        attention=attention,
        dtype=dtype,
        rngs=rngs,
      )

    make, every = block, 1
    if mixture_of_depths is not None:
      if pattern or attention or any(map(wants_block, reducers)):
        raise ValueError(
          "mixture_of_depths needs full attention, and reducers that do not "
          f"read the block before them, got pattern {pattern}, attention "
          f"{attention} and reducers "
          f"{[type(r).__name__ for r in reducers if r is not None]}"
        )
      options = dict(every=2, registers=registers) | mixture_of_depths
      every = options["every"]
      if every < 1 or any(depth % every for depth in stages):
        raise ValueError(
          "mixture_of_depths.every must divide the blocks of each stage, "
          f"{stages}, got {every}"
        )

      def make(rngs):
        return MixtureOfDepths(block, size.width, **options, rngs=rngs)

    self.reducers = nnx.List(reducers)
    self.stages = nnx.List(
      [Stack(make, depth // every, remat=remat, rngs=rngs) for depth in stages]
    )
    init = nnx.initializers.normal(0.02)
    self.registers = nnx.Param(init(rngs.params(), (registers, size.width)))
    self.norm = (
      LayerNorm(size.width, epsilon=final_epsilon or epsilon, dtype=dtype)
      if final_norm
      else None
    )

  def __call__(
    self, tokens: Tokens, *, layout: Layout | None = None, key=None
  ) -> tuple[Tokens, dict]:
    """Returns the encoded tokens, registers first.

    Args:
      tokens: [B, N, D].
      layout: how to pack the tokens up to the first reducer, counted with the
        registers; None plans by `packing`. It takes the place of `packing`
        there.
      key: for the reducers that draw; None at inference.

    Returns:
      registers + N tokens (fewer after reducers), masked slots zeros. Aux:
      `tokens`, those that enter the first stage, without the registers;
      `reducers`, the aux of each reducer, see `encoders.reducing`, in the end
      that of the output's; `attention`, a list of what the attention of each
      stage tells, arrays with a leading axis of layers;
      `batch_stats` in training, if attention has running statistics; and, where
      there are any, `metrics`: `attention/<name>`, the means over layers of the
      scalars among those, and if tokens were packed `packing/fill_%`, the share
      of slots that hold a token, and `packing/overflow_tokens`, how many of the
      batch found none and are masked from there on; and `reducers/<i>/<name>`,
      what reducer i tells, such as `tokens_in`, `tokens_out` and `changed`.

    Raises:
      ValueError: tokens are not of this width; a layout and a reducer in front
        of the first stage; in training, groups that the batch cannot be cut
        into.
    """
    if tokens.features.shape[-1] != self.width:
      raise ValueError(
        f"tokens must be {self.width} wide, got {tokens.features.shape[-1]}"
      )
    self._check_packing(tokens, layout, training=key is not None)
    tokens = zero_masked(tokens)
    tokens, first = self._reduce(0, tokens, None, key)
    aux = {"tokens": tokens, "reducers": [first]}
    if self.registers.shape[0]:
      tokens = prepend(self.registers[...], tokens)
    placements, attended, block = [], [{}] * len(self.stages), None
    for _ in range(self.passes):
      for i in range(len(self.stages)):
        if i:
          tokens, reduced = self._reduce(i, tokens, block, key)
          aux["reducers"].append(reduced)
        if self.reducers[i] is not None:
          layout = None  # it was for other counts
        tokens, block, attended[i] = self._run(
          i, tokens, layout, placements, train=key is not None
        )
    aux["attention"], stats = split_statistics(attended)
    if stats:
      aux["batch_stats"] = {"stages": stats}
    seen = layer_means(aux["attention"])
    if placements:
      seen |= metrics(placements)
    if self.norm is not None:
      tokens = dataclasses.replace(tokens, features=self.norm(tokens.features))
    last = len(self.stages)
    tokens, reduced = self._reduce(last, zero_masked(tokens), block, key)
    aux["reducers"].append(reduced)
    seen |= reducer_metrics(aux["reducers"])
    if seen:
      aux["metrics"] = seen
    return tokens, aux

  def _check_packing(self, tokens, layout, training):
    if layout is not None and self.reducers[0] is not None:
      raise ValueError(
        "a layout counts the tokens of the tokenizer, and a reducer is in "
        "front of the first stage: set packing of the encoder instead"
      )
    batch = tokens.mask.shape[0]
    sizes = [group.clips for group in self.packing if group is not None]
    # A last group that is not full costs as much as a full one.
    if training and any(batch % clips for clips in sizes):
      raise ValueError(
        f"packing.clips must divide the {batch} clips of a training batch, "
        f"got {sizes}"
      )

  def _reduce(self, stage, tokens, block, key):
    key = None if key is None else jax.random.fold_in(key, stage)
    return reduce(self.reducers[stage], tokens, block, key)

  def _run(self, stage, tokens, layout, placements, train):
    """Runs a stage, packed if that is wanted, and notes how it was packed.

    Returns tokens, the last block if the next reducer wants it, and aux.
    """
    sizes = self.packing[stage]
    # An export does not know its batch size: it stays padded, so that a clip
    # alone does not pay for a group. The results are the same.
    if isinstance(tokens.mask.shape[0], int):
      if layout is None and sizes is not None:
        layout = plan(tokens.mask.sum(-1), sizes)
      if layout is not None:
        placements.append(place(tokens.mask, layout))
        rows, read, aux = self._attend(
          stage, pack(tokens, placements[-1]), train
        )
        tokens, read = (x and unpack(x, placements[-1]) for x in (rows, read))
        return tokens, self._last_block(stage, read), aux
    tokens, read, aux = self._attend(stage, tokens, train)
    return tokens, self._last_block(stage, read), aux

  def _last_block(self, stage, read):
    """The last block of a stage, from the tokens it read, if they were kept."""
    if read is None:
      return None
    read = zero_masked(read)
    return LastBlock(self.stages[stage].last(), read.features, read.mask)

  def _attend(self, stage, tokens, train):
    """Runs the blocks of a stage on tokens in the order of their mask.

    Returns tokens, those that the last block read if they are wanted, and aux.
    """
    registers = self.registers.shape[0]
    stored, mask, restore = self.masking(tokens, registers=registers)
    context = Context(
      mask=mask,
      bias=log_size(stored) if self.proportional else None,
      packed=tokens.segments is not None,
      train=train,
    )
    blocks = self.stages[stage]
    if self.shared_attention:
      selected = blocks.first().select(stored.features, context)
      context = dataclasses.replace(context, selected=selected)

    def back(features):
      return restore(dataclasses.replace(stored, features=features))

    if not wants_block(self.reducers[stage + 1]):
      features, aux = blocks(stored.features, context)
      return back(features), None, aux
    features, aux, read = blocks.with_last_input(stored.features, context)
    return back(features), back(read), aux
