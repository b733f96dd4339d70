"""The field's names for Transformer sizes."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Size:
  """Width, depth, heads and hidden width of a Transformer."""

  width: int
  depth: int
  num_heads: int
  mlp_dim: int


# ViT, arXiv:2010.11929; Ti and S are DeiT's, arXiv:2012.12877.
SIZES = {
  "Ti": Size(192, 12, 3, 768),
  "S": Size(384, 12, 6, 1536),
  "B": Size(768, 12, 12, 3072),
  "L": Size(1024, 24, 16, 4096),
  "H": Size(1280, 32, 16, 5120),
}


def transformer_size(
  variant: str,
  width: int | None = None,
  depth: int | None = None,
  num_heads: int | None = None,
  mlp_dim: int | None = None,
) -> Size:
  """Returns the size called `variant`, with what is given put in its place.

  A new width without `mlp_dim` keeps the hidden width at 4 * width.

  Raises:
    ValueError: an unknown variant, or heads that do not divide the width.
  """
  if variant not in SIZES:
    raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SIZES)}")
  named = SIZES[variant]
  size = Size(
    width or named.width,
    depth or named.depth,
    num_heads or named.num_heads,
    mlp_dim or (4 * width if width else named.mlp_dim),
  )
  if size.width % size.num_heads:
    raise ValueError(
      f"num_heads must divide the width {size.width}, got {size.num_heads}"
    )
  return size
