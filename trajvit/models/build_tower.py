"""A tokenizer and the encoder behind it, which most models begin with."""

import jax.numpy as jnp
from flax import nnx

from trajvit.encoders import ENCODERS
from trajvit.layers.sizes import transformer_size
from trajvit.reducers import REDUCERS
from trajvit.tokenizers import TOKENIZERS

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def dtype_of(name: str):
  """Returns the dtype that a config names.

  Raises:
    ValueError: it is none of DTYPES.
  """
  if name not in DTYPES:
    raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}")
  return DTYPES[name]


def video_tower(
  tokenizer: dict, encoder: dict, *, dtype, rngs: nnx.Rngs, **clip
) -> tuple[nnx.Module, nnx.Module]:
  """Returns the tokenizer and the encoder of a video tower.

  Args:
    tokenizer: spec of an entry in TOKENIZERS, which is offered width and heads
      of the encoder.
    encoder: spec of an entry in ENCODERS; its `reducers` are specs, or None. It
      and they are offered the `grid` (t, h, w) of the tokens, if they are one.
    dtype: of the products.
    rngs: holds the key of the initial values.
    **clip: what tokenizers are offered besides, such as `clip_shape`.
  """
  shared = dict(dtype=dtype, rngs=rngs)
  grid = _token_grid(tokenizer, **clip)
  encoder = ENCODERS.build(
    with_reducers(encoder, **grid, **shared), **grid, **shared
  )
  tokenizer = TOKENIZERS.build(
    tokenizer,
    width=encoder.width,
    num_heads=encoder.num_heads,
    **clip,
    **shared,
  )
  return tokenizer, encoder


def with_reducers(encoder: dict, **shared) -> dict:
  """Returns an encoder's spec with modules in place of reducers' specs.

  Args:
    encoder: spec of an entry in ENCODERS; its reducers are offered its width
      and heads.
    **shared: `dtype` and `rngs`, and `grid` where the tokens are one.
  """
  if "reducers" not in encoder:
    return encoder
  names = ("width", "depth", "num_heads", "mlp_dim")
  size = transformer_size(
    encoder.get("variant", "B"), **{name: encoder.get(name) for name in names}
  )
  shared |= dict(width=size.width, num_heads=size.num_heads)
  reducers = [
    spec and REDUCERS.build(spec, **shared) for spec in encoder["reducers"]
  ]
  return dict(encoder) | {"reducers": reducers}


def _token_grid(tokenizer: dict, **context) -> dict:
  """Returns {"grid": (t, h, w)} of a tokenizer of patches, else {}."""
  built = nnx.eval_shape(
    lambda: TOKENIZERS.build(
      tokenizer, width=64, num_heads=1, rngs=nnx.Rngs(params=0), **context
    )
  )
  grid = getattr(built, "grid", ())
  return {"grid": tuple(grid)} if len(grid) == 3 else {}
