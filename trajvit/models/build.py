"""From the `model` part of a config to a model."""

from flax import nnx

from trajvit.encoders import TEXT_ENCODERS, VISION_ENCODERS
from trajvit.models.build_autoencoder import autoencoder
from trajvit.models.build_reconstruction import build_reconstruction
from trajvit.models.build_tower import dtype_of, video_tower
from trajvit.models.connector import Connector
from trajvit.models.feature_net import FeatureNet
from trajvit.models.features import FEATURES
from trajvit.models.probe import Probe
from trajvit.models.regions import build_regions
from trajvit.models.segmenter import SegmenterModel
from trajvit.models.towers import TextTower, TwoTowers, VisionTower
from trajvit.models.traj_adapter import ADAPTERS
from trajvit.models.video_encoder import VideoEncoder
from trajvit.models.video_text import VideoText
from trajvit.table import Table, check_arguments
from trajvit.tokenizers.trajtok import Segmenter, build_segmenter


def video_text(
  *,
  tokenizer: dict,
  encoder: dict,
  text: dict,
  reconstruction: dict | None = None,
  normalization: str = "symmetric",
  dtype: str = "float32",
  rngs: nnx.Rngs,
  clip_shape: tuple[int, int, int],
  max_tracks: int,
  vocab_size: int,
  text_length: int,
  **options,
) -> VideoText:
  """Video and text towers in one embedding space, from specs of their parts.

  Args:
    tokenizer: spec of an entry in TOKENIZERS. It is offered the width and heads
      of the encoder, `normalization`, `clip_shape` and `max_tracks`.
    encoder: spec of an entry in ENCODERS; its `reducers` are specs, or None.
      It and they are offered the `grid` (t, h, w) of the tokens, if they are
      one.
    text: spec of an entry in TEXT_ENCODERS.
    reconstruction: of `build_reconstruction`, to make frames of the tokenizer's
      tokens as well; None makes none.
    normalization: of the frames, a name in NORMALIZATIONS.
    dtype: "float32" or "bfloat16", of the products.
    rngs: holds the key of the initial values.
    clip_shape: (T, H, W).
    max_tracks: M.
    vocab_size: number of word ids.
    text_length: L.
    **options: of `VideoText`.
  """
  check_arguments("model 'video_text'", VideoText, options)
  shared = dict(dtype=dtype_of(dtype), rngs=rngs)
  clip = dict(
    normalization=normalization, clip_shape=clip_shape, max_tracks=max_tracks
  )
  tokenizer, encoder = video_tower(tokenizer, encoder, **clip, **shared)
  text = TEXT_ENCODERS.build(
    text, vocab_size=vocab_size, text_length=text_length, **shared
  )
  options |= dict(normalization=normalization, rngs=rngs)
  if reconstruction is not None:
    options["reconstruction"] = build_reconstruction(
      **reconstruction,
      tokenizer=tokenizer,
      width=encoder.width,
      normalization=normalization,
      clip_shape=clip_shape,
      **shared,
    )
  return VideoText(tokenizer, encoder, text, **options)


def video_encoder(
  *,
  tokenizer: dict,
  encoder: dict,
  normalization: str = "symmetric",
  dtype: str = "float32",
  rngs: nnx.Rngs,
  clip_shape: tuple[int, int, int],
  max_tracks: int,
  **options,
) -> VideoEncoder:
  """A video tower alone, from elsewhere: no text, no head, and no loss.

  Args:
    tokenizer: spec of an entry in TOKENIZERS, offered what `video_text` offers.
    encoder: likewise, of an entry in ENCODERS.
    normalization: of the frames, a name in NORMALIZATIONS.
    dtype: "float32" or "bfloat16", of the products.
    rngs: holds the key of the initial values.
    clip_shape: (T, H, W).
    max_tracks: M.
    **options: of `VideoEncoder`.
  """
  check_arguments("model 'video_encoder'", VideoEncoder, options)
  shared = dict(dtype=dtype_of(dtype), rngs=rngs)
  tokenizer, encoder = video_tower(
    tokenizer,
    encoder,
    normalization=normalization,
    clip_shape=clip_shape,
    max_tracks=max_tracks,
    **shared,
  )
  return VideoEncoder(
    tokenizer, encoder, normalization=normalization, **options
  )


def segmenter(
  *,
  stem: dict,
  width: int,
  normalization: str = "symmetric",
  dtype: str = "float32",
  rngs: nnx.Rngs,
  **options,
) -> SegmenterModel:
  """TrajTok's segmenter alone, to be trained from tracks.

  Args:
    stem: spec of an entry in STEMS.
    width: D.
    normalization: of the frames, see `models.normalization`.
    dtype: "float32" or "bfloat16", of the products.
    rngs: holds the key of the initial values.
    **options: of `Segmenter`.
  """
  check_arguments("model 'segmenter'", Segmenter, options)
  found = build_segmenter(
    stem, width=width, dtype=dtype_of(dtype), rngs=rngs, **options
  )
  return SegmenterModel(found, normalization=normalization)


