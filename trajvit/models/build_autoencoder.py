"""From the `model` part of a config to an autoencoder."""

from flax import nnx

from trajvit.models.autoencoder import Autoencoder
from trajvit.models.build_reconstruction import build_reconstruction
from trajvit.models.build_tower import dtype_of
from trajvit.models.latents import LATENTS
from trajvit.table import check_arguments
from trajvit.tokenizers import TOKENIZERS


def autoencoder(
  *,
  tokenizer: dict,
  width: int,
  num_heads: int,
  reconstruction: dict,
  latents: dict | None = None,
  normalization: str = "symmetric",
  dtype: str = "float32",
  rngs: nnx.Rngs,
  clip_shape: tuple[int, int, int],
  max_tracks: int,
  **options,
) -> Autoencoder:
  """Clips to tokens, nested or not, and back to frames.

  Args:
    tokenizer: spec of an entry in TOKENIZERS.
    width: of the tokens.
    num_heads: that the tokenizer is offered.
    reconstruction: arguments of `build_reconstruction`.
    latents: spec of an entry in LATENTS, which tokenizer and decoder then have
      the `channels` of; None has them read and make frames.
    normalization: of the frames, a name in NORMALIZATIONS.
    dtype: "float32" or "bfloat16", of the products.
    rngs: holds the key of the initial values.
    clip_shape: (T, H, W).
    max_tracks: M.
    **options: of `Autoencoder`.

  Raises:
    ValueError: parts that need frames, where latents are made.
  """
  check_arguments("model 'autoencoder'", Autoencoder, options)
  shared = dict(dtype=dtype_of(dtype), rngs=rngs)
  if latents is not None:
    _check_for_latents(reconstruction, normalization)
    latents = LATENTS.build(latents, **shared)
    clip_shape = latents.shape(clip_shape)
    channels = dict(channels=latents.channels)
    decoder = dict(reconstruction["decoder"]) | channels
    reconstruction = dict(reconstruction) | dict(decoder=decoder)
    tokenizer = dict(tokenizer) | channels
  shared |= dict(width=width, clip_shape=clip_shape)
  tokenizer = TOKENIZERS.build(
    tokenizer,
    num_heads=num_heads,
    normalization=normalization,
    max_tracks=max_tracks,
    **shared,
  )
  found = build_reconstruction(
    **reconstruction,
    tokenizer=tokenizer,
    normalization=normalization,
    **shared,
  )
  options |= dict(latents=latents, normalization=normalization)
  return Autoencoder(tokenizer, found, **options)


def _check_for_latents(reconstruction, normalization):
  """Raises ValueError for what does not go with latents."""
  if normalization != "symmetric":
    raise ValueError(
      "latents are of frames normalised as 'symmetric', in [-1, 1], got "
      f"{normalization!r}"
    )
  judges = [
    name
    for name in ("adversarial", "perceptual")
    if reconstruction.get(name) is not None
  ]
  if judges:
    raise ValueError(
      f"{' and '.join(judges)} need frames, but latents are made in training"
    )
