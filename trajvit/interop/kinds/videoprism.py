"""VideoPrism, its video encoder alone or with its text tower."""

from trajvit.interop.kinds.kind import Kind, Plan, clip_context
from trajvit.interop.kinds.released import COUNTED, SAME, side_of
from trajvit.interop.kinds.videoprism_names import flax_names, torch_names
from trajvit.interop.names import NameTable, Unused

_NOTES = {
  True: ("The table of positions of words is that of VideoPrism's own code.",),
  False: (
    "Words have the positions of the file, which are not quite those that "
    "VideoPrism's own code gives them.",
  ),
}
_NO_LOSS = "a part of a loss, which came without weights"


def plan(
  shapes: dict,
  *,
  compat: bool,
  num_heads: int | None = None,
  text_heads: int | None = None,
  frames: int | None = None,
  size: int | None = None,
  text_length: int | None = None,
  vocabulary_file: str | None = None,
) -> Plan:
  """Returns what weights of VideoPrism (arXiv:2402.13217) are to become.

  Args:
    shapes: by name, as in the released npz files or as in Hugging Face's. An
      encoder alone gives a vision tower, whose feature is the mean of the
      patches'; with pooler and text tower it gives two towers.
    compat: changes nothing.
    num_heads: K of the video tower; None = as the arrays tell, or, where they
      are matrices, as in the released models.
    text_heads: likewise, of the text tower.
    frames: T that are seen at a time; None = that of the table of positions.
    size: H = W of the frames, likewise.
    text_length: L; None = that of a table of positions, or 64.
    vocabulary_file: of SentencePiece, or None.

  Raises:
    ValueError: arrays that tell of sizes are missing or contradict each other.
  """
  del compat
  flax = any(name.endswith("spatial_pos_emb/emb_var") for name in shapes)
  found = (flax_names if flax else torch_names)(shapes, num_heads, text_heads)
  side = side_of(found.cells, "the table of positions")
  patch = side_of(found.pixels // 3, "the map of patches")
  frames = found.frames if frames is None else frames
  vision = dict(
    name="videoprism",
    **found.vision,
    patch=patch,
    grid=(found.frames, side, side),
    frames=frames,
  )
  model = dict(name="towers", vision=vision, normalization="unit")
  context = dict(frames=frames, size=patch * side if size is None else size)
  tokenizer, fresh = None, {}
  if found.text is not None:
    model["text"] = dict(name="videoprism", **found.text)
    length = text_length or found.text_length or 64
    context |= dict(vocab_size=found.words, text_length=length)
    fresh = {
      "params/log_temperature": _NO_LOSS,
      "params/logit_bias": _NO_LOSS,
    }
    if vocabulary_file is not None:
      tokenizer = dict(
        name="sentencepiece",
        length=length,
        vocabulary_file=vocabulary_file,
        add_eos=False,
        clean="sentence",
      )
  unused = [COUNTED, Unused("classifier.*", "a classifier behind the feature")]
  return Plan(
    model=model,
    context=clip_context(**context),
    table=NameTable(found.entries, unused, fresh=fresh),
    notes=(SAME, *_NOTES[flax]),
    text=tokenizer,
  )


VIDEOPRISM = Kind(
  summary="VideoPrism: a video tower, with or without its text tower.",
  marker=r"(^|[./])spatial_(pos_emb/emb_var|embeddings\.position_embeddings)$",
  plan=plan,
)
