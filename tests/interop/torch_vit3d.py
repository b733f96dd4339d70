"""ViT3D in PyTorch, written from its formulas, with its oddities."""

import torch
from torch import nn
from torch_parts import ViTShell


class ViT3D(nn.Module):
  """Each patch gets the position of the one before it."""

  def __init__(self, width=32, depth=2, heads=2, patch=(2, 8, 8), patches=12):
    super().__init__()
    self.patch_embed_3d = nn.Conv3d(3, width, patch, patch)
    table = torch.zeros(1, 1 + patches, width)
    self.positional_embeddings_3d = nn.Parameter(table)
    self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
    self.vit2d = ViTShell(width, depth, heads, 4 * width)
    self.encoder = self.vit2d.encoder

  def forward(self, video):
    x = self.patch_embed_3d(video.transpose(1, 2)).flatten(2).transpose(1, 2)
    x = x + self.positional_embeddings_3d[:, : x.shape[1]]
    token = self.cls_token.expand(len(x), -1, -1)
    return self.vit2d(torch.cat([token, x], 1))
