"""What VideoPrism's arrays are called, in Flax's files and in PyTorch's."""

import dataclasses
import math

from trajvit.interop.kinds.blocks import linear
from trajvit.interop.kinds.blocks import norm as plain_norm
from trajvit.interop.kinds.kind import axes_of, count
from trajvit.interop.kinds.released import blocks, heads_of, prefix
from trajvit.interop.kinds.vit import patch_entries
from trajvit.interop.layouts import KEEP, MATRICES, ONE_MORE, heads, leading
from trajvit.interop.names import Entry

HEADS = {768: 12, 1024: 16}
MAPS = ("query", "key", "value")
PARTS = (
  "layernorm_before",
  "attention.q_proj",
  "attention.k_proj",
  "attention.v_proj",
  "attention.o_proj",
  "layernorm_after",
  "mlp.fc1",
  "mlp.fc2",
)


@dataclasses.dataclass(frozen=True)
class Found:
  """What the arrays of a file tell.

  Attributes:
    vision: options of `encoders.videoprism`, without those of its grid.
    frames: T of the positions in time.
    cells: h w of those in a frame.
    pixels: numbers in a patch.
    entries: of the table of names.
    text: options of `encoders.videoprism_text`, or None.
    words: of the vocabulary, 1 without text.
    text_length: of a table of positions of words, or None.
  """

  vision: dict
  frames: int
  cells: int
  pixels: int
  entries: list[Entry]
  text: dict | None = None
  words: int = 1
  text_length: int | None = None


def flax_names(
  shapes: dict, vision_heads: int | None, text_heads: int | None
) -> Found:
  """Returns what the released npz files tell: paths joined by "/".

  Layers lie on a leading axis, and heads on two axes.

  Args:
    shapes: by name, all below "params/" or none.
    vision_heads: K as the config tells, or None.
    text_heads: likewise.

  Raises:
    ValueError: an array is missing, or the heads are others.
  """
  at = prefix(shapes, "params/")
  tower = prefix(shapes, f"{at}vision_encoder/") or at
  stacks = {
    name: f"{tower}{name}_encoder/transformers_stack/x_layers"
    for name in ("spatial", "temporal")
  }
  vision = _flax_size(shapes, stacks["spatial"], vision_heads, "num_heads")
  vision["temporal_depth"] = _flax_depth(shapes, stacks["temporal"])
  pooler = f"{at}contrastive_vision_pooler"
  entries = []
  if prefix(shapes, f"{pooler}/"):
    stacks["auxiliary"] = f"{at}auxiliary_encoder/transformers_stack/x_layers"
    query = axes_of(shapes, f"{pooler}/pooling_attention/query/w", 3)
    vision |= dict(
      pool="attention",
      pool_dim=query[1] * query[2],
      auxiliary_depth=_flax_depth(shapes, stacks["auxiliary"]),
    )
    entries += _flax_pooler(pooler, vision["num_heads"])
  for ours, theirs in stacks.items():
    entries += _flax_stack(theirs, f"vision/{ours}", vision["num_heads"])
  for i, name in enumerate(("spatial", "temporal")):
    theirs = f"{tower}{name}_pos_emb/emb_var"
    entries.append(Entry(theirs, f"params/vision/positions/{i}"))
    entries += _flax_norm(f"{tower}{name}_ln", f"vision/{name}_norm")
  patch = f"{tower}patch_projection/linear"
  entries += _flax_linear(patch, "vision/embed")
  found = Found(
    vision=vision,
    frames=axes_of(shapes, f"{tower}temporal_pos_emb/emb_var", 2)[0],
    cells=axes_of(shapes, f"{tower}spatial_pos_emb/emb_var", 2)[0],
    pixels=axes_of(shapes, f"{patch}/kernel", 2)[0],
    entries=entries,
  )
  return _with_flax_text(found, shapes, f"{at}text_encoder/", text_heads)


