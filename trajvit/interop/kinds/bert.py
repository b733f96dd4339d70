"""BERT, from Hugging Face's files."""

from trajvit.interop.kinds.kind import Kind, Plan, axes_of, clip_context, count
from trajvit.interop.kinds.released import (
  COUNTED,
  SAME,
  blocks,
  heads_of,
  prefix,
)
from trajvit.interop.names import Entry, NameTable, Unused

HEADS = {768: 12, 1024: 16}
PARTS = (
  "attention.output.LayerNorm",
  "attention.self.query",
  "attention.self.key",
  "attention.self.value",
  "attention.output.dense",
  "output.LayerNorm",
  "intermediate.dense",
  "output.dense",
)


def plan(
  shapes: dict,
  *,
  compat: bool,
  num_heads: int | None = None,
  depth: int | None = None,
  frames: int = 1,
  size: int = 224,
  text_length: int = 77,
  vocabulary_file: str | None = None,
) -> Plan:
  """Returns what a state dict of BERT is to become.

  Args:
    shapes: by name; those of a model with heads begin with "bert.".
    compat: changes nothing.
    num_heads: K; None = as the released ones of this width.
    depth: how many blocks are run, the first ones; None = all.
    frames: T of the clips that stand beside captions.
    size: H = W of their frames.
    text_length: L.
    vocabulary_file: of the word pieces, or None.

  Raises:
    ValueError: arrays that tell of sizes are missing or contradict each other.
  """
  del compat
  at = prefix(shapes, "bert.")
  embeddings, layer = f"{at}embeddings", f"{at}encoder.layer"
  words, width = axes_of(shapes, f"{embeddings}.word_embeddings.weight", 2)
  rows, _ = axes_of(shapes, f"{embeddings}.position_embeddings.weight", 2)
  hidden, _ = axes_of(shapes, f"{layer}.0.intermediate.dense.weight", 2)
  there = count(shapes, f"{layer}.{{}}.")
  depth = there if depth is None else depth
  if not 1 <= depth <= there:
    raise ValueError(f"config.depth must be in [1, {there}], got {depth}")
  text = dict(
    name="bert",
    width=width,
    depth=depth,
    num_heads=heads_of(width, num_heads, HEADS),
    mlp_dim=hidden,
    max_length=rows,
  )
  entries = [
    Entry(f"{embeddings}.word_embeddings.weight", "params/text/embedding"),
    Entry(f"{embeddings}.position_embeddings.weight", "params/text/position"),
    Entry(
      f"{embeddings}.token_type_embeddings.weight", "params/text/token_type"
    ),
    Entry(f"{embeddings}.LayerNorm.weight", "params/text/norm/scale"),
    Entry(f"{embeddings}.LayerNorm.bias", "params/text/norm/bias"),
    *blocks(layer, "text/blocks", PARTS),
  ]
  if f"{embeddings}.LayerNorm.gamma" in shapes:
    entries = [_with_old_names(entry) for entry in entries]
  unused = [
    *(
      Unused(f"{layer}.{i}.*", "a block that is not run")
      for i in range(depth, there)
    ),
    Unused("*pooler.*", "a pooler behind the feature"),
    Unused("cls.*", "heads of its training"),
    Unused("classifier.*", "a classifier behind the feature"),
    COUNTED,
  ]
  tokenizer = None
  if vocabulary_file is not None:
    tokenizer = dict(
      name="wordpiece", length=text_length, vocabulary_file=vocabulary_file
    )
  return Plan(
    model=dict(name="towers", text=text),
    context=clip_context(
      frames=frames, size=size, vocab_size=words, text_length=text_length
    ),
    table=NameTable(entries, unused),
    notes=(
      SAME,
      "The feature of a caption is its first word's, not the pooler's.",
    ),
    text=tokenizer,
  )


def _with_old_names(entry):
  """The norms of the oldest files have a gamma and a beta."""
  theirs = entry.theirs.replace("LayerNorm.weight", "LayerNorm.gamma")
  theirs = theirs.replace("LayerNorm.bias", "LayerNorm.beta")
  return Entry(theirs, entry.ours, entry.layout)


BERT = Kind(
  summary="BERT: a text tower, from Hugging Face's files.",
  marker=r"^(bert\.)?embeddings\.token_type_embeddings\.",
  plan=plan,
)