def probe(
  *,
  features: dict,
  adapter: dict,
  dtype: str = "float32",
  rngs: nnx.Rngs,
  clip_shape: tuple[int, int, int],
  max_tracks: int,
  **options,
) -> Probe:
  """An attentive probe on a frozen encoder, over patches or trajectories.

  Args:
    features: spec of an entry in FEATURES.
    adapter: spec of an entry in ADAPTERS. It is offered the width of the
      features and `max_tracks`.
    dtype: "float32" or "bfloat16", of the products.
    rngs: holds the key of the initial values.
    clip_shape: (T, H, W).
    max_tracks: M of given tracks.
    **options: of `Probe`.
  """
  check_arguments("model 'probe'", Probe, options)
  shared = dict(dtype=dtype_of(dtype), rngs=rngs)
  features = FEATURES.build(features, clip_shape=clip_shape, **shared)
  adapter = ADAPTERS.build(
    adapter, width=features.width, max_tracks=max_tracks, **shared
  )
  return Probe(features, adapter, **shared, **options)


def connector(
  *,
  features: dict,
  segmenter: dict | None = None,
  normalization: str = "symmetric",
  size: int | None = None,
  dtype: str = "float32",
  rngs: nnx.Rngs,
  clip_shape: tuple[int, int, int],
  max_tracks: int,
  **options,
) -> Connector:
  """Tokens for a language model, one a trajectory and chunk (TrajVLM).

  Args:
    features: spec of an entry in FEATURES.
    segmenter: arguments of `build_segmenter`; None takes the clip's tracks.
    normalization: of the frames that the segmenter reads.
    size: rows = columns that they are shrunk to; None leaves them.
    dtype: "float32" or "bfloat16", of the products.
    rngs: holds the key of the initial values.
    clip_shape: (T, H, W).
    max_tracks: M of given tracks.
    **options: of `Connector`.
  """
  check_arguments("model 'connector'", Connector, options)
  shared = dict(dtype=dtype_of(dtype), rngs=rngs)
  features = FEATURES.build(features, clip_shape=clip_shape, **shared)
  regions = build_regions(
    segmenter,
    max_tracks=max_tracks,
    normalization=normalization,
    size=size,
    **shared,
  )
  return Connector(features, regions, **shared, **options)


def feature_net(
  *, dtype: str = "float32", rngs: nnx.Rngs, **options
) -> FeatureNet:
  """A small classifier, whose features then say how alike clips are.

  Args:
    dtype: "float32" or "bfloat16", of the products.
    rngs: holds the key of the initial values.
    **options: of `FeatureNet`.
  """
  check_arguments("model 'feature_net'", FeatureNet, options)
  return FeatureNet(dtype=dtype_of(dtype), rngs=rngs, **options)


def towers(
  *,
  vision: dict | None = None,
  text: dict | None = None,
  dtype: str = "float32",
  rngs: nnx.Rngs,
  clip_shape: tuple[int, int, int],
  vocab_size: int,
  text_length: int,
  **options,
) -> VisionTower | TextTower | TwoTowers:
  """Image, video or text towers in the shapes of released weights.

  Args:
    vision: spec of an entry in VISION_ENCODERS. It is offered the `size` of
      the clips' frames. None makes none.
    text: spec of an entry in TEXT_ENCODERS, likewise.
    dtype: "float32" or "bfloat16", of the products.
    rngs: holds the key of the initial values.
    clip_shape: (T, H, W).
    vocab_size: number of word ids.
    text_length: L.
    **options: of a `VisionTower`, a `TextTower` or `TwoTowers`.

  Raises:
    ValueError: no tower, or two of unlike widths.
  """
  found = vision is not None, text is not None
  towers = {
    (True, False): VisionTower,
    (False, True): TextTower,
    (True, True): TwoTowers,
  }
  if found not in towers:
    raise ValueError("expected a vision tower or a text tower, got none")
  check_arguments("model 'towers'", towers[found], options)
  shared = dict(dtype=dtype_of(dtype), rngs=rngs)
  if vision is not None:
    vision = VISION_ENCODERS.build(vision, size=clip_shape[1], **shared)
  if text is not None:
    text = TEXT_ENCODERS.build(
      text, vocab_size=vocab_size, text_length=text_length, **shared
    )
  parts = [part for part in (vision, text) if part is not None]
  return towers[found](*parts, **options)


MODELS = Table(
  "model",
  {
    "autoencoder": autoencoder,
    "connector": connector,
    "feature_net": feature_net,
    "probe": probe,
    "segmenter": segmenter,
    "towers": towers,
    "video_encoder": video_encoder,
    "video_text": video_text,
  },
)


def build_model(spec: dict, *, seed: int, **context) -> nnx.Module:
  """Builds the model that a config describes.

  Args:
    spec: `{"name": ..., ...}`, see the entries of MODELS.
    seed: of the initial values.
    **context: what the data decides: `clip_shape` (T, H, W), `max_tracks`,
      `vocab_size`, `text_length`.

  Raises:
    ValueError: an unknown name, or a key that nobody reads.
  """
  return MODELS.build(spec, rngs=nnx.Rngs(params=seed), **context)
