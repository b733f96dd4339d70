"""The text tower and the heads that TrajViT and TrajTok share."""

import dataclasses

from trajvit.interop.kinds.blocks import bert_blocks, linear, norm
from trajvit.interop.kinds.kind import Plan, axes_of, count
from trajvit.interop.layouts import LOG
from trajvit.interop.names import Entry, NameTable, Unused

# In text mode the last blocks of the tower, those that could read a video, are
# not run: 9 of 12 are.
RUN, BLOCKS = 9, 12


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
  rows, width = axes_of(
    shapes, "text_encoder.embeddings.position_embeddings.weight", 2
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
    mlp_dim=axes_of(shapes, first, 2)[0],
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


def with_text(
  plan: Plan,
  shapes: dict,
  *,
  text_heads: int | None,
  text_length: int,
  vocabulary_file: str | None,
) -> Plan:
  """Returns the plan of a video tower with the text tower, where there is one.

  Args:
    plan: of the model "video_encoder".
    shapes: by name.
    text_heads: None = heads of 64 channels.
    text_length: L.
    vocabulary_file: of the word pieces, or None.

  Raises:
    ValueError: see `text_spec`.
  """
  if not has_text(shapes):
    return plan
  text = text_spec(shapes, text_heads=text_heads)
  entries, unused = text_entries(
    text["depth"], count(shapes, "text_encoder.encoder.layer.{}.")
  )
  word = "text_encoder.embeddings.word_embeddings.weight"
  tokenizer = dict(
    name="wordpiece", add_sep=False, clean=True, length=text_length
  )
  return dataclasses.replace(
    plan,
    model=plan.model
    | dict(
      name="video_text",
      text=text,
      embed_dim=axes_of(shapes, "vision_proj.weight", 2)[0],
      projection_bias=True,
    ),
    context=plan.context
    | dict(vocab_size=axes_of(shapes, word, 2)[0], text_length=text_length),
    table=NameTable(
      [*plan.table.entries, *entries],
      [*plan.table.unused, *unused],
      plan.table.copies,
      {"params/logit_bias": "the bias of a loss that they do not have"},
    ),
    text=tokenizer | dict(vocabulary_file=vocabulary_file)
    if vocabulary_file
    else None,
  )