def torch_names(
  shapes: dict, vision_heads: int | None, text_heads: int | None
) -> Found:
  """Returns what Hugging Face's files tell; see `flax_names`.

  The positions of words are an array there, from which they are taken: its
  slowest wave is faster than that of the code that the weights come from.
  """
  at = prefix(shapes, "video_model.")
  tower = prefix(shapes, f"{at}vision_model.") or at
  patch = f"{tower}spatial_embeddings.patch_embeddings.projection"
  _, channels, *kernel = axes_of(shapes, f"{patch}.weight", 5)
  stacks = {
    "spatial": f"{tower}spatial_layers",
    "temporal": f"{tower}temporal_layers",
  }
  vision = _torch_size(shapes, stacks["spatial"], vision_heads, "num_heads")
  vision["temporal_depth"] = count(shapes, f"{stacks['temporal']}.{{}}.")
  entries = patch_entries(patch, "vision/embed", *kernel)
  if prefix(shapes, f"{at}head."):
    inner, _ = axes_of(shapes, f"{at}head.q_proj.weight", 2)
    vision |= dict(pool="attention", pool_dim=inner)
    if prefix(shapes, f"{at}auxiliary_layers."):
      stacks["auxiliary"] = f"{at}auxiliary_layers"
      depth = count(shapes, f"{at}auxiliary_layers.{{}}.")
      vision["auxiliary_depth"] = depth
    entries += _torch_pooler(at)
  for ours, theirs in stacks.items():
    entries += blocks(theirs, f"vision/{ours}", PARTS, norms=norm)
  for i, name in enumerate(("spatial", "temporal")):
    theirs = f"{tower}{name}_embeddings.position_embeddings"
    entries.append(Entry(theirs, f"params/vision/positions/{i}", leading(1)))
    entries += norm(f"{tower}layernorm{i + 1}", f"vision/{name}_norm")
  times = f"{tower}temporal_embeddings.position_embeddings"
  places = f"{tower}spatial_embeddings.position_embeddings"
  found = Found(
    vision=vision,
    frames=axes_of(shapes, times, 3)[1],
    cells=axes_of(shapes, places, 3)[1],
    pixels=channels * math.prod(kernel),
    entries=entries,
  )
  return _with_torch_text(found, shapes, text_heads)


def norm(theirs: str, ours: str) -> list[Entry]:
  """Returns the entries of a norm whose scale is stored without its one."""
  scale, bias = plain_norm(theirs, ours)
  return [Entry(scale.theirs, scale.ours, ONE_MORE), bias]


def _with_torch_text(found, shapes, told):
  """What there is, with the text tower of the file, if it has one."""
  at, tables = "text_model.", "text_model.embeddings"
  if not prefix(shapes, at):
    return found
  text = _torch_size(shapes, f"{at}layers", told, "text_heads")
  entries = [
    Entry(f"{tables}.token_embedding.weight", "params/text/embedding"),
    Entry(f"{tables}.position_embedding", "params/text/position"),
    Entry(f"{tables}.cls_emb", "params/text/class_token", leading(1)),
    *blocks(f"{at}layers", "text/blocks", PARTS, norms=norm),
    *norm(f"{at}layernorm", "text/norm"),
  ]
  return dataclasses.replace(
    found,
    entries=found.entries + entries,
    text=text | dict(position="table"),
    words=axes_of(shapes, f"{tables}.token_embedding.weight", 2)[0],
    text_length=axes_of(shapes, f"{tables}.position_embedding", 2)[0],
  )


def _torch_size(shapes, layer, told, key):
  inner, width = axes_of(shapes, f"{layer}.0.mlp.fc1.weight", 2)
  return dict(
    width=width,
    depth=count(shapes, f"{layer}.{{}}."),
    num_heads=heads_of(width, told, HEADS, key=key),
    mlp_dim=inner,
  )


def _torch_pooler(at):
  """Entries of a `layers.scaled_pool.ScaledPool`."""
  theirs, ours = f"{at}head", "vision/head"
  query = f"{theirs}.pooling_attention_query"
  entries = [
    Entry(query, f"params/{ours}/latents", leading(2)),
    Entry(f"{theirs}.per_dim_scale", f"params/{ours}/scale"),
    *linear(f"{theirs}.o_proj", f"{ours}/out"),
    *norm(f"{at}head_layernorm", f"{ours}/norm"),
  ]
  for name in MAPS:
    entries += linear(f"{theirs}.{name[0]}_proj", f"{ours}/{name}")
  return entries


