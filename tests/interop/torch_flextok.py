r"""FlexTok in PyTorch, from its formulas; its autoencoder is that of diffusers.

As a script it writes golden/flextok.npz, in an environment with both:

  PYTHONPATH=.:tests:tests/interop python tests/interop/torch_flextok.py
"""

import json
import math
import pathlib

import drawn_flextok as small
import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.nn import functional as F

GOLDEN = pathlib.Path(__file__).parent / "golden" / "flextok.npz"


def normed(x):
  return F.layer_norm(x, x.shape[-1:], eps=1e-5)


class Attention(nn.Module):
  def __init__(self, width):
    super().__init__()
    for name in ("wq", "wk", "wv", "proj"):
      setattr(self, name, nn.Linear(width, width, bias=False))

  def forward(self, x, allowed):
    q, k, v = (
      linear(x).unflatten(-1, (-1, small.HEAD)).transpose(1, 2)
      for linear in (self.wq, self.wk, self.wv)
    )
    scores = normed(q) @ normed(k).transpose(-1, -2) * (8 / small.HEAD)
    scores = scores.masked_fill(~allowed, float("-inf"))
    return self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Gated(nn.Module):
  def __init__(self, width):
    super().__init__()
    hidden = int(2 * (4 * width) / 3)
    self.fc1 = nn.Linear(width, hidden, bias=False)
    self.fc2 = nn.Linear(hidden, width, bias=False)
    self.fc3 = nn.Linear(width, hidden, bias=False)

  def forward(self, x):
    return self.fc2(F.silu(self.fc1(x)) * self.fc3(x))


class Block(nn.Module):
  def __init__(self, width, groups=0):
    super().__init__()
    self.attn, self.mlp = Attention(width), Gated(width)
    if groups:
      self.adaLN_modulation = nn.Sequential(
        nn.SiLU(), nn.Linear(width, groups * 6 * width)
      )

  def forward(self, x, allowed, condition=None, lengths=()):
    if condition is None:
      x = x + self.attn(normed(x), allowed)
      return x + self.mlp(normed(x))
    m = self.adaLN_modulation(condition).unflatten(-1, (len(lengths), -1))
    m = m.repeat_interleave(torch.tensor(lengths), 1)
    gate, gate_mlp, shift, scale, shift_mlp, scale_mlp = m.chunk(6, -1)
    x = x + gate * self.attn(normed(x) * (1 + scale) + shift, allowed)
    return x + gate_mlp * self.mlp(normed(x) * (1 + scale_mlp) + shift_mlp)


class Trunk(nn.Module):
  def __init__(self, width, groups=0):
    super().__init__()
    blocks = [Block(width, groups) for _ in range(small.DEPTHS[width])]
    self.blocks = nn.ModuleList(blocks)

  def forward(self, x, *args):
    for block in self.blocks:
      x = block(x, *args)
    return x


class Head(nn.Module):
  def __init__(self, width, outputs, modulated=False):
    super().__init__()
    self.proj = nn.Linear(width, outputs)
    if modulated:
      self.adaLN_modulation = nn.Sequential(
        nn.SiLU(), nn.Linear(width, 2 * width)
      )

  def forward(self, x, condition=None):
    x = normed(x)
    if condition is not None:
      shift, scale = self.adaLN_modulation(condition)[:, None].chunk(2, -1)
      x = x * (1 + scale) + shift
    return self.proj(x)


class Patches(nn.Module):
  def __init__(self, width):
    super().__init__()
    self.patch_proj = nn.Linear(4 * small.CHANNELS, width)

  def forward(self, x):
    """[B, C, h, w] -> [B, D, h / 2, w / 2]."""
    x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # [B, C, h, 2, w, 2]
    x = x.permute(0, 2, 4, 3, 5, 1).flatten(3)
    return self.patch_proj(x).permute(0, 3, 1, 2)


class Timestep(nn.Module):
  def __init__(self, width):
    super().__init__()
    self.mlp = nn.Sequential(
      nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width)
    )

  def forward(self, t):
    rate = torch.exp(-math.log(256) * torch.arange(128) / 128)
    args = 1000 * t[:, None] * rate
    return self.mlp(torch.cat([args.cos(), args.sin()], -1))


def holder(**parameters):
  """A module with parameters alone."""
  module = nn.Module()
  for name, shape in parameters.items():
    module.register_parameter(name, nn.Parameter(torch.zeros(*shape)))
  return module


def modules(**parts):
  """Modules under the names that the released ones have."""
  return nn.ModuleDict({"module_dict": nn.ModuleDict(parts)})


