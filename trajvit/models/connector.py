"""A connector to language models: trajectories as a fixed number of tokens."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.gated_mlp import GatedMlp
from trajvit.layers.linear import Linear
from trajvit.layers.perceiver import Perceiver
from trajvit.models.regions import Regions
from trajvit.tokenizers.trajtok.pooling import slot_tokens
from trajvit.types import Batch, Clip, Tokens


class Connector(nnx.Module):
  """Pools the features of some frames at a time into one token a trajectory.

  Source: TrajVLM, from TrajTok (CVPR 2026). The clip is cut into chunks of
  frames. In each, slots start from the segmenter's queries, projected, and read
  the cells that they own through a perceiver with 3-D rotary phases; a gated
  projector takes them to the width of the language model. A clip has so many
  tokens whatever is in it: those of slots without a cell are zeros and masked.

  We differ from the release in that no cell is seen by all slots, in that a
  chunk may have padding frames, and in that given tracks can take the place of
  the segmenter; slots then start from one learned latent. For TrajVLM's shape,
  give the segmenter `detach=False` and M = 128.

  Args:
    features: clip -> features and mask, see `models.features`; has `width`.
    regions: clip -> owner of every cell, and queries.
    llm_width: width of the tokens.
    frames_per_pool: frames of a chunk; it divides T, or T is less.
    num_heads: K of the perceiver.
    depth: layers of the perceiver.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    features: nnx.Module,
    regions: Regions,
    *,
    llm_width: int,
    frames_per_pool: int = 8,
    num_heads: int = 8,
    depth: int = 2,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if frames_per_pool < 1:
      raise ValueError(
        f"frames_per_pool must be at least 1, got {frames_per_pool}"
      )
    self.features, self.regions = features, regions
    self.frames_per_pool, self.width = frames_per_pool, features.width
    options = dict(dtype=dtype, rngs=rngs)
    if regions.segmenter is None:
      init = nnx.initializers.normal(0.02)
      self.latents = nnx.Param(init(rngs.params(), (1, self.width)))
    else:
      self.project_query = Linear(
        regions.segmenter.width, self.width, init="torch", **options
      )
    self.perceiver = Perceiver(
      self.width, num_heads=num_heads, depth=depth, **options
    )
    self.projector = GatedMlp(
      self.width,
      2 * llm_width,
      llm_width,
      bias=False,
      init="trunc_normal",
      **options,
    )

  @property
  def needs_tracks(self) -> bool:
    """Whether clips must come with tracks."""
    return self.regions.needs_tracks

  def __call__(self, batch: Batch, *, key=None) -> dict:
    """Returns the tokens of a batch.

    Args:
      batch: `clip.frames` uint8, and tracks if the regions are given.
      key: unused.

    Returns:
      tokens: chunks * M Tokens of width `llm_width`, chunk by chunk.
      aux: {"tokenizer": {"assignment": [B, t, h, w] int32, the token that owns
        each cell, or -1}}.

    Raises:
      ValueError: frames that cannot be cut into chunks.
    """
    del key
    tokens, owner = self._pool(batch.clip)
    return {"tokens": tokens, "aux": {"tokenizer": {"assignment": owner}}}

  def encode_video(self, clip: Clip) -> dict:
    """Returns what a language model is given.

    Args:
      clip: `frames` uint8 [B, T, H, W, 3].

    Returns:
      features: [B, chunks * M, llm_width], zeros in empty slots.
      mask: [B, chunks * M] bool, True = a trajectory.
    """
    tokens, _ = self._pool(clip)
    return {"features": tokens.features, "mask": tokens.mask}

  def _pool(self, clip: Clip) -> tuple[Tokens, jax.Array]:
    features, mask = self.features(clip)
    batch, *grid, width = features.shape
    steps = self._steps(clip.frames.shape[1], grid[0])
    chunks = grid[0] // steps

    def cut(x):  # [B, T or t, ...] -> [B chunks, of a chunk, ...]
      return x.reshape(-1, x.shape[1] // chunks, *x.shape[2:])

    features, mask = cut(features), cut(mask)
    owner, queries = self.regions(jax.tree.map(cut, clip), features.shape[1:4])
    owner = jnp.where(mask, owner, -1)
    count = self.regions.num_slots
    if queries is None:
      shape = (features.shape[0], count, width)
      queries = jnp.broadcast_to(self.latents[...], shape)
    else:
      queries = self.project_query(queries)
    x = self.perceiver(
      queries.astype(features.dtype),
      features,
      mask=mask,
      slots=jnp.arange(count),
      owner=owner,
    )
    x = self.projector(x).reshape(batch, chunks * count, -1)
    chunk = jnp.repeat(jnp.arange(chunks), steps)[:, None, None]  # [t, 1, 1]
    owner = owner.reshape(batch, *grid)
    owner = jnp.where(owner < 0, -1, owner + count * chunk)
    return slot_tokens(x, owner, chunks * count), owner

  def _steps(self, frames: int, steps: int) -> int:
    """How many of the features' steps a chunk has."""
    length = min(self.frames_per_pool, frames)
    if frames % length:
      raise ValueError(
        f"frames must be a multiple of frames_per_pool = {length}, or fewer; "
        f"got {frames}"
      )
    span = frames // steps
    if length % span:
      raise ValueError(
        f"a chunk of {length} frames must be whole steps of the features, of "
        f"{span} frames each"
      )
    return length // span
