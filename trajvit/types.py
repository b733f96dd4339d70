"""What travels along the line: Clip, Text, Batch and Tokens.

Shape letters, here and everywhere: B batch, T frames, H W pixels, h w patch
grid, N tokens, D width, L text length, M tracks. A mask is boolean and True
means real.
"""

import dataclasses

import jax

Array = jax.Array


def _pytree(cls):
  """A frozen dataclass whose fields are all pytree children."""
  cls = dataclasses.dataclass(frozen=True)(cls)
  names = [field.name for field in dataclasses.fields(cls)]
  jax.tree_util.register_dataclass(cls, data_fields=names, meta_fields=[])
  return cls


@_pytree
class Clip:
  """A batch of video clips; an image is a clip of one frame.

  Attributes:
    frames: [B, T, H, W, 3]; uint8 RGB from the loader, float32 in the model's
      own normalisation once inside the model.
    frame_mask: [B, T] bool, True = real frame; None means all are real.
    times: [B, T] float32, seconds from the start of the video, or None.
    tracks: [B, T, h, w] int32 label map, the track that owns each cell in
      [0, M), or -1 for none; None where the clip has no tracks. A track is a
      region followed over time: its label is the same in every frame.
  """

  frames: Array
  frame_mask: Array | None = None
  times: Array | None = None
  tracks: Array | None = None


@_pytree
class Text:
  """Tokenized captions.

  Attributes:
    ids: [B, L] int32 word ids, or [B, C, L] with C captions a clip.
    mask: same shape, bool, True = real word. A caption with no real word is
      an empty slot.
  """

  ids: Array
  mask: Array


@dataclasses.dataclass(frozen=True)
class PackedGroup:
  """How many clips share how many slots for tokens.

  Attributes:
    clips: clips in a group.
    rows: rows of a group.
    length: slots in a row.
  """

  clips: int
  rows: int
  length: int

  def __post_init__(self):
    for name, size in vars(self).items():
      if size < 1:
        raise ValueError(f"packing.{name} must be at least 1, got {size}")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Layout:
  """Where each clip of a batch goes when several share a row of tokens.

  Clips that follow each other in the batch form groups, each with rows of its
  own. A group knows nothing of the others, nor of devices: a batch that is cut
  between two groups is packed as it was whole.

  Attributes:
    row: [B] int32 in [0, rows), the row inside the group.
    start: [B] int32 in [0, length], the slot of the clip's first token.
    group: the size of every group; the last one may have fewer clips.
  """

  row: Array
  start: Array
  group: PackedGroup = dataclasses.field(metadata=dict(static=True))


@_pytree
class Mix:
  """What is in the clips of a batch that were mixed with one another.

  Attributes:
    label: [B] int32, the class of the other clip, -1 = unknown.
    share: [B] float32 in [0, 1], how much of a clip is its own; 1 where it was
      not mixed. The target is share * label + (1 - share) * the other label.
  """

  label: Array
  share: Array


@_pytree
class Batch:
  """What a loader yields and a model reads.

  Attributes:
    clip: the clips.
    text: their captions, or None.
    clip_id: [B] int32; clips with equal ids match each other's captions.
    label: [B] int32 class, -1 = unknown, or None.
    valid: [B] bool, False for the rows that fill the last batch of an
      evaluation; None means all are real.
    layout: how the encoder is to pack the clips, or None: it then plans that
      itself, or leaves each clip a row.
    budget: [B] int32, how many nested tokens of a step a model reads, the first
      ones; None leaves that to the model. One without nested tokens refuses it.
    mix: what other clip is in each, or None if all are whole.
  """

  clip: Clip
  text: Text | None = None
  clip_id: Array | None = None
  label: Array | None = None
  valid: Array | None = None
  layout: Layout | None = None
  budget: Array | None = None
  mix: Mix | None = None


@_pytree
class Tokens:
  """A set of tokens a clip, padded to N slots.

  Masked slots hold zeros and nothing reads them: whatever fills them changes
  no real token and no gradient.

  Attributes:
    features: [B, N, D].
    mask: [B, N] bool, True = real token.
    positions: [B, N, 3] float32, (t, y, x) in [0, 1].
    size: [B, N] float32, how many patches a token stands for.
    segments: [B, N] int32, tells apart the clips of a packed row, in which it
      only grows; -1 in empty slots. None where a row is one clip.
    protected: [B, N] bool, True for class and register tokens, which reducers
      leave alone; None means none is.
  """

  features: Array
  mask: Array
  positions: Array
  size: Array
  segments: Array | None = None
  protected: Array | None = None
