"""TrajViT in PyTorch, written from its formulas, with its oddities."""

import torch
from torch import nn
from torch.nn import functional as F
from torch_parts import ClassTokenViT, LatentAttention


class ConvNorm(nn.Module):
  def __init__(self, inputs, outputs, size, stride=1):
    super().__init__()
    self.convolution = nn.Conv2d(
      inputs, outputs, size, stride, size // 2, bias=False
    )
    self.normalization = nn.BatchNorm2d(outputs)

  def forward(self, x):
    return self.normalization(self.convolution(x))


class ResidualLayer(nn.Module):
  def __init__(self, inputs, outputs, stride):
    super().__init__()
    self.layer = nn.ModuleList(
      [ConvNorm(inputs, outputs, 3, stride), ConvNorm(outputs, outputs, 3)]
    )
    if stride > 1 or inputs != outputs:
      self.shortcut = ConvNorm(inputs, outputs, 1, stride)

  def forward(self, x):
    y = self.layer[1](self.layer[0](x).relu())
    return (y + (self.shortcut(x) if hasattr(self, "shortcut") else x)).relu()


class ResNet18(nn.Module):
  widths = (64, 128, 256, 512)

  def __init__(self):
    super().__init__()
    self.embedder = nn.ModuleDict({"embedder": ConvNorm(3, 64, 7, 2)})
    stages, before = [], 64
    for i, width in enumerate(self.widths):
      first = ResidualLayer(before, width, 2 if i else 1)
      layers = nn.ModuleList([first, ResidualLayer(width, width, 1)])
      stages.append(nn.ModuleDict({"layers": layers}))
      before = width
    self.encoder = nn.ModuleDict({"stages": nn.ModuleList(stages)})

  def forward(self, x):
    x = F.max_pool2d(self.embedder["embedder"](x).relu(), 3, 2, 1)
    found = []
    for stage in self.encoder["stages"]:
      for layer in stage["layers"]:
        x = layer(x)
      found.append(x)
    return found


class Appearance(nn.Module):
  def __init__(self, width):
    super().__init__()
    self.resnet = ResNet18()
    self.linear_layers = nn.ModuleList(
      [nn.Linear(n, width) for n in self.resnet.widths]
    )
    self.layer_norm = nn.LayerNorm(width)

  def forward(self, frames, grid):
    """[N, 3, H, W] -> [N, h, w, D]."""
    total = 0
    for linear, x in zip(self.linear_layers, self.resnet(frames), strict=True):
      x = self.layer_norm(linear(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
      total = total + F.interpolate(x, grid, mode="bilinear")
    return total.permute(0, 2, 3, 1)


class Resampler(nn.Module):
  def __init__(self, width, heads, depth):
    super().__init__()
    self.latents = nn.Parameter(torch.zeros(1, width))
    self.layers = nn.ModuleList(
      [nn.ModuleList([LatentAttention(width, heads)]) for _ in range(depth)]
    )
    self.norm = nn.LayerNorm(width)

  def forward(self, x, absent):
    latents = self.latents.expand(len(x), 1, -1)
    seen = torch.zeros(len(x), 1, dtype=torch.bool)
    closed = torch.cat([seen, absent], 1)[:, None]
    for (layer,) in self.layers:
      latents = latents + layer(x, latents, closed)
    return self.norm(latents)[:, 0]


def shared_sinusoid(x, width):
  """[..., d] -> [..., D], one ramp of frequencies over all channels."""
  ramp = 10000.0 ** (-torch.arange(width) / width)
  phase = x[..., None] * ramp.reshape(x.shape[-1], -1)
  phase = phase.flatten(-2)
  even = torch.arange(width) % 2 == 0
  return torch.where(even, phase.sin(), phase.cos())


class TrajViT(nn.Module):
  def __init__(self, width=32, depth=2, heads=2, app_depth=2, pos_depth=1):
    super().__init__()
    self.width = width
    self.appearance_tokenizer = Appearance(width)
    self.appearance_token_mapper = Resampler(width, heads, app_depth)
    mapper = Resampler(width, heads, pos_depth)
    self.pos_encoder = nn.ModuleDict({"motion_token_mapper": mapper})
    self.vision_encoder = ClassTokenViT(width, depth, heads, 4 * width, 2)

  def forward(self, video, mask, graph):
    batch, frames, _, _, _ = video.shape
    rows, columns = grid = mask.shape[2:]
    x = self.appearance_tokenizer(video.flatten(0, 1), grid)
    x = x.unflatten(0, (batch, frames)).flatten(2, 3)
    hot = F.one_hot(mask.long(), int(max(mask.max(), graph.max())) + 1).float()
    hot[..., 0] = 0
    hot = hot.flatten(2, 3)  # [B, T, P, N]
    area = hot.sum(2)
    pooled = torch.einsum("btpn,btpd->btnd", hot, x)
    pooled = pooled / area.clamp(min=1)[..., None]
    axes = torch.arange(rows) / rows, torch.arange(columns) / columns
    at = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 1)
    center = torch.einsum("btpn,pc->btnc", hot, at)
    center = center / area.clamp(min=1)[..., None]
    center = torch.where(area[..., None] > 0, center, -1.0)

    def of_rows(x):
      index = graph.transpose(1, 2)[..., None].expand(-1, -1, -1, x.shape[-1])
      return x.gather(2, index).transpose(1, 2).flatten(0, 1)  # [B M, T, .]

    absent = (graph == 0).flatten(0, 1)
    nowhere = absent.all(1, keepdim=True)
    absent = absent & ~(nowhere & (torch.arange(frames) < 10))
    tokens = self.appearance_token_mapper(of_rows(pooled), absent)
    place = shared_sinusoid(of_rows(center), self.width)
    mapper = self.pos_encoder["motion_token_mapper"]
    tokens = tokens + mapper(place, absent)
    return self.vision_encoder(tokens.unflatten(0, (batch, -1)))
