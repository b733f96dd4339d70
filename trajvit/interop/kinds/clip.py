"""CLIP and SigLIP, both towers or one, from Hugging Face's files."""

from trajvit.interop.kinds.blocks import linear, multihead, norm
from trajvit.interop.kinds.kind import Kind, Plan, axes_of, clip_context, count
from trajvit.interop.kinds.released import (
  COUNTED,
  NEGATED,
  NEGATED_SCALAR,
  SAME,
  SCALAR,
  blocks,
  heads_of,
  prefix,
  side_of,
)
from trajvit.interop.kinds.vit import patch_entries
from trajvit.interop.layouts import leading
from trajvit.interop.names import Entry, NameTable

CLIP_HEADS = {768: 12, 1024: 16, 1280: 16}
CLIP_TEXT_HEADS = {512: 8, 768: 12, 1024: 16}
SIGLIP_HEADS = {768: 12, 1024: 16, 1152: 16}
PARTS = (
  "layer_norm1",
  "self_attn.q_proj",
  "self_attn.k_proj",
  "self_attn.v_proj",
  "self_attn.out_proj",
  "layer_norm2",
  "mlp.fc1",
  "mlp.fc2",
)


def clip_plan(
  shapes: dict,
  *,
  compat: bool,
  num_heads: int | None = None,
  text_heads: int | None = None,
  activation: str = "quick_gelu",
  frames: int = 8,
  size: int = 224,
  merges_file: str | None = None,
) -> Plan:
  """Returns what a state dict of CLIP (arXiv:2103.00020) is to become.

  A file of one tower gives a model of one; where it has no projection, the
  feature is what the projection would read.

  Args:
    shapes: by name.
    compat: changes nothing.
    num_heads: K of the image tower; None = as the released ones.
    text_heads: likewise, of the text tower.
    activation: of the perceptrons, see `layers.mlp`; OpenCLIP's weights have
      "gelu".
    frames: T of the clips to be read, frame by frame.
    size: H = W of their frames, without an image tower, which tells it.
    merges_file: of the byte pairs, or None.

  Raises:
    ValueError: arrays that tell of sizes are missing or contradict each other.
  """
  del compat
  model, entries = dict(name="towers"), []
  options = dict(activation=activation, epsilon=1e-5)
  text, context = None, dict(frames=frames, size=size)
  if prefix(shapes, "vision_model."):
    at = "vision_model."
    vision, context["size"] = _vision(
      shapes, at, num_heads, CLIP_HEADS, class_token=True
    )
    vision |= options | dict(patch_bias=False, first_norm=True)
    token = f"{at}embeddings.class_embedding"
    entries += [
      Entry(token, "params/vision/class_token"),
      *_vision_entries(at, vision, bias=False),
      *norm(f"{at}pre_layrnorm", "vision/norm_first"),
      *_projection(shapes, "visual_projection", "vision", vision),
    ]
    model |= dict(vision=vision, normalization="clip")
  if prefix(shapes, "text_model."):
    spec, words = _text(shapes, text_heads, CLIP_TEXT_HEADS)
    spec |= options | dict(causal=True)
    entries += [
      *_text_entries(),
      *_projection(shapes, "text_projection", "text", spec),
    ]
    model["text"], context = spec, context | words
    if merges_file is not None:
      length = dict(length=words["text_length"])
      text = dict(name="byte_pair", merges_file=merges_file, **length)
  fresh = {}
  if "vision" in model and "text" in model:
    _check_projections(shapes)
    entries.append(Entry("logit_scale", "params/log_temperature", NEGATED))
    fresh = {"params/logit_bias": "the bias of a loss that CLIP does not have"}
  return Plan(
    model=model,
    context=clip_context(**context),
    table=NameTable(entries, [COUNTED], fresh=fresh),
    notes=(
      SAME,
      "The feature of a caption is that of its last real word, which must be "
      "the end-of-text token.",
    ),
    text=text,
  )


def siglip_plan(
  shapes: dict,
  *,
  compat: bool,
  num_heads: int | None = None,
  text_heads: int | None = None,
  activation: str = "gelu_tanh",
  frames: int = 8,
  size: int = 224,
  pad_id: int = 1,
  vocabulary_file: str | None = None,
  lower: bool = True,
) -> Plan:
  """Returns what a state dict of SigLIP (arXiv:2303.15343) is to become.

  A file of one tower gives a model of one.

  Args:
    shapes: by name; a vision tower alone may have no prefix.
    compat: changes nothing.
    num_heads: K of the image tower; None = as the released ones.
    text_heads: likewise, of the text tower.
    activation: of the perceptrons, see `layers.mlp`.
    frames: T of the clips to be read, frame by frame.
    size: H = W of their frames, without an image tower, which tells it.
    pad_id: word id of padding, which is read.
    vocabulary_file: of SentencePiece, or None.
    lower: whether captions are made lower case.

  Raises:
    ValueError: arrays that tell of sizes are missing or contradict each other.
  """
  del compat
  model, entries = dict(name="towers"), []
  options = dict(activation=activation, epsilon=1e-6)
  text, context = None, dict(frames=frames, size=size)
  at = prefix(shapes, "vision_model.")
  if at or "head.probe" in shapes:
    vision, context["size"] = _vision(
      shapes, at, num_heads, SIGLIP_HEADS, class_token=False
    )
    vision |= options | dict(class_token=False, pool="attention")
    entries += [
      *_vision_entries(at, vision, bias=True),
      *_pooling_entries(f"{at}head", "vision/head"),
    ]
    model |= dict(vision=vision, normalization="symmetric")
  if prefix(shapes, "text_model."):
    spec, words = _text(shapes, text_heads, SIGLIP_HEADS)
    outputs, _ = axes_of(shapes, "text_model.head.weight", 2)
    spec |= options | dict(padding=pad_id, outputs=outputs, outputs_bias=True)
    entries += [*_text_entries(), *linear("text_model.head", "text/project")]
    model["text"], context = spec, context | words
    if vocabulary_file is not None:
      text = dict(
        name="sentencepiece",
        length=words["text_length"],
        vocabulary_file=vocabulary_file,
        pad_id=pad_id,
        lower=lower,
      )
  if "vision" in model and "text" in model:
    entries += [
      Entry("logit_scale", "params/log_temperature", NEGATED_SCALAR),
      Entry("logit_bias", "params/logit_bias", SCALAR),
    ]
  return Plan(
    model=model,
    context=clip_context(**context),
    table=NameTable(entries, [COUNTED]),
    notes=(
      SAME,
      "Padding of a caption is read, so that all captions must be as long as "
      "the tower's.",
    ),
    text=text,
  )


