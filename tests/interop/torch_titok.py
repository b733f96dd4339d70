"""TiTok in PyTorch, written from its formulas, with its oddities.

Legacy models mix registers with channels and make pixels by way of the codes of
MaskGIT's VQGAN; the others do neither, and do not normalise codes.
"""

import torch
from torch import nn
from torch.nn import functional as F

N, DIM, CODES = 8, 6, 40
SIZE, READ, MADE = 8, 4, 2  # pixels, and those of a patch on both sides
PIXEL_CODES, PIXEL_DIM, PIXEL_WIDTH = 20, 10, 32
TIMES = (1, 2)


class FusedAttention(nn.Module):
  def __init__(self, width, heads):
    super().__init__()
    self.heads = heads
    self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
    self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
    self.out_proj = nn.Linear(width, width)

  def forward(self, x):
    q, k, v = (
      y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
      for y in F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
    )
    shares = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    return self.out_proj((shares @ v).transpose(1, 2).flatten(2))


class FusedBlock(nn.Module):
  def __init__(self, width, heads):
    super().__init__()
    self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
    self.attn = FusedAttention(width, heads)
    parts = {
      "c_fc": nn.Linear(width, 4 * width),
      "c_proj": nn.Linear(4 * width, width),
    }
    self.mlp = nn.ModuleDict(parts)

  def forward(self, x):
    x = x + self.attn(self.ln_1(x))
    y = F.gelu(self.mlp["c_fc"](self.ln_2(x)))
    return x + self.mlp["c_proj"](y)


class Trunk(nn.Module):
  """What encoder and decoder share: [cls, patches, latents] and the blocks."""

  def __init__(self, width, heads, depth, cells):
    super().__init__()

    def learned(*shape):
      return nn.Parameter(torch.zeros(*shape, width))

    self.class_embedding = learned(1)
    self.positional_embedding = learned(cells**2 + 1)
    self.latent_token_positional_embedding = learned(N)
    self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
    blocks = [FusedBlock(width, heads) for _ in range(depth)]
    self.transformer = nn.ModuleList(blocks)

  def run(self, patches, latents):
    """[B, P, W], [B, k, W] -> both parts, after `ln_post`."""
    front = self.class_embedding.expand(len(patches), 1, -1)
    x = torch.cat([front, patches], 1) + self.positional_embedding
    places = self.latent_token_positional_embedding[: latents.shape[1]]
    x = self.ln_pre(torch.cat([x, latents + places], 1))
    for block in self.transformer:
      x = block(x)
    x = self.ln_post(x)[:, 1:]
    return x[:, : patches.shape[1]], x[:, patches.shape[1] :]


