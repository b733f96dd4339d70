"""From the `model` part of a config to a model."""

import jax.numpy as jnp
from flax import nnx

from trajvit.encoders import ENCODERS, TEXT_ENCODERS
from trajvit.models.video_text import VideoText
from trajvit.reducers import REDUCERS
from trajvit.table import Table, check_arguments
from trajvit.tokenizers import TOKENIZERS

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def video_text(
  *,
  tokenizer: dict,
  encoder: dict,
  text: dict,
  dtype: str = "float32",
  rngs: nnx.Rngs,
  clip_shape: tuple[int, int, int],
  max_tracks: int,
  vocab_size: int,
  text_length: int,
  **options,
) -> VideoText:
  """Video and text towers in one embedding space, from specs of their parts.

  Args:
    tokenizer: spec of an entry in TOKENIZERS. It is offered the width and heads
      of the encoder, `clip_shape` and `max_tracks`.
    encoder: spec of an entry in ENCODERS; its `reducers` are specs, or None.
    text: spec of an entry in TEXT_ENCODERS.
    dtype: "float32" or "bfloat16", of the products.
    rngs: holds the key of the initial values.
    clip_shape: (T, H, W).
    max_tracks: M.
    vocab_size: number of word ids.
    text_length: L.
    **options: of `VideoText`.
  """
  check_arguments("model 'video_text'", VideoText, options)
  if dtype not in DTYPES:
    raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
  shared = dict(dtype=DTYPES[dtype], rngs=rngs)
  encoder = dict(encoder)
  encoder["reducers"] = [
    spec and REDUCERS.build(spec, **shared)
    for spec in encoder.get("reducers", ())
  ]
  encoder = ENCODERS.build(encoder, **shared)
  tokenizer = TOKENIZERS.build(
    tokenizer,
    width=encoder.width,
    num_heads=encoder.num_heads,
    clip_shape=clip_shape,
    max_tracks=max_tracks,
    **shared,
  )
  text = TEXT_ENCODERS.build(
    text, vocab_size=vocab_size, text_length=text_length, **shared
  )
  return VideoText(tokenizer, encoder, text, rngs=rngs, **options)


MODELS = Table("model", {"video_text": video_text})


def build_model(spec: dict, *, seed: int, **context) -> nnx.Module:
  """Builds the model that a config describes.

  Args:
    spec: `{"name": ..., ...}`, see the entries of MODELS.
    seed: of the initial values.
    **context: what the data decides: `clip_shape` (T, H, W), `max_tracks`,
      `vocab_size`, `text_length`.

  Raises:
    ValueError: an unknown name, or a key that nobody reads.
  """
  return MODELS.build(spec, rngs=nnx.Rngs(params=seed), **context)