def _vision(shapes, at, told, released, *, class_token):
  """The spec of an image tower but for its options, and the size it sees."""
  patch = f"{at}embeddings.patch_embedding.weight"
  places = f"{at}embeddings.position_embedding.weight"
  layer = f"{at}encoder.layers"
  width, _, side, _ = axes_of(shapes, patch, 4)
  cells = axes_of(shapes, places, 2)[0] - class_token
  spec = dict(
    name="vit",
    width=width,
    depth=count(shapes, f"{layer}.{{}}."),
    num_heads=heads_of(width, told, released),
    mlp_dim=axes_of(shapes, f"{layer}.0.mlp.fc1.weight", 2)[0],
    patch=(1, side, side),
  )
  return spec, side * side_of(cells, places)


def _text(shapes, told, released):
  """The spec of a text tower but for its options, and its words."""
  embeddings, layer = "text_model.embeddings", "text_model.encoder.layers"
  words, width = axes_of(shapes, f"{embeddings}.token_embedding.weight", 2)
  length, _ = axes_of(shapes, f"{embeddings}.position_embedding.weight", 2)
  spec = dict(
    name="transformer",
    width=width,
    depth=count(shapes, f"{layer}.{{}}."),
    num_heads=heads_of(width, told, released, key="text_heads"),
    mlp_dim=axes_of(shapes, f"{layer}.0.mlp.fc1.weight", 2)[0],
    pool="last",
  )
  return spec, dict(vocab_size=words, text_length=length)


def _vision_entries(at, vision, *, bias):
  patch, kernel = f"{at}embeddings.patch_embedding", vision["patch"][1:]
  places = f"{at}embeddings.position_embedding.weight"
  return [
    *patch_entries(patch, "vision/embed", *kernel, bias=bias),
    Entry(places, "params/vision/position"),
    *blocks(f"{at}encoder.layers", "vision/blocks", PARTS),
    *norm(f"{at}post_layernorm", "vision/norm"),
  ]


def _text_entries():
  embeddings = "text_model.embeddings"
  return [
    Entry(f"{embeddings}.token_embedding.weight", "params/text/embedding"),
    Entry(f"{embeddings}.position_embedding.weight", "params/text/position"),
    *blocks("text_model.encoder.layers", "text/blocks", PARTS),
    *norm("text_model.final_layer_norm", "text/norm"),
  ]


def _projection(shapes, theirs, tower, spec):
  """The entry of a map that a file may have; its width goes into `spec`."""
  if f"{theirs}.weight" not in shapes:
    return []
  spec["outputs"], _ = axes_of(shapes, f"{theirs}.weight", 2)
  return linear(theirs, f"{tower}/project", bias=False)


def _check_projections(shapes):
  """Raises ValueError unless both towers are projected, or none is."""
  both = [f"{tower}_projection.weight" for tower in ("visual", "text")]
  missing = [name for name in both if name not in shapes]
  if len(missing) == 1:
    raise ValueError(f"expected both of {', '.join(both)}, got one")


def _pooling_entries(theirs, ours):
  """Entries of a `layers.pooling_head.PoolingHead`."""
  return [
    Entry(f"{theirs}.probe", f"params/{ours}/latents", leading(2)),
    *multihead(f"{theirs}.attention", ours),
    *norm(f"{theirs}.layernorm", f"{ours}/norm"),
    *linear(f"{theirs}.mlp.fc1", f"{ours}/mlp/inner"),
    *linear(f"{theirs}.mlp.fc2", f"{ours}/mlp/outer"),
  ]


CLIP = Kind(
  summary="CLIP: an image and a text tower, from Hugging Face's files.",
  marker=r"^vision_model\.embeddings\.class_embedding$|^text_projection\.",
  plan=clip_plan,
)
SIGLIP = Kind(
  summary="SigLIP: an image and a text tower, from Hugging Face's files.",
  marker=r"^(vision_model\.)?head\.probe$|^text_model\.head\.",
  plan=siglip_plan,
)