class Encoder(Trunk):
  def __init__(self, legacy, outputs, width=32, heads=2):
    super().__init__(width, heads, 2, SIZE // READ)
    self.legacy = legacy
    self.patch_embed = nn.Conv2d(3, width, READ, READ)
    self.conv_out = nn.Conv2d(width, outputs, 1)

  def forward(self, images, latents):
    """[B, 3, H, W], [N, W] -> [B, N, outputs]."""
    patches = self.patch_embed(images).flatten(2).transpose(1, 2)
    _, z = self.run(patches, latents.expand(len(images), -1, -1))
    batch, count, width = z.shape
    if self.legacy:
      z = z.reshape(batch, width, count, 1)
    else:
      z = z.transpose(1, 2)[..., None]
    return self.conv_out(z)[..., 0].transpose(1, 2)


class Decoder(Trunk):
  def __init__(self, legacy, inputs, width=24, heads=3):
    super().__init__(width, heads, 2, SIZE // MADE)
    self.legacy = legacy
    self.decoder_embed = nn.Linear(inputs, width)
    self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
    if legacy:
      self.ffn = nn.Sequential(
        nn.Conv2d(width, 2 * width, 1),
        nn.Tanh(),
        nn.Conv2d(2 * width, PIXEL_CODES, 1),
      )
    else:
      self.ffn = nn.Sequential(nn.Conv2d(width, 3 * MADE**2, 1))
      self.conv_out = nn.Conv2d(3, 3, 3, padding=1)

  def forward(self, codes):
    """[B, k, inputs] -> logits [B, K, h, w], or pixels [B, 3, H, W]."""
    cells = SIZE // MADE
    masks = self.mask_token.expand(len(codes), cells**2, -1)
    x, _ = self.run(masks, self.decoder_embed(codes))
    x = self.ffn(x.transpose(1, 2).unflatten(2, (cells, cells)))
    if self.legacy:
      return x
    x = x.unflatten(1, (MADE, MADE, 3)).permute(0, 3, 4, 1, 5, 2)
    return self.conv_out(x.flatten(4, 5).flatten(2, 3))


class Residual(nn.Module):
  def __init__(self, before, after):
    super().__init__()
    self.norm1, self.norm2 = (
      nn.GroupNorm(32, n, 1e-6) for n in (before, after)
    )
    self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
    self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
    if before != after:
      self.nin_shortcut = nn.Conv2d(after, after, 1, bias=False)

  def forward(self, x):
    y = self.conv1(F.silu(self.norm1(x)))
    y = self.conv2(F.silu(self.norm2(y)))
    return y + (self.nin_shortcut(y) if hasattr(self, "nin_shortcut") else x)


class PixelDecoder(nn.Module):
  def __init__(self):
    super().__init__()
    widths = [PIXEL_WIDTH * times for times in TIMES]
    self.conv_in = nn.Conv2d(PIXEL_DIM, widths[-1], 3, padding=1)
    same = (widths[-1], widths[-1])
    self.mid = nn.ModuleList([Residual(*same), Residual(*same)])
    levels = []
    for i, after in enumerate(widths):
      before = widths[min(i + 1, len(widths) - 1)]
      blocks = [Residual(before, after), Residual(after, after)]
      level = nn.ModuleDict({"block": nn.ModuleList(blocks)})
      if i:
        level["upsample_conv"] = nn.Conv2d(after, after, 3, padding=1)
      levels.append(level)
    self.up = nn.ModuleList(levels)
    self.norm_out = nn.GroupNorm(32, widths[0], 1e-6)
    self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

  def forward(self, x):
    x = self.conv_in(x)
    for block in self.mid:
      x = block(x)
    for level in reversed(self.up):
      for block in level["block"]:
        x = block(x)
      if "upsample_conv" in level:
        x = level["upsample_conv"](F.interpolate(x, scale_factor=2))
    return self.conv_out(F.silu(self.norm_out(x)))


class Codebook(nn.Module):
  def __init__(self, count, dim):
    super().__init__()
    self.embedding = nn.Embedding(count, dim)


class TiTok(nn.Module):
  def __init__(self, legacy=True):
    super().__init__()
    self.legacy = legacy
    self.latent_tokens = nn.Parameter(torch.zeros(N, 32))
    self.encoder, self.decoder = Encoder(legacy, DIM), Decoder(legacy, DIM)
    self.quantize = Codebook(CODES, DIM)
    if legacy:
      self.pixel_quantize = Codebook(PIXEL_CODES, PIXEL_DIM)
      self.pixel_decoder = PixelDecoder()

  def encode(self, images):
    """[B, 3, H, W] in [0, 1] -> vectors [B, N, DIM], and ids [B, N]."""
    z = self.encoder(images, self.latent_tokens)
    x, codes = z, self.quantize.embedding.weight
    if self.legacy:
      x, codes = F.normalize(x, dim=-1), F.normalize(codes, dim=-1)
    distances = (x[:, :, None] - codes).square().sum(-1)
    return z, distances.argmin(-1)

  def decode(self, ids):
    """[B, k] -> what the ViT puts out, and pixels [B, 3, H, W]."""
    codes = self.quantize.embedding(ids)
    if not self.legacy:
      made = self.decoder(codes)
      return made, made
    logits = self.decoder(F.normalize(codes, dim=-1))
    mean = (
      logits.softmax(1).movedim(1, -1) @ self.pixel_quantize.embedding.weight
    )
    return logits, self.pixel_decoder(mean.movedim(-1, 1))
