"""Visual words: flat patches dropped, or patches of one word averaged."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trajvit.layers.patches import patchify
from trajvit.ops.merging import merge, plan_merging
from trajvit.ops.runs import keep_most_changed
from trajvit.ops.tokens import zero_masked_frames
from trajvit.ops.unit import unit
from trajvit.tokenizers.kept_patches import KeptPatches
from trajvit.types import Clip, Tokens


class VwtIntraTokenizer(KeptPatches):
  """VWT-intra: keeps the patches whose pixels vary most.

  The variance is that of the normalised pixels of a tubelet, all channels
  together. Source: the visual word tokenizer, its image-internal variant.

  Args:
    patch: (frames, side, side) of a tubelet.
    k: patches kept, over the whole clip.
    position: of `tubelet`.
    normalization: of the frames that come in; not read.
    width: D.
    clip_shape: (T, H, W).
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    patch: tuple[int, int, int] = (2, 16, 16),
    k: int,
    position: str = "factorized",
    normalization: str = "symmetric",
    width: int,
    clip_shape: tuple[int, int, int],
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    super().__init__(
      patch=patch,
      k=k,
      position=position,
      normalization=normalization,
      width=width,
      clip_shape=clip_shape,
      dtype=dtype,
      rngs=rngs,
    )

  def choose(self, clip: Clip, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the patches that vary most, and how much all do."""
    pixels = patchify(jax.lax.stop_gradient(clip.frames), self.patch)
    score = pixels.astype(jnp.float32).var(-1)
    # All beyond k are dropped on purpose: none of them overflows.
    return keep_most_changed(score, mask, self.k), score


class VwtInterTokenizer(KeptPatches):
  """VWT-inter: averages patches that are the same word of a vocabulary.

  A patch is a word if its pixels are within `threshold` of it, in the distance
  1 - cosine; of several words it is the nearest. Tokens, positions included, of
  one word are averaged over the clip, into the place of the first; a patch that
  is no word stays alone. Source: the visual word tokenizer, which does this to
  images, with words from k-means over a data set.

  Args:
    words: [V, p] float, or the path of a .npy file with it: pixels of patches,
      normalised, in the order frame, row, column, channel.
    patch: (frames, side, side) of a tubelet.
    threshold: of 1 - cosine; as much is the word.
    k: slots; where there are too few, the last tokens find none. None has a
      slot for every patch.
    position: of `tubelet`.
    normalization: of the frames that come in; not read.
    width: D.
    clip_shape: (T, H, W).
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    words: np.ndarray | str,
    patch: tuple[int, int, int] = (2, 16, 16),
    threshold: float = 0.1,
    k: int | None = None,
    position: str = "factorized",
    normalization: str = "symmetric",
    width: int,
    clip_shape: tuple[int, int, int],
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    super().__init__(
      patch=patch,
      k=k,
      position=position,
      normalization=normalization,
      width=width,
      clip_shape=clip_shape,
      dtype=dtype,
      rngs=rngs,
    )
    self.threshold = threshold
    self.words = Words(np.load(words) if isinstance(words, str) else words)
    pixels = 3 * self.patch[0] * self.patch[1] * self.patch[2]
    shape = self.words.array.shape
    if len(shape) != 2 or shape[1] != pixels or not shape[0]:
      raise ValueError(f"words must be (V, {pixels}), got {shape}")

  def __call__(self, clip: Clip, *, key=None) -> tuple[Tokens, dict]:
    """Returns N = k tokens; `size` is how many patches were averaged.

    Args:
      clip: `frames` [B, T, H, W, 3] float, normalised.
      key: unused.

    Returns:
      Tokens, by the first patch of each, and aux as KeptPatches; `overflow`
      counts patches.
    """
    del key
    clip = zero_masked_frames(clip)
    tokens, _ = self.patches(clip)
    merging = plan_merging(
      self._first_of_word(clip, tokens.mask), tokens.mask, slots=self.k
    )
    kept = (merging.owner >= 0) & ~merging.absorbed
    kept = kept.reshape(-1, *self.tubelets)
    return merge(tokens, merging), {"kept": kept, "overflow": merging.overflow}

  def _first_of_word(self, clip, mask):
    """[B, N] int32, the first patch of the same word, or the patch itself."""
    pixels = patchify(jax.lax.stop_gradient(clip.frames), self.patch)
    pixels = pixels.reshape(*mask.shape, -1)
    cosine = jnp.einsum(
      "bnp,vp->bnv",
      unit(pixels),
      unit(jnp.asarray(self.words.array)),
      precision=jax.lax.Precision.HIGHEST,
    )
    count, own = mask.shape[1], jnp.arange(mask.shape[1], dtype=jnp.int32)
    is_word = mask & (1 - cosine.max(-1) <= self.threshold)
    word = jnp.where(is_word, cosine.argmax(-1), cosine.shape[-1])

    def first(word):
      seen = jnp.full(cosine.shape[-1] + 1, count, jnp.int32)
      return seen.at[word].min(own)[word]

    return jnp.where(is_word, jax.vmap(first)(word), own)


class Words:
  """An array that is no parameter, equal to any other of the same content."""

  def __init__(self, array: np.ndarray):
    self.array = np.asarray(array, np.float32)
    self._digest = hashlib.sha256(self.array.tobytes()).hexdigest()

  def __eq__(self, other) -> bool:
    """Whether the shapes and all values are equal."""
    same = isinstance(other, Words) and self.array.shape == other.array.shape
    return same and self._digest == other._digest

  def __hash__(self) -> int:
    """Of the content."""
    return hash(self._digest)
