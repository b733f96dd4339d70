"""Which encoders are compared: tokenizers in front of one trunk, in sizes."""

import dataclasses
import math

from trajvit.layers.sizes import SIZES, Size

# What all others are compared with: every patch reads every patch.
BASELINE = "vit3d"
SIZES_COMPARED = {name: SIZES[name] for name in ("S", "B", "L")}
FRAMES_COMPARED = (16, 32, 64)
PATCH = (2, 16, 16)
MAX_TRACKS = 128
# A text tower small enough not to count, for the contrastive loss of a step.
TEXT = dict(name="transformer", width=64, depth=2, num_heads=4)
EMBED_DIM = 256
# Which the released TrajViT, TrajTok and RLT are given as well.
NORMALIZATION = "imagenet"


@dataclasses.dataclass(frozen=True)
class Case:
  """A way to encode a clip.

  Attributes:
    about: one line for the page.
    tokenizer: spec of an entry in TOKENIZERS.
    encoder: of an entry in ENCODERS, beyond its size.
    frame_tokens: what TokenLearner leaves of a layer of tubelets behind half of
      the blocks; 0 is no reducer.
    counted: whether the number of tokens depends on the clip.
    learned: whether it depends on what is learned as well, so that an untrained
      encoder cannot tell.
    mean_slots: whether there are only as many slots as clips have tokens on
      average, as if rows were packed full; else there is one for every token.
  """

  about: str
  tokenizer: dict
  encoder: dict = dataclasses.field(default_factory=lambda: dict(name="vit"))
  frame_tokens: int = 0
  counted: bool = False
  learned: bool = False
  mean_slots: bool = False


_TUBELETS = dict(name="tubelet", patch=PATCH)
_RUNS = dict(name="run_length", patch=PATCH)
ENCODERS_COMPARED = {
  "vit3d": Case("patches of 2 x 16 x 16, all of which read all", _TUBELETS),
  "vivit_factorized": Case(
    "the same patches; half of the blocks read within a layer of tubelets, "
    "half across layers, of which there is one token each (ViViT, model 2)",
    _TUBELETS,
    encoder=dict(name="factorized_vit"),
  ),
  "token_learner": Case(
    "the same patches; 8 learned tokens of a layer of tubelets are left behind "
    "half of the blocks (TokenLearner 1.1)",
    _TUBELETS,
    frame_tokens=8,
  ),
  "run_length": Case(
    "patches that changed (RLT), a slot for each that could",
    _RUNS,
    counted=True,
  ),
  "run_length_mean": Case(
    "the same, with as many slots as clips have tokens on average: what a clip "
    "costs in rows that are packed full; alone, some would lose tokens",
    _RUNS,
    counted=True,
    mean_slots=True,
  ),
  "trajvit": Case(
    f"a token a track, at most {MAX_TRACKS}, from a ResNet-18 and two "
    "resamplers (TrajViT); tracks are given",
    dict(name="trajectory", stem="resnet18"),
    counted=True,
  ),
  "trajtok": Case(
    f"a token for each of {MAX_TRACKS} slots that a segmenter, ConvNeXt-S and "
    "perceivers 512 wide, finds in the pixels (TrajTok)",
    dict(
      name="trajtok",
      stem=dict(name="convnext", variant="small", remat="none"),
      segment_width=512,
      num_slots=MAX_TRACKS,
      num_heads=8,
    ),
    counted=True,
    learned=True,
  ),
  "flextok": Case(
    "256 nested registers that read all patches in a ViT as large as the trunk "
    "(FlexTok's tokenizer, on a clip)",
    dict(name="registers", patch=PATCH, num_registers=256, remat="none"),
  ),
  "videoflextok": Case(
    "64 nested registers for every 4 frames, which read themselves and the "
    "steps before them, likewise (VideoFlexTok's)",
    dict(
      name="registers",
      patch=(4, 16, 16),
      num_registers=64,
      each_step=True,
      remat="none",
    ),
  ),
}


def model_spec(
  case: Case,
  size: Size,
  clip_shape: tuple[int, int, int],
  *,
  slots: int | None = None,
  dtype: str = "float32",
) -> dict:
  """Returns the two towers of an encoder, for `models.build_model`.

  Args:
    case: the encoder.
    size: of the trunk, and of the tokenizer where that is a ViT.
    clip_shape: (T, H, W).
    slots: of a tokenizer that drops patches; None is one for each.
    dtype: of the products.
  """
  tokenizer, encoder = dict(case.tokenizer), dict(case.encoder)
  encoder |= dataclasses.asdict(size) | dict(remat="none")
  if tokenizer["name"] == "registers":
    tokenizer |= dict(depth=size.depth, mlp_dim=size.mlp_dim)
  if slots is not None:
    tokenizer["k"] = slots
  if case.frame_tokens:
    half = math.ceil(size.depth / 2)
    layers = clip_shape[0] // PATCH[0]
    # The class token is there by then, and is kept.
    reducer = dict(name="token_learner", k=1 + layers * case.frame_tokens)
    encoder["stages"] = (half, size.depth - half)
    encoder["reducers"] = [None, reducer]
  return dict(
    name="video_text",
    tokenizer=tokenizer,
    encoder=encoder,
    text=TEXT,
    embed_dim=EMBED_DIM,
    normalization=NORMALIZATION,
    dtype=dtype,
  )
