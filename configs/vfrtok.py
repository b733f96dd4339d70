r"""VFRTok: tokens for seconds of a video, whatever its frame rate.

Source: arXiv:2505.12053, known to us by its abstract. Queries read patches that
know when they are by rotary phases, on half the channels of a head; in training
they are shown every frame, every second or every fourth, and the decoder makes
all frames. Tokens are as many for any rate of the same length of time.

  python train.py --config=configs/vfrtok.py \
    --config.data.train.manifest=videos.json --workdir=runs/vfrtok

`frames` are seen, whatever time they span: tell it by the sampler, and give
longer videos in proportion more `registers`. Our decoder knows frames by their
number, and the loss is that of pixels, without the paper's other ones.
"""

from configs import common


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and AUTOENCODER."""
  arg = common.parse_arg(
    arg,
    registers=512,
    share=0.5,
    frames=16,
    size=128,
    **common.AUTOENCODER,
  )
  config = common.autoencoder_base(arg)
  decoder = dict(
    name="pixel",
    patch=(1, 16, 16),
    inner_width=768,
    depth=12,
    num_heads=12,
    queries="sincos",
    remat="full",
  )
  config.model = common.autoencoder_model(
    dict(
      num_registers=arg.registers,
      patch=(1, 16, 16),
      position="spatial",
      pattern=dict(name="dense"),
      timed=dict(share=arg.share),
      strides=(1, 2, 4),
      depth=12,
    ),
    width=768,
    num_heads=12,
    reconstruction=dict(
      dim=16, quantizer=dict(name="kl", kl_weight=1e-6), decoder=decoder
    ),
  )
  config.objectives.quantization = dict(weight=1.0)
  return config
