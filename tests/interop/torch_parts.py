"""Parts of the reference models in PyTorch, written from their formulas."""

import torch
from torch import nn
from torch.nn import functional as F


def rotate(x, dim):
  """Turns interleaved pairs of the first `dim` channels of [B, K, N, d]."""
  angle = 10000.0 ** (-torch.arange(0, dim, 2) / dim)
  angle = torch.arange(x.shape[2])[:, None] * angle
  even, odd = x[..., 0:dim:2], x[..., 1:dim:2]
  turned = torch.stack(
    [
      even * angle.cos() - odd * angle.sin(),
      odd * angle.cos() + even * angle.sin(),
    ],
    -1,
  ).flatten(-2)
  return torch.cat([turned, x[..., dim:]], -1)


class Rotary(nn.Module):
  def __init__(self, count):
    super().__init__()
    self.register_buffer("freqs", 10000.0 ** (-torch.arange(count) / count))


class LatentAttention(nn.Module):
  """Latents read themselves and a sequence, with rotary phases."""

  def __init__(self, width, heads):
    super().__init__()
    self.heads = heads
    self.norm_media = nn.LayerNorm(width)
    self.norm_latents = nn.LayerNorm(width)
    self.to_q = nn.Linear(width, width, bias=False)
    self.to_kv = nn.Linear(width, 2 * width, bias=False)
    self.to_out = nn.Linear(width, width, bias=False)
    self.rotary_emb = Rotary(width // heads // 4)

  def forward(self, x, latents, closed):
    """`closed` [B, R, R + N], True where a latent may not look."""
    queries = self.norm_latents(latents)
    both = torch.cat([queries, self.norm_media(x)], 1)
    key, value = self.to_kv(both).chunk(2, -1)
    q, k, v = (
      y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
      for y in (self.to_q(queries), key, value)
    )
    dim = q.shape[-1] // 2
    q, k = rotate(q, dim), rotate(k, dim)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(closed[:, None], float("-inf"))
    out = scores.softmax(-1) @ v
    return self.to_out(out.transpose(1, 2).flatten(2))


class ViTBlock(nn.Module):
  """A pre-norm block under Hugging Face's names."""

  def __init__(self, width, heads, hidden):
    super().__init__()
    self.heads = heads
    names = ("query", "key", "value")
    linears = nn.ModuleDict({x: nn.Linear(width, width) for x in names})
    self.attention = nn.ModuleDict(
      {
        "attention": linears,
        "output": nn.ModuleDict({"dense": nn.Linear(width, width)}),
      }
    )
    self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
    self.output = nn.ModuleDict({"dense": nn.Linear(hidden, width)})
    self.layernorm_before = nn.LayerNorm(width, 1e-12)
    self.layernorm_after = nn.LayerNorm(width, 1e-12)

  def forward(self, x):
    y, parts = self.layernorm_before(x), self.attention["attention"]
    q, k, v = (
      parts[name](y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
      for name in ("query", "key", "value")
    )
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    x = x + self.attention["output"]["dense"](y)
    y = F.gelu(self.intermediate["dense"](self.layernorm_after(x)))
    return x + self.output["dense"](y)


class ViTShell(nn.Module):
  """Hugging Face's ViT: its blocks, and all that is there and not run."""

  def __init__(self, width, depth, heads, hidden):
    super().__init__()
    blocks = [ViTBlock(width, heads, hidden) for _ in range(depth)]
    self.encoder = nn.ModuleDict({"layer": nn.ModuleList(blocks)})
    self.embeddings = nn.ParameterDict(
      {
        "cls_token": torch.zeros(1, 1, width),
        "position_embeddings": torch.zeros(1, 5, width),
      }
    )
    self.layernorm = nn.LayerNorm(width)
    self.pooler = nn.ModuleDict({"dense": nn.Linear(width, width)})

  def forward(self, x):
    for block in self.encoder["layer"]:
      x = block(x)
    return x


class ClassTokenViT(nn.Module):
  """A class token in front, and the blocks so many times."""

  def __init__(self, width, depth, heads, hidden, passes):
    super().__init__()
    self.passes = passes
    self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
    self.vit = ViTShell(width, depth, heads, hidden)

  def forward(self, x):
    x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
    for _ in range(self.passes):
      x = self.vit(x)
    return x


class BertBlock(nn.Module):
  """A post-norm block under BERT's names."""

  def __init__(self, width, heads, hidden):
    super().__init__()
    self.heads = heads
    names = ("query", "key", "value")
    self.attention = nn.ModuleDict(
      {
        "self": nn.ModuleDict({x: nn.Linear(width, width) for x in names}),
        "output": self._output(width, width),
      }
    )
    self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
    self.output = self._output(hidden, width)

  def _output(self, inputs, width):
    return nn.ModuleDict(
      {
        "dense": nn.Linear(inputs, width),
        "LayerNorm": nn.LayerNorm(width, 1e-12),
      }
    )

  def forward(self, x, real):
    """`real` [B, L], True = a word."""
    q, k, v = (
      self.attention["self"][name](x).unflatten(-1, (self.heads, -1))
      for name in ("query", "key", "value")
    )
    y = F.scaled_dot_product_attention(
      *(z.transpose(1, 2) for z in (q, k, v)), attn_mask=real[:, None, None]
    )
    out = self.attention["output"]
    x = out["LayerNorm"](x + out["dense"](y.transpose(1, 2).flatten(2)))
    y = self.output["dense"](F.gelu(self.intermediate["dense"](x)))
    return self.output["LayerNorm"](x + y)


class Bert(nn.Module):
  """The text tower: of its blocks the first nine twelfths are run."""

  def __init__(self, words, length, width, heads, hidden, depth=4):
    super().__init__()
    self.run = depth * 9 // 12
    self.embeddings = nn.ModuleDict(
      {
        "word_embeddings": nn.Embedding(words, width),
        "position_embeddings": nn.Embedding(length, width),
        "token_type_embeddings": nn.Embedding(2, width),
        "LayerNorm": nn.LayerNorm(width, 1e-12),
      }
    )
    self.embeddings.register_buffer("position_ids", torch.arange(length)[None])
    blocks = [BertBlock(width, heads, hidden) for _ in range(depth)]
    for block in blocks[self.run :]:
      block.crossattention = BertBlock(width, heads, hidden).attention
    self.encoder = nn.ModuleDict({"layer": nn.ModuleList(blocks)})

  def forward(self, ids, real):
    parts = self.embeddings
    x = parts["word_embeddings"](ids)
    x = x + parts["position_embeddings"].weight[: ids.shape[1]]
    x = parts["LayerNorm"](x + parts["token_type_embeddings"].weight[0])
    for block in self.encoder["layer"][: self.run]:
      x = block(x, real)
    return x[:, 0]


class TwoTowers(nn.Module):
  """A video tower, the text tower, and their heads."""

  def __init__(self, vision, text, width, text_width, joint):
    super().__init__()
    self.vision_encoder, self.text_encoder = vision, text
    self.vision_proj = nn.Linear(width, joint)
    self.text_proj = nn.Linear(text_width, joint)
    self.itm_head = nn.Linear(text_width, 2)
    self.temp = nn.Parameter(torch.tensor(0.07))

  def forward(self, *video, ids, real):
    """The tokens of the video, and both embeddings."""
    tokens = self.vision_encoder(*video)
    z_v = F.normalize(self.vision_proj(tokens[:, 0]), dim=-1)
    z_t = F.normalize(self.text_proj(self.text_encoder(ids, real)), dim=-1)
    return tokens, z_v, z_t
