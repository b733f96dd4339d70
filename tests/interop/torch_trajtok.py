"""TrajTok in PyTorch, written from its formulas, with its oddities."""

import torch
from torch import nn
from torch.nn import functional as F
from torch_parts import ClassTokenViT, LatentAttention


class ChannelNorm(nn.LayerNorm):
  """Layer norm over the channels of [N, C, h, w]."""

  def forward(self, x):
    return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
  def __init__(self, width):
    super().__init__()
    self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
    self.norm = nn.LayerNorm(width, 1e-6)
    self.pwconv1 = nn.Linear(width, 4 * width)
    self.pwconv2 = nn.Linear(4 * width, width)
    self.gamma = nn.Parameter(torch.ones(width))

  def forward(self, x):
    y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
    y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
    return x + y.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
  def __init__(self, depths, widths):
    super().__init__()
    first = nn.Sequential(
      nn.Conv2d(3, widths[0], 4, 4), ChannelNorm(widths[0], 1e-6)
    )
    rest = [
      nn.Sequential(ChannelNorm(a, 1e-6), nn.Conv2d(a, b, 2, 2))
      for a, b in zip(widths[:-1], widths[1:], strict=True)
    ]
    self.downsample_layers = nn.ModuleList([first, *rest])
    self.stages = nn.ModuleList(
      [
        nn.Sequential(*[ConvNeXtBlock(width) for _ in range(depth)])
        for depth, width in zip(depths, widths, strict=True)
      ]
    )
    self.norm = nn.LayerNorm(widths[-1], 1e-6)
    idle = [nn.Identity() for _ in widths[:-1]]
    self.norms = nn.ModuleList([*idle, self.norm])

  def forward(self, x):
    found = []
    for down, stage in zip(self.downsample_layers, self.stages, strict=True):
      x = stage(down(x))
      found.append(x)
    last = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return [*found[:-1], last]


class PatchEncoder(nn.Module):
  def __init__(self, depths, widths, width):
    super().__init__()
    self.backbone = ConvNeXt(depths, widths)
    self.proj = nn.ModuleList([nn.Conv2d(n, width, 1) for n in widths])
    self.ln = nn.LayerNorm(width)

  def forward(self, frames):
    features, total = self.backbone(frames), 0
    for proj, x in zip(self.proj, features, strict=True):
      x = self.ln(proj(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
      grid = features[0].shape[2:]
      total = total + F.interpolate(x, grid, mode="bilinear")
    return total


class GatedMlp(nn.Module):
  def __init__(self, width):
    super().__init__()
    self.norm = nn.LayerNorm(width, 1e-6)
    self.gate = nn.Linear(width, 4 * width)
    self.up = nn.Linear(width, 4 * width)
    self.down = nn.Linear(4 * width, width)

  def forward(self, x):
    y = self.norm(x)
    return self.down(F.silu(self.gate(y)) * self.up(y))


class Perceiver(nn.Module):
  """The residual starts from normalised latents, by a norm that is shared."""

  def __init__(self, width, heads, depth, latents=None):
    super().__init__()
    if latents is not None:
      self.latents = nn.Parameter(torch.zeros(latents, width))
    self.layers = nn.ModuleList(
      [
        nn.ModuleList([LatentAttention(width, heads), GatedMlp(width)])
        for _ in range(depth)
      ]
    )
    self.norm_lat = nn.LayerNorm(width, 1e-6)
    self.norm_ctx = nn.LayerNorm(width, 1e-6)

  def forward(self, x, latents, closed):
    x = self.norm_ctx(x)
    for read, mlp in self.layers:
      latents = self.norm_lat(latents)
      latents = latents + read(x, latents, closed)
      latents = latents + mlp(latents)
    return latents


def head(width):
  return nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 64))


class HighDecoder(nn.Module):
  def __init__(self, width):
    super().__init__()
    self.conv_up = nn.Sequential(
      nn.ConvTranspose2d(width, width // 2, 2, 2),
      ChannelNorm(width // 2, 1e-6),
      nn.GELU(),
      nn.ConvTranspose2d(width // 2, width // 4, 2, 2),
      nn.GELU(),
      nn.Conv2d(width // 4, 64, 1),
      nn.GELU(),
    )

  def forward(self, x):
    return self.conv_up(x)


class Segmenter(nn.Module):
  def __init__(self, width=32, heads=2, slots=5, high=True):
    super().__init__()
    self.patch_encoder = PatchEncoder((1, 2), (8, 12), width)
    self.trajectory_perceiver = Perceiver(width, heads, 2, slots)
    self.traj_seg_head_low_res = head(width)
    self.patch_decoder_low_res = head(width)
    self.log_scale = nn.Parameter(torch.ones(1))
    if high:
      self.traj_seg_head_high_res = head(width)
      self.patch_decoder_high_res = HighDecoder(width)

  def scaled(self, cells, slots):
    scale = (F.softplus(self.log_scale) + 1).clamp(max=20)
    cells, slots = (F.normalize(x, dim=-1) for x in (cells, slots))
    return scale * cells @ slots.transpose(1, 2)

  def forward(self, video):
    """Logits [B, N, K], cells [B, N, D], and logits of pixels."""
    batch = len(video)
    grid = self.patch_encoder(video.flatten(0, 1))
    cells = grid.permute(0, 2, 3, 1).reshape(batch, -1, grid.shape[1])
    perceiver = self.trajectory_perceiver
    latents = perceiver.latents.expand(batch, -1, -1)
    count = latents.shape[1]
    closed = torch.zeros(batch, count, count + cells.shape[1]).bool()
    slots = perceiver(cells, latents, closed)
    low = self.scaled(
      self.patch_decoder_low_res(cells), self.traj_seg_head_low_res(slots)
    )
    high = None
    if hasattr(self, "patch_decoder_high_res"):
      fine = self.patch_decoder_high_res(grid).permute(0, 2, 3, 1)
      fine = fine.reshape(batch, -1, fine.shape[-1])
      high = self.scaled(fine, self.traj_seg_head_high_res(slots))
    return low, cells, high


class Tokenizer(nn.Module):
  def __init__(self, width, heads, slots):
    super().__init__()
    self.segmenter = Segmenter(width, heads, slots, high=False)
    self.latents = nn.Parameter(torch.zeros(slots, 1, width))
    self.traj_feature_updater = Perceiver(width, heads, 2)
    self.output_projector = nn.Linear(width, width)

  def forward(self, video):
    logits, cells, _ = self.segmenter(video)
    owner = logits.argmax(-1)
    slots = torch.arange(len(self.latents))
    other = owner[:, None] != slots[:, None]  # [B, K, N], True = closed
    other[:, :, -2:] = False
    apart = (slots[:, None] != slots).expand(len(video), -1, -1)
    latents = self.latents[:, 0].expand(len(video), -1, -1)
    closed = torch.cat([apart, other], -1)
    return self.output_projector(
      self.traj_feature_updater(cells, latents, closed)
    )


class TrajViT2(nn.Module):
  def __init__(self, width=32, heads=2, slots=5):
    super().__init__()
    self.traj_tokenizer = Tokenizer(width, heads, slots)
    self.vision_encoder = ClassTokenViT(width, 2, heads, 4 * width, 1)
    self.norm = nn.LayerNorm(width)

  def forward(self, video):
    return self.norm(self.vision_encoder(self.traj_tokenizer(video)))
