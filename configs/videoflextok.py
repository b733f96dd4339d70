r"""VideoFlexTok: 1 to 256 nested tokens for every step of a video.

FlexTok (see flextok) over time: each layer of tubelets has registers of its
own, a step reads itself and the steps before it, and a clip keeps the first k
of all its steps. The flow makes all steps at once.

  python train.py --config=configs/videoflextok.py \
    --config.data.train.manifest=videos.json --workdir=runs/videoflextok

Shapes are those of the model for Kinetics-600: 128 pixels, 256 patches a step.
It has the latents of a frozen video autoencoder, 17 frames in 5 steps, where we
have pixels, 16 in 4; it guides channel by channel. `patches=none` lets patches
not read earlier registers, so that k tokens can be encoded alone and mean what
they mean among 256; `patches=all` is the release's default.
"""

from configs import common, flextok

PROJECTED = dict(momentum=0.0, radius=0.6, parallel=0.0)
READS = ("none", "all")


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and AUTOENCODER."""
  arg = common.parse_arg(
    arg,
    encoder="d18",
    decoder="d18",
    registers=256,
    mode="uniform",
    patches="none",
    frames=16,
    size=128,
    **common.AUTOENCODER,
  )
  common.check_choice("patches", arg.patches, READS)
  config = common.autoencoder_base(arg, common.budgets(arg.registers))
  pattern = dict(name="nested_registers", patch_reads_registers=arg.patches)
  if arg.patches == "all":
    pattern |= dict(register_reads_registers="all")
  config.model = flextok.model(
    arg,
    dict(patch=(4, 8, 8), each_step=True, pattern=pattern),
    dict(steps=40, guidance=25.0, projected=PROJECTED),
  )
  config.optimizer.b2 = 0.95
  config.optimizer.weight_decay = 0.05
  return config
