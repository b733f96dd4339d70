"""Models of every kind, as small as they come, for the tables of exports."""

import numpy as np
from tiny_runs import MODEL

STEM = dict(name="conv", stride=8, widths=(8,), depths=(1,))
OBJECTS = dict(name="object_tokens", stem=STEM)
TUBELET = dict(name="tubelet", patch=(2, 8, 8))
SIZES = dict(width=24, depth=2, num_heads=2)
SEGMENTER = dict(
  stem=STEM | dict(stride=4), width=24, num_slots=3, num_heads=2, depth=1
)


def tokens(name, encoder=None, **options):
  """A model of this tokenizer."""
  encoder = dict(name="vit", **SIZES) | (encoder or {})
  return MODEL | dict(tokenizer=dict(name=name, **options), encoder=encoder)


def tower(name="vit", **vision):
  return dict(name="towers", vision=dict(name=name) | vision)


def video_tower(**vision):
  sizes = dict(patch=(2, 16, 16), class_token=False, pool="mean", frames=2)
  return tower(**SIZES, **sizes, **vision)


def connector(**options):
  features = dict(name="stem", stem=STEM, width=24)
  sizes = dict(llm_width=10, num_heads=2, depth=1, frames_per_pool=2)
  return dict(name="connector", features=features) | sizes | options


WINDOW = dict(name="window", t=1, y=1, x=1, grid=(2, 4, 4), block=8)
TOME = dict(stages=(1, 1), reducers=(None, dict(name="tome", k=3)))
# Row of the table -> its model, for clips of 4 frames of 32 x 32 pixels.
MODELS = {
  "`alit`": tokens("alit", rounds=2, num_new=2, depth=1),
  "`dart`": tokens("dart"),
  "`dtd`": tokens("dtd"),
  "`evs`": tokens("evs", k=4),
  "`grt`": tokens("grt"),
  "`object_tokens`": tokens(**OBJECTS),
  "`registers`": tokens("registers", num_registers=3, depth=1),
  "`run_length`": tokens("run_length"),
  "`semantic`": tokens("semantic", windows=(2, 2, 2)),
  "`slots`": tokens("slots", stem=STEM, num_slots=4),
  "`slots`, frame by frame": tokens(
    "slots", stem=STEM, num_slots=4, video="frame"
  ),
  "`subobject`": tokens("subobject"),
  "`trajectory`": tokens("trajectory"),
  "`trajectory_light`": tokens("trajectory_light"),
  "`trajtok`": tokens("trajtok", stem=STEM, num_slots=4, depth=1),
  "`trajtok`, pool `frames`": tokens(
    "trajtok", stem=STEM, num_slots=4, depth=1, pool=dict(name="frames")
  ),
  "`trajtok`, `rotary_1d`": tokens(
    "trajtok", stem=STEM, num_slots=4, depth=1, position="rotary_1d"
  ),
  "`tubelet`": tokens(**TUBELET),
  "`tubelet`, position `spatial`": tokens(**TUBELET, position="spatial"),
  "`tubelet`, position `table`": tokens(**TUBELET, position="table"),
  "`vwt_inter`": tokens("vwt_inter", words=np.eye(2, 1536)),
  "`vwt_intra`": tokens("vwt_intra", k=4),
  "`object_tokens`, encoder `lookup_vit`": tokens(
    **OBJECTS, encoder=dict(name="lookup_vit", budgets=((2, 2, 2),))
  ),
  "`object_tokens`, pattern `window`": tokens(
    **OBJECTS, encoder=dict(pattern=WINDOW)
  ),
  "`object_tokens`, reducer `tome`": tokens(**OBJECTS, encoder=TOME),
  "tower of images (CLIP, SigLIP, ViT)": tower(**SIZES, patch=(1, 16, 16)),
  "tower `convnext`": tower("convnext", depths=(1, 1), widths=(4, 6)),
  "tower of 2 frames, `rotary` (V-JEPA 2)": video_tower(position="rotary"),
  "tower of 2 frames, `sinusoid` (VideoMAE)": video_tower(position="sinusoid"),
  "tower of 2 frames, `videoprism`": tower(
    "videoprism",
    **SIZES | dict(depth=1),
    mlp_dim=24,
    temporal_depth=1,
    patch=16,
    grid=(2, 2, 2),
  ),
  "`segmenter`": dict(name="segmenter", **SEGMENTER),
  "`connector` of 2 frames": connector(),
  "`connector` of 2 frames, segmenter": connector(segmenter=SEGMENTER, size=24),
  "`connector` of more frames than the run's": connector(frames_per_pool=8),
}
