"""A small FlexTok: its config, weights drawn by name, and inputs."""

import numpy as np
from drawn_weights import draw_all

SIZE, CHANNELS, REGISTERS, LEVELS = 16, 4, 8, (8, 8, 5)
READS, MAKES = 32, 48  # widths of the two trunks
HEAD, KEPT, STEPS = 16, 4, 3
DEPTHS = {READS: 2, MAKES: 1}
SCALING = 0.6
SIGMA = np.array([0.9, 0.35], np.float32)
VAE = dict(
  block_out_channels=(32, 64),
  down_block_types=("DownEncoderBlock2D",) * 2,
  up_block_types=("UpDecoderBlock2D",) * 2,
  layers_per_block=1,
  latent_channels=CHANNELS,
  norm_num_groups=32,
)

CONFIG = dict(
  vae=dict(scaling_factor=SCALING, latent_channels=CHANNELS),
  encoder=dict(
    module_dict=dict(
      enc_patch_emb=dict(patch_sizes=[2, 2], dim=READS),
      enc_posemb_module=dict(posemb_type="sincos", max_sizes=[4, 4]),
      enc_seq_packer=dict(mask_mode="causal_last"),
      enc_transformer=dict(dim=READS, head_dim=HEAD),
      enc_to_latents=dict(use_mup_readout=False),
    )
  ),
  decoder=dict(
    module_dict=dict(
      dec_nested_dropout=dict(size_sampling_mode="pow2"),
      dec_latent_dropout=dict(dropout_prob=0.2),
      dec_time_embedder=dict(max_timestep=1.0),
      dec_transformer=dict(dim=MAKES, head_dim=HEAD),
    )
  ),
  regularizer=dict(levels=list(LEVELS), drop_quant_p=0.1),
  flow_matching_noise_module=dict(ln=False, mode_scale=0.25),
)


def draw(shapes: dict) -> dict:
  """A state dict, in which places of patches are what they have to be."""
  weights = draw_all(shapes)
  for name, shape in shapes.items():
    if name.endswith(
      ("enc_posemb_module.posembs", "patches_posemb_module.posembs")
    ):
      weights[name] = places(*shape[1:])
  return weights


def places(width, rows, columns):
  """[1, D, rows, columns]: sines and cosines of the row, then of the column."""
  count = width // 4
  rate = 10000.0 ** (-np.arange(count) / count)
  at = np.indices((rows, columns))
  parts = [wave(i * r) for i in at for wave in (np.sin, np.cos) for r in rate]
  return np.stack(parts)[None].astype(np.float32)


def inputs() -> dict:
  """Images as pixels, and noise and latents [B, C, h, w]."""
  rng = np.random.default_rng(3)
  latents = (2, CHANNELS, SIZE // 2, SIZE // 2)
  return dict(
    pixels=rng.integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8),
    noise=rng.normal(size=latents).astype(np.float32),
    latents=rng.normal(size=latents).astype(np.float32),
  )
