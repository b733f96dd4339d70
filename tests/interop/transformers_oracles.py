"""Small models of `transformers` with drawn weights, and what they put out.

Run as a script, it writes the files in `golden/`, from which the same is tested
where PyTorch is missing:

  PYTHONPATH=. python tests/interop/transformers_oracles.py

in an environment with torch and transformers; their versions are in the files.
A file holds names and shapes of the weights, and outputs; weights and inputs
are drawn anew.
"""

import dataclasses
import json
import pathlib
import tempfile

import numpy as np
from drawn_weights import draw_all

from trajvit.interop import read_state_dict, write_state_dict

GOLDEN = pathlib.Path(__file__).parent / "golden"
SIZES = dict(
  hidden_size=12,
  num_hidden_layers=2,
  num_attention_heads=2,
  intermediate_size=20,
)
WORDS = dict(vocab_size=11, max_position_embeddings=6)
IMAGES = dict(image_size=8, patch_size=4)


def bert(inputs):
  """BERT, of which captions of two lengths are read."""
  import transformers as hf  # noqa: PLC0415

  model, state = drawn(hf.BertModel, hf.BertConfig(**SIZES, **WORDS))
  found = model(
    input_ids=torch_of(inputs.ids), attention_mask=torch_of(inputs.mask)
  )
  return state, dict(text=found.last_hidden_state[:, 0])


def vit(inputs):
  """ViT with its pooler, which is not read."""
  import transformers as hf  # noqa: PLC0415

  model, state = drawn(hf.ViTModel, hf.ViTConfig(**SIZES, **IMAGES))
  found = model(images_of(inputs.frames)).last_hidden_state
  return state, dict(features=found[:, 1:], pooled=found[:, 0])


def clip(inputs):
  """CLIP, whose captions end in the word of the highest id."""
  import transformers as hf  # noqa: PLC0415

  last = dict(eos_token_id=10, bos_token_id=0, pad_token_id=1)
  text = SIZES | WORDS | last | dict(hidden_size=8)
  config = hf.CLIPConfig(
    text_config=text, vision_config=SIZES | IMAGES, projection_dim=6
  )
  model, state = drawn(hf.CLIPModel, config)
  seen = model.vision_model(images_of(inputs.frames))
  read = model.text_model(
    input_ids=torch_of(inputs.ids), attention_mask=torch_of(inputs.mask)
  )
  patches = model.vision_model.post_layernorm(seen.last_hidden_state)
  return state, dict(
    features=patches[:, 1:],
    pooled=model.visual_projection(seen.pooler_output),
    text=model.text_projection(read.pooler_output),
    scale=model.logit_scale.exp(),
  )


def siglip(inputs):
  """SigLIP, which reads padding."""
  import transformers as hf  # noqa: PLC0415

  config = hf.SiglipConfig(
    text_config=SIZES | WORDS, vision_config=SIZES | IMAGES
  )
  model, state = drawn(hf.SiglipModel, config)
  seen = model.vision_model(images_of(inputs.frames))
  ids = np.where(inputs.mask, inputs.ids, 1)
  read = model.text_model(input_ids=torch_of(ids))
  return state, dict(
    features=seen.last_hidden_state,
    pooled=seen.pooler_output,
    text=read.pooler_output,
    scale=model.logit_scale.exp()[0],
    bias=model.logit_bias[0],
  )


def videomae(inputs):
  """VideoMAE's encoder, with a norm behind all tokens."""
  import transformers as hf  # noqa: PLC0415

  config = hf.VideoMAEConfig(
    **SIZES, **IMAGES, num_frames=4, use_mean_pooling=False
  )
  model, state = drawn(hf.VideoMAEModel, config)
  found = model(videos_of(inputs.frames)).last_hidden_state
  return state, dict(features=found, pooled=found.mean(1))


def videomae_classifier(inputs):
  """VideoMAE with a classifier, and a norm behind the mean of the tokens."""
  import transformers as hf  # noqa: PLC0415

  config = hf.VideoMAEConfig(**SIZES, **IMAGES, num_frames=4)
  model, state = drawn(hf.VideoMAEForVideoClassification, config)
  found = model.videomae(videos_of(inputs.frames)).last_hidden_state
  return state, dict(features=found, pooled=model.fc_norm(found.mean(1)))