class FlexTok(nn.Module):
  def __init__(self):
    super().__init__()
    grid = small.SIZE // 4
    reads, makes, count = small.READS, small.MAKES, small.REGISTERS
    self.vae = nn.ModuleDict({"vae": AutoencoderKL(**small.VAE)})
    self.encoder = modules(
      enc_patch_emb=Patches(reads),
      enc_posemb_module=holder(posembs=(1, reads, grid, grid)),
      enc_register_module=holder(registers=(count, reads)),
      enc_transformer=Trunk(reads),
      enc_to_latents=Head(reads, len(small.LEVELS)),
    )
    self.decoder = modules(
      dec_from_latents=nn.ModuleDict(
        {"proj": nn.Linear(len(small.LEVELS), makes)}
      ),
      dec_registers_posemb_module=holder(posembs=(1, 1, makes, count)),
      dec_nested_dropout=holder(dropout_mask_token=(makes,)),
      dec_latent_dropout=holder(nullcond=(makes,)),
      dec_noise_patch_emb=Patches(makes),
      dec_patches_posemb_module=holder(posembs=(1, makes, grid, grid)),
      dec_time_embedder=Timestep(makes),
      dec_transformer=Trunk(makes, groups=2),
      dec_to_patches=Head(makes, 4 * small.CHANNELS, modulated=True),
    )

  def latents(self, images):
    """[B, 3, H, W] in [-1, 1] -> the mean, scaled."""
    return self.vae["vae"].encode(images).latent_dist.mode() * small.SCALING

  def images(self, latents):
    return self.vae["vae"].decode(latents / small.SCALING).sample

  def registers(self, latents):
    """[B, N, D] behind the trunk, and [B, N, d] in front of the codes."""
    parts = self.encoder["module_dict"]
    x = parts["enc_patch_emb"](latents) + parts["enc_posemb_module"].posembs
    x = x.flatten(2).transpose(1, 2)
    patches, own = x.shape[1], parts["enc_register_module"].registers
    x = torch.cat([x, own.expand(len(x), -1, -1)], 1)
    at = torch.arange(x.shape[1])
    allowed = (at <= at[:, None]) | (at < patches)
    x = parts["enc_transformer"](x, allowed)[:, patches:]
    return x, parts["enc_to_latents"](x)

  def codes(self, z):
    """Codes, and their ids."""
    levels = torch.tensor(small.LEVELS)
    half = (levels - 1) * (1 + 1e-3) / 2
    offset = torch.where(levels % 2 == 0, 0.5, 0.0)
    bounded = (z + (offset / half).atanh()).tanh() * half - offset
    whole = bounded.round()
    basis = torch.tensor([1, *levels[:-1]]).cumprod(0)
    return whole / (levels // 2), ((whole + levels // 2) * basis).sum(-1).int()

  def condition(self, codes, kept):
    """[B, N, D], of which `kept` are there; 0 is no condition at all."""
    parts = self.decoder["module_dict"]
    x = parts["dec_from_latents"]["proj"](codes)
    if kept == 0:
      return parts["dec_latent_dropout"].nullcond.expand_as(x)
    x = x + parts["dec_registers_posemb_module"].posembs[0, 0].T
    mask = parts["dec_nested_dropout"].dropout_mask_token.expand_as(x)
    return torch.cat([x[:, :kept], mask[:, kept:]], 1)

  def velocity(self, x, sigma, given):
    parts = self.decoder["module_dict"]
    grid = x.shape[2] // 2, x.shape[3] // 2
    y = (
      parts["dec_noise_patch_emb"](x)
      + parts["dec_patches_posemb_module"].posembs
    )
    y = y.flatten(2).transpose(1, 2)
    lengths = [y.shape[1], given.shape[1]]
    time = parts["dec_time_embedder"](sigma)
    both = torch.cat([y, given], 1)
    allowed = torch.ones(both.shape[1], both.shape[1], dtype=torch.bool)
    y = parts["dec_transformer"](both, allowed, time, lengths)[:, : lengths[0]]
    y = parts["dec_to_patches"](y, time).unflatten(1, grid)
    y = y.unflatten(3, (2, 2, -1))  # [B, h, w, 2, 2, C]
    return y.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)

  def sample(self, codes, kept, noise):
    """Euler's steps, guided by what is orthogonal (APG)."""
    given, nothing = self.condition(codes, kept), self.condition(codes, 0)
    x, average, axes = noise, 0, (1, 2, 3)
    for i in range(small.STEPS, 0, -1):
      sigma = torch.full((len(x),), i / small.STEPS)
      v = self.velocity(x, sigma, given)
      average = v - self.velocity(x, sigma, nothing) - 0.5 * average
      length = torch.linalg.vector_norm(average, dim=axes, keepdim=True)
      step = (average * (2.5 / length).clamp(max=1)).double()
      unit = v.double() / torch.linalg.vector_norm(
        v.double(), dim=axes, keepdim=True
      )
      step = step - (step * unit).sum(axes, keepdim=True) * unit
      x = x - (v + 6.5 * step.float()) / small.STEPS
    return self.images(x)


@torch.no_grad()
def outputs(model: FlexTok) -> dict:
  """What it makes of the drawn inputs, images channels last."""
  given = {k: torch.from_numpy(x) for k, x in small.inputs().items()}
  images = (given["pixels"].float() / 127.5 - 1).permute(0, 3, 1, 2)
  latents = model.latents(images)
  hidden, z = model.registers(latents)
  codes, ids = model.codes(z)
  sigma = torch.from_numpy(small.SIGMA)

  def velocity(kept):
    return model.velocity(
      given["noise"], sigma, model.condition(codes, kept)
    ).permute(0, 2, 3, 1)

  frames = model.sample(codes, small.KEPT, given["noise"])
  found = dict(
    latents=latents.permute(0, 2, 3, 1),
    images=model.images(given["latents"]).permute(0, 2, 3, 1),
    features=normed(hidden),
    z=z,
    ids=ids,
    velocity=velocity(small.KEPT),
    velocity_of_all=velocity(small.REGISTERS),
    velocity_of_none=velocity(0),
    frames=frames.permute(0, 2, 3, 1),
  )
  return {name: x.numpy() for name, x in found.items()}


def drawn() -> tuple[FlexTok, dict]:
  """The model, and its drawn weights."""
  model = FlexTok().eval()
  weights = small.draw(
    {k: list(x.shape) for k, x in model.state_dict().items()}
  )
  model.load_state_dict({k: torch.from_numpy(x) for k, x in weights.items()})
  return model, weights


if __name__ == "__main__":
  model, weights = drawn()
  shapes = {name: list(x.shape) for name, x in weights.items()}
  text = np.frombuffer(json.dumps(shapes).encode(), np.uint8)
  np.savez_compressed(GOLDEN, shapes=text, **outputs(model))
