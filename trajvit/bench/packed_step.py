"""One contrastive training step: clips padded to the longest, and packed."""

import dataclasses

import jax
import numpy as np
import optax

from trajvit.data.packing import plan
from trajvit.evaluators.flops import count_flops
from trajvit.models import build_model
from trajvit.objectives import build_objectives
from trajvit.training.functional import functional
from trajvit.training.state import init_state
from trajvit.training.step import make_train_step
from trajvit.types import Batch, Clip, PackedGroup, Text

# One small frame, so that the encoder is most of the step.
FRAMES, SIZE, PATCH, WORDS, VOCABULARY = 1, 64, 4, 8, 64
GRID = SIZE // PATCH


@dataclasses.dataclass(frozen=True)
class Trunk:
  """The encoder that is timed.

  Attributes:
    width: D.
    depth: blocks.
    heads: K.
    dtype: of the products.
  """

  width: int
  depth: int
  heads: int
  dtype: str


class Steps:
  """The same training step of the same clips, padded and packed.

  Attributes:
    encoder_share: of the FLOPs of the padded forward pass.
    calls: "padded", "packed by the loader" and "packed by the device", each a
      function of what `inputs` returns.
  """

  def __init__(self, tracks: np.ndarray, group: PackedGroup, trunk: Trunk):
    """Builds TrajViT on linear patches, and its state.

    Args:
      tracks: [n] integers, tracks of clips, at most GRID * GRID.
      group: packs a batch, which is one group of clips.
      trunk: the encoder.

    Raises:
      ValueError: a clip has more tracks than the frames have cells.
    """
    if tracks.max() > GRID * GRID:
      raise ValueError(
        f"at most {GRID * GRID} tracks can be drawn, got {tracks.max()}"
      )
    self._tracks, self._group, self._trunk = tracks, group, trunk
    init, padded = self._model(packing=None)
    _, packed = self._model(packing=vars(group))
    tx = optax.adamw(1e-4)
    self._state = jax.jit(lambda: init_state(init(), tx, ema=False))()
    padded_step, packed_step = (
      _train_step(apply, tx) for apply in (padded, packed)
    )

    def run(step, batch):
      return step(self._state, batch, jax.random.key(0))

    def without_layout(batch):
      return dataclasses.replace(batch, layout=None)

    self.calls = {
      "padded": lambda batch: run(padded_step, without_layout(batch)),
      "packed by the loader": lambda batch: run(padded_step, batch),
      "packed by the device": lambda batch: run(
        packed_step, without_layout(batch)
      ),
    }
    self.encoder_share = self._encoder_share(padded)

  def inputs(self, turn: int) -> tuple[Batch]:
    """Returns new clips, with the layout that the loader would plan."""
    rng = np.random.default_rng(turn)
    clips = self._group.clips
    counts = rng.choice(self._tracks, clips)
    labels = np.arange(GRID * GRID) % counts[:, None]
    tracks = labels.reshape(clips, 1, GRID, GRID).astype(np.int32)
    frames = rng.integers(0, 256, (clips, FRAMES, SIZE, SIZE, 3), np.uint8)
    ids = rng.integers(0, VOCABULARY, (clips, WORDS)).astype(np.int32)
    batch = Batch(
      clip=Clip(frames, tracks=np.repeat(tracks, FRAMES, axis=1)),
      text=Text(ids, np.ones_like(ids, bool)),
      clip_id=np.arange(clips, dtype=np.int32),
      layout=plan(counts + 1, self._group),
    )
    return (jax.device_put(batch),)

  def _model(self, packing):
    trunk = self._trunk
    spec = dict(
      name="video_text",
      tokenizer=dict(name="trajectory_light", patch=PATCH, stem_width=16),
      encoder=dict(
        name="vit",
        width=trunk.width,
        depth=trunk.depth,
        num_heads=trunk.heads,
        packing=packing,
      ),
      text=dict(name="transformer", width=32, depth=1, num_heads=2),
      embed_dim=64,
      dtype=trunk.dtype,
    )
    context = dict(
      clip_shape=(FRAMES, SIZE, SIZE),
      max_tracks=int(self._tracks.max()),
      vocab_size=VOCABULARY,
      text_length=WORDS,
    )
    return functional(lambda: build_model(spec, seed=0, **context))

  def _encoder_share(self, apply):
    (batch,) = self.inputs(0)
    batch = dataclasses.replace(batch, layout=None)
    names = "video_embedding", "text_embedding"

    def forward(variables, batch):
      outputs = apply(variables, batch)
      return [outputs[name] for name in names], outputs["tokens"].features

    def rest(variables, batch):
      _, tokens = forward(variables, batch)
      return tokens, apply(variables, batch)["text_embedding"]

    whole, others = (
      count_flops(function, self._state.variables, batch).total
      for function in (forward, rest)
    )
    return 1 - others / whole


def _train_step(apply, tx):
  objective = build_objectives(dict(contrastive=dict(weight=1.0)))
  return jax.jit(make_train_step(apply, objective, tx, lambda step: 1e-4))
