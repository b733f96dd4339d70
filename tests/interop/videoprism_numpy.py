"""VideoPrism once more in NumPy, written from its formulas.

It reads arrays as the released npz files name and shape them, which `SHAPES`
has for a small model: layers on the first axis, and heads on two axes.
"""

import math

import numpy as np

WIDTH, HEADS, HIDDEN, CAP, PATCH = 12, 2, 20, 50.0, 4
GRID = 4, 2, 2
LETTERS, LENGTH = 11, 6


def _stack(name, depth):
  wide = (WIDTH, HEADS, WIDTH // HEADS)
  leaves = {
    "ff_layer/ffn_layer1/linear/bias": (HIDDEN,),
    "ff_layer/ffn_layer1/linear/kernel": (WIDTH, HIDDEN),
    "ff_layer/ffn_layer2/linear/bias": (WIDTH,),
    "ff_layer/ffn_layer2/linear/kernel": (HIDDEN, WIDTH),
    "self_attention/post/b": (WIDTH,),
    "self_attention/post/w": wide,
  }
  for norm in ("ff_layer/layer_norm", "layer_norm"):
    leaves |= {f"{norm}/bias": (WIDTH,), f"{norm}/scale": (WIDTH,)}
  for part in ("key", "query", "value"):
    leaves[f"self_attention/{part}/b"] = wide[1:]
    leaves[f"self_attention/{part}/w"] = wide
  return {f"{name}/x_layers/{key}": (depth, *x) for key, x in leaves.items()}


def _norm(name):
  return {f"{name}/bias": (WIDTH,), f"{name}/scale": (WIDTH,)}


def _pooler(name):
  wide = (WIDTH, HEADS, 4 * WIDTH // HEADS)
  attention = f"{name}/pooling_attention"
  found = {
    f"{attention}/per_dim_scale/per_dim_scale": wide[2:],
    f"{attention}/post/b": (WIDTH,),
    f"{attention}/post/w": wide,
    f"{attention}_query": (1, WIDTH),
  }
  for part in ("key", "query", "value"):
    found[f"{attention}/{part}/b"] = wide[1:]
    found[f"{attention}/{part}/w"] = wide
  return found | _norm(f"{attention}_layer_norm")


ENCODER = {
  "patch_projection/linear/bias": (WIDTH,),
  "patch_projection/linear/kernel": (3 * PATCH**2, WIDTH),
  "spatial_pos_emb/emb_var": (GRID[1] * GRID[2], WIDTH),
  "temporal_pos_emb/emb_var": (GRID[0], WIDTH),
  **_stack("spatial_encoder/transformers_stack", 2),
  **_stack("temporal_encoder/transformers_stack", 1),
  **_norm("spatial_ln"),
  **_norm("temporal_ln"),
}
SHAPES = {
  **{f"vision_encoder/{name}": shape for name, shape in ENCODER.items()},
  **_stack("auxiliary_encoder/transformers_stack", 1),
  **_pooler("contrastive_vision_pooler"),
  "text_encoder/cls_emb": (1, 1, WIDTH),
  "text_encoder/token_emb/emb_var": (LETTERS, WIDTH),
  **_stack("text_encoder/unimodal_transformer", 1),
  **_norm("text_encoder/unimodal_ln"),
}


def video(arrays, frames):
  """Features [B, T h w, D] of patches, and the pooled one [B, D]."""
  tower = below(arrays, "vision_encoder")
  batch, time, height, _, _ = frames.shape
  side = height // PATCH
  rows = []
  for row in range(side):
    for column in range(side):
      top, left = row * PATCH, column * PATCH
      cell = frames[:, :, top : top + PATCH, left : left + PATCH]
      rows.append(cell.reshape(batch, time, -1))
  x = np.stack(rows, axis=2)  # [B, T, h w, pixels]
  x = x @ tower["patch_projection/linear/kernel"]
  x = x + tower["patch_projection/linear/bias"]
  x = x + tower["spatial_pos_emb/emb_var"]
  x = transformer(below(tower, "spatial_encoder/transformers_stack"), x, gelu)
  x = layer_norm(below(tower, "spatial_ln"), x).swapaxes(1, 2)
  x = x + tower["temporal_pos_emb/emb_var"]
  x = transformer(below(tower, "temporal_encoder/transformers_stack"), x, gelu)
  x = layer_norm(below(tower, "temporal_ln"), x).swapaxes(1, 2)
  x = x.reshape(batch, time * side**2, WIDTH)
  stack = below(arrays, "auxiliary_encoder/transformers_stack")
  return x, pool(
    below(arrays, "contrastive_vision_pooler"), transformer(stack, x, gelu)
  )


def text(arrays, ids, mask):
  """The feature [B, D] of captions."""
  tower = below(arrays, "text_encoder")
  x = tower["token_emb/emb_var"][ids] * WIDTH**0.5
  half = WIDTH // 2
  for place in range(ids.shape[1]):
    for i in range(half):
      phase = place * math.exp(-i * math.log(10000) / (half - 1))
      x[:, place, i] += math.sin(phase)
      x[:, place, half + i] += math.cos(phase)
  last = np.repeat(tower["cls_emb"], len(ids), 0) * WIDTH**0.5
  x = np.concatenate([x, last], axis=1)
  real = np.concatenate([mask, np.ones((len(ids), 1), bool)], axis=1)
  count = x.shape[1]
  allowed = real[:, None] & np.tri(count, dtype=bool)
  stack = below(tower, "unimodal_transformer")
  x = transformer(stack, x, lambda x: np.maximum(x, 0), allowed)
  return layer_norm(below(tower, "unimodal_ln"), x[:, -1])


def transformer(arrays, x, activation, allowed=True):
  """Blocks over the last axis but one of [..., N, D]."""
  layers = below(arrays, "x_layers")
  for layer in range(len(layers["layer_norm/scale"])):
    one = {name: array[layer] for name, array in layers.items()}
    y = layer_norm(below(one, "layer_norm"), x)
    attention = below(one, "self_attention")
    query, key, value = (heads(attention, name, y) for name in MAPS)
    logits = np.einsum("...qkd,...skd->...kqs", query, key)
    logits = CAP * np.tanh(logits / np.sqrt(query.shape[-1]) / CAP)
    mask = allowed if allowed is True else allowed[:, None]
    x = x + post(attention, np.where(mask, logits, -1e30), value)
    hidden = below(one, "ff_layer")
    y = layer_norm(below(hidden, "layer_norm"), x)
    for name in ("ffn_layer1", "ffn_layer2"):
      dense = below(hidden, f"{name}/linear")
      y = y @ dense["kernel"] + dense["bias"]
      y = activation(y) if name == "ffn_layer1" else y
    x = x + y
  return x


MAPS = ("query", "key", "value")


def pool(arrays, x):
  """What the learned query reads of [B, N, D]."""
  attention = below(arrays, "pooling_attention")
  learned = arrays["pooling_attention_query"]
  query = heads(attention, "query", learned)  # [1, K, d]
  key, value = (heads(attention, name, x) for name in MAPS[1:])
  scale = np.log1p(np.exp(attention["per_dim_scale/per_dim_scale"]))
  query = query * scale * 1.442695041 / np.sqrt(query.shape[-1])
  logits = np.einsum("qkd,bskd->bkqs", query, key)
  read = post(attention, logits, value)[:, 0]
  return layer_norm(below(arrays, "pooling_attention_layer_norm"), read)


def heads(arrays, name, x):
  w, b = arrays[f"{name}/w"], arrays[f"{name}/b"]
  return np.einsum("...i,ikd->...kd", x, w) + b


def post(arrays, logits, value):
  weights = np.exp(logits - logits.max(-1, keepdims=True))
  weights /= weights.sum(-1, keepdims=True)
  read = np.einsum("...kqs,...skd->...qkd", weights, value)
  return np.einsum("...kd,ikd->...i", read, arrays["post/w"]) + arrays["post/b"]


def layer_norm(arrays, x):
  x = x - x.mean(-1, keepdims=True)
  x = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-6)
  return x * (1 + arrays["scale"]) + arrays["bias"]


def gelu(x):
  return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def below(arrays, name):
  """What lies below a path."""
  start = f"{name}/"
  return {
    key.removeprefix(start): array
    for key, array in arrays.items()
    if key.startswith(start)
  }
