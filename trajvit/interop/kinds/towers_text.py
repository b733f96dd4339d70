"""The text tower and the heads that TrajViT and TrajTok share."""

from trajvit.interop.kinds.blocks import bert_blocks, linear, norm
from trajvit.interop.kinds.kind import count, shape_of
from trajvit.interop.layouts import LOG
from trajvit.interop.names import Entry, Unused

# In text mode the last blocks of the tower, those that could read a video, are
# not run: 9 of 12 are.
RUN, BLOCKS = 9, 12
WORDPIECE = dict(name="wordpiece", add_sep=False, clean=True)


def has_text(shapes: dict) -> bool:
  """Returns whether a state dict has a text tower."""
  return any(name.startswith("text_encoder.") for name in shapes)


def text_spec(shapes: dict, *, text_heads: int | None) -> dict:
  """Returns the spec of the text tower.

  Args:
    shapes: by name.
    text_heads: None = heads of 64 channels, as BERT has.

  Raises:
    ValueError: an array that tells of sizes is missing, or the heads do not
      divide the width.
  """
  rows, width = shape_of(
    shapes, "text_encoder.embeddings.position_embeddings.weight"
  )
  first = "text_encoder.encoder.layer.0.intermediate.dense.weight"
  blocks = count(shapes, "text_encoder.encoder.layer.{}.")
  heads = text_heads or width // 64
  if not heads or width % heads:
    raise ValueError(
      f"config.text_heads must divide the width {width}, got {heads}"
    )
  return dict(
    name="bert",
    width=width,
    depth=blocks * RUN // BLOCKS,
    num_heads=heads,
    mlp_dim=shape_of(shapes, first)[0],
    max_length=rows,
  )


def text_entries(depth: int, blocks: int) -> tuple[list[Entry], list[Unused]]:
  """Returns what of the text tower and the heads is read, and what is not.

  Args:
    depth: blocks that are run.
    blocks: that there are.
  """
  embeddings = "text_encoder.embeddings"
  entries = [
    Entry(f"{embeddings}.word_embeddings.weight", "params/text/embedding"),
    Entry(f"{embeddings}.position_embeddings.weight", "params/text/position"),
    Entry(
      f"{embeddings}.token_type_embeddings.weight", "params/text/token_type"
    ),
    *norm(f"{embeddings}.LayerNorm", "text/norm"),
    *bert_blocks("text_encoder.encoder.layer", "text/blocks"),
    *linear("vision_proj", "project_video"),
    *linear("text_proj", "project_text"),
    Entry("temp", "params/log_temperature", LOG),
  ]
  unused = [
    Unused(f"text_encoder.encoder.layer.{i}.*", "a block that is not run")
    for i in range(depth, blocks)
  ]
  unused += [
    Unused(f"{embeddings}.position_ids", "0, 1, 2, ..."),
    Unused("text_encoder.pooler.*", "a pooler that is not run"),
    Unused("itm_head.*", "a head that is not run"),
  ]
  return entries, unused


FRESH = {"params/logit_bias": "the bias of a loss that they do not have"}