def vjepa2(inputs):
  """V-JEPA 2 with its predictor, which is not read."""
  import transformers as hf  # noqa: PLC0415

  config = hf.VJEPA2Config(
    crop_size=8,
    patch_size=4,
    frames_per_clip=4,
    hidden_size=28,
    num_attention_heads=2,
    num_hidden_layers=2,
    mlp_ratio=1.0,
    pred_hidden_size=12,
    pred_num_attention_heads=2,
    pred_num_hidden_layers=1,
    pred_num_mask_tokens=1,
  )
  model, state = drawn(hf.VJEPA2Model, config)
  found = model(videos_of(inputs.frames), skip_predictor=True)
  found = found.last_hidden_state
  return state, dict(features=found, pooled=found.mean(1))


def convnext(inputs):
  """DINOv3's ConvNeXt."""
  import transformers as hf  # noqa: PLC0415

  config = hf.DINOv3ConvNextConfig(
    hidden_sizes=[3, 4, 5, 6], depths=[1, 1, 2, 1]
  )
  model, state = drawn(hf.DINOv3ConvNextModel, config)
  found = model(images_of(inputs.frames))
  return state, dict(
    features=found.last_hidden_state[:, 1:], pooled=found.pooler_output
  )


def videoprism(inputs):
  """VideoPrism with its text tower, before embeddings are normalised."""
  import transformers as hf  # noqa: PLC0415

  text = SIZES | WORDS | dict(apply_l2norm=False)
  config = hf.VideoPrismConfig(text_config=text, vision_config=PRISM)
  model, state = drawn(hf.VideoPrismClipModel, config)
  videos = videos_of(inputs.frames)
  seen = model.video_model.vision_model(videos)
  read = model.text_model(
    input_ids=torch_of(inputs.ids), attention_mask=torch_of(inputs.mask).long()
  )
  return state, dict(
    features=seen.last_hidden_state,
    pooled=model.video_model(videos).pooler_output[:, 0],
    text=read.pooler_output,
  )


def videoprism_encoder(inputs):
  """VideoPrism's encoder alone, on clips of another shape than it is for."""
  import transformers as hf  # noqa: PLC0415

  config = hf.VideoPrismVisionConfig(**PRISM | dict(num_spatial_layers=1))
  model, state = drawn(hf.VideoPrismVisionModel, config)
  found = model(videos_of(inputs.frames), interpolate_pos_encoding=True)
  found = found.last_hidden_state
  return state, dict(features=found, pooled=found.mean(1))


VIDEO = dict(num_heads=2, frames=4, size=8)
PRISM = dict(
  hidden_size=12,
  num_attention_heads=2,
  intermediate_size=20,
  num_spatial_layers=2,
  num_temporal_layers=1,
  num_auxiliary_layers=1,
  image_size=8,
  tubelet_size=(1, 4, 4),
  num_frames=4,
  attn_logit_softcapping=50.0,
  apply_l2norm=False,
)
# name -> model, kind, the config of its weights, (T, H) of the frames that it
# sees or None, and the last word of its captions or None.
ORACLES = {
  "bert": (bert, "bert", dict(num_heads=2, text_length=6), None, None),
  "vit": (vit, "vit", dict(num_heads=2), (1, 8), None),
  "clip": (clip, "clip", dict(num_heads=2, text_heads=2), (1, 8), 10),
  "siglip": (siglip, "siglip", dict(num_heads=2, text_heads=2), (1, 8), None),
  "videomae": (videomae, "videomae", VIDEO, (4, 8), None),
  "videomae_classifier": (
    videomae_classifier,
    "videomae",
    VIDEO,
    (4, 8),
    None,
  ),
  "vjepa2": (vjepa2, "vjepa2", VIDEO, (4, 8), None),
  "videoprism": (
    videoprism,
    "videoprism",
    dict(num_heads=2, text_heads=2),
    (4, 8),
    None,
  ),
  "videoprism_encoder": (
    videoprism_encoder,
    "videoprism",
    dict(num_heads=2, frames=2, size=12),
    (2, 12),
    None,
  ),
  "convnext": (convnext, "dinov3-convnext", dict(size=64), (1, 64), None),
}