def _with_flax_text(found, shapes, at, told):
  """What there is, with the text tower of the file, if it has one."""
  if not prefix(shapes, at):
    return found
  stack, words = f"{at}unimodal_transformer/x_layers", f"{at}token_emb/emb_var"
  text = _flax_size(shapes, stack, told, "text_heads")
  entries = [
    Entry(words, "params/text/embedding"),
    Entry(f"{at}cls_emb", "params/text/class_token", leading(1)),
    *_flax_stack(stack, "text/blocks", text["num_heads"]),
    *_flax_norm(f"{at}unimodal_ln", "text/norm"),
  ]
  return dataclasses.replace(
    found,
    entries=found.entries + entries,
    text=text,
    words=axes_of(shapes, words, 2)[0],
  )


def _flax_depth(shapes, stack):
  return axes_of(shapes, f"{stack}/layer_norm/scale", 2)[0]


def _flax_size(shapes, stack, told, key):
  query = axes_of(shapes, f"{stack}/self_attention/query/w", 4)
  depth, width, num_heads, _ = query
  if told not in (None, num_heads):
    raise ValueError(
      f"config.{key} is {told}, but the arrays are of {num_heads} heads"
    )
  inner = f"{stack}/ff_layer/ffn_layer1/linear/kernel"
  return dict(
    width=width,
    depth=depth,
    num_heads=num_heads,
    mlp_dim=axes_of(shapes, inner, 3)[2],
  )


def _flax_stack(theirs, ours, num_heads):
  """Entries of a stack of `layers.block.Block`."""
  layers, mlp = f"{ours}/layers", f"{theirs}/ff_layer"
  return [
    *_flax_norm(f"{theirs}/layer_norm", f"{layers}/norm_attention"),
    *_flax_attention(
      f"{theirs}/self_attention", f"{layers}/attention", num_heads
    ),
    *_flax_norm(f"{mlp}/layer_norm", f"{layers}/norm_mlp"),
    *_flax_linear(f"{mlp}/ffn_layer1/linear", f"{layers}/mlp/inner"),
    *_flax_linear(f"{mlp}/ffn_layer2/linear", f"{layers}/mlp/outer"),
  ]


def _flax_attention(theirs, ours, num_heads):
  post, out = f"{theirs}/post", f"params/{ours}/out"
  entries = [
    Entry(f"{post}/w", f"{out}/kernel", heads(num_heads, MATRICES)),
    Entry(f"{post}/b", f"{out}/bias"),
  ]
  for name in MAPS:
    there, here = f"{theirs}/{name}", f"params/{ours}/{name}"
    entries += [
      Entry(f"{there}/w", f"{here}/kernel", heads(num_heads, KEEP)),
      Entry(f"{there}/b", f"{here}/bias", heads(num_heads, KEEP)),
    ]
  return entries


def _flax_pooler(theirs, num_heads):
  """Entries of a `layers.scaled_pool.ScaledPool`."""
  attention, ours = f"{theirs}/pooling_attention", "vision/head"
  scale = f"{attention}/per_dim_scale/per_dim_scale"
  return [
    Entry(f"{attention}_query", f"params/{ours}/latents", leading(1)),
    Entry(scale, f"params/{ours}/scale"),
    *_flax_attention(attention, ours, num_heads),
    *_flax_norm(f"{attention}_layer_norm", f"{ours}/norm"),
  ]


def _flax_norm(theirs, ours):
  return [
    Entry(f"{theirs}/scale", f"params/{ours}/scale", ONE_MORE),
    Entry(f"{theirs}/bias", f"params/{ours}/bias"),
  ]


def _flax_linear(theirs, ours):
  return [
    Entry(f"{theirs}/kernel", f"params/{ours}/kernel"),
    Entry(f"{theirs}/bias", f"params/{ours}/bias"),
  ]