@dataclasses.dataclass(frozen=True)
class Inputs:
  """What both sides read.

  Attributes:
    frames: [2, T, H, W, 3] float32, or None.
    ids: [2, 6] int32, of captions of six words and of four.
    mask: [2, 6] bool.
  """

  frames: np.ndarray | None
  ids: np.ndarray
  mask: np.ndarray


@dataclasses.dataclass(frozen=True)
class Oracle:
  """A model of theirs.

  Attributes:
    kind: of its weights.
    config: for `load_torch`.
    state: its weights, named as in released files.
    inputs: that it read.
    outputs: `features` [2, n, D] of patches, `pooled` [2, E] of the frames
      together, `text` [2, E] of captions, `scale` [] and `bias` [] of the
      logits: those that it has.
  """

  kind: str
  config: dict
  state: dict
  inputs: Inputs
  outputs: dict


def make(name: str, seed: int = 0) -> Oracle:
  """Returns an oracle, with inputs of this seed."""
  import torch  # noqa: PLC0415

  model, kind, config, _, _ = ORACLES[name]
  inputs = inputs_of(name, seed)
  with torch.no_grad():
    state, outputs = model(inputs)
  outputs = {key: x.detach().numpy() for key, x in outputs.items()}
  return Oracle(kind, config, state, inputs, outputs)


def read(name: str) -> Oracle:
  """Returns the oracle of a file in `golden/`."""
  with np.load(GOLDEN / f"{name}.npz") as file:
    outputs = {key: file[key] for key in file if key != "about"}
    about = json.loads(str(file["about"]))
  _, kind, config, _, _ = ORACLES[name]
  state = draw_all(about["shapes"])
  return Oracle(kind, config, state, inputs_of(name, 0), outputs)


def write(name: str) -> None:
  """Writes the file of an oracle."""
  import torch  # noqa: PLC0415
  import transformers as hf  # noqa: PLC0415

  oracle = make(name)
  about = dict(
    versions=dict(torch=torch.__version__, transformers=hf.__version__),
    shapes={key: x.shape for key, x in oracle.state.items()},
  )
  path = GOLDEN / f"{name}.npz"
  np.savez_compressed(path, about=json.dumps(about), **oracle.outputs)


def inputs_of(name: str, seed: int) -> Inputs:
  """Draws what an oracle reads."""
  *_, clip, end = ORACLES[name]
  rng = np.random.default_rng(seed)
  frames = None
  if clip is not None:
    shape = (2, clip[0], clip[1], clip[1], 3)
    frames = rng.normal(size=shape).astype(np.float32)
  ids = rng.integers(2, 10, (2, 6)).astype(np.int32)
  mask = np.arange(6) < np.array([[6], [4]])
  if end is not None:
    ids[[0, 1], [5, 3]] = end
  return Inputs(frames, np.where(mask, ids, 0), mask)


def drawn(cls, config):
  """A model with drawn weights, and these as its files name them."""
  with tempfile.TemporaryDirectory() as folder:
    path = f"{folder}/model.safetensors"
    cls(config).save_pretrained(folder)
    shapes = {key: x.shape for key, x in read_state_dict(path).items()}
    state = draw_all(shapes)
    pathlib.Path(path).unlink()
    write_state_dict(path, state)
    model, info = cls.from_pretrained(folder, output_loading_info=True)
  assert not any(info.values()), info
  return model.eval(), state


def images_of(frames):
  """[B, 3, H, W], for a model of images."""
  return torch_of(frames[:, 0].transpose(0, 3, 1, 2).copy())


def videos_of(frames):
  """[B, T, 3, H, W], for a model of videos."""
  return torch_of(frames.transpose(0, 1, 4, 2, 3).copy())


def torch_of(x):
  """The same numbers; whole ones as those of 64 bits."""
  import torch  # noqa: PLC0415

  found = torch.tensor(x)
  return found if x.dtype == np.float32 else found.long()


if __name__ == "__main__":
  for oracle in ORACLES:
    write(oracle)
