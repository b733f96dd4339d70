"""Small models of `transformers` with random weights, and what they put out.

Run as a script, it writes the files in `golden/`, from which the same is tested
where PyTorch is missing:

  python tests/interop/transformers_oracles.py

in an environment with torch and transformers; their versions are in the files.
"""

import dataclasses
import pathlib
import tempfile

import numpy as np

from trajvit.interop import read_state_dict

GOLDEN = pathlib.Path(__file__).parent / "golden"
SIZES = dict(
  hidden_size=12,
  num_hidden_layers=2,
  num_attention_heads=2,
  intermediate_size=20,
)
WORDS = dict(vocab_size=11, max_position_embeddings=6)
IMAGES = dict(image_size=8, patch_size=4)


@dataclasses.dataclass(frozen=True)
class Oracle:
  """A model of theirs.

  Attributes:
    kind: of its weights.
    config: for `load_torch`.
    state: its weights, named as in released files.
    frames: [B, T, H, W, 3] float32, or None.
    ids: [B, L] int32, or None.
    mask: [B, L] bool, likewise.
    features: [B, n, D], of patches, or None.
    pooled: [B, E], of the frames together, or None.
    text: [B, E], of captions, or None.
    scalars: [2], a temperature and a bias, or None.
  """

  kind: str
  config: dict
  state: dict
  frames: np.ndarray | None = None
  ids: np.ndarray | None = None
  mask: np.ndarray | None = None
  features: np.ndarray | None = None
  pooled: np.ndarray | None = None
  text: np.ndarray | None = None
  scalars: np.ndarray | None = None


def bert():
  """BERT, of which captions of two lengths are read."""
  import transformers as hf  # noqa: PLC0415

  model = hf.BertModel(hf.BertConfig(**SIZES, **WORDS))
  state, (ids, mask) = state_of(model), captions()
  found = model(input_ids=torch_of(ids), attention_mask=torch_of(mask))
  return Oracle(
    "bert",
    dict(num_heads=2, text_length=6),
    state,
    ids=ids,
    mask=mask,
    text=array_of(found.last_hidden_state[:, 0]),
  )


def vit():
  """ViT with its pooler, which is not read."""
  import transformers as hf  # noqa: PLC0415

  model = hf.ViTModel(hf.ViTConfig(**SIZES, **IMAGES))
  state, frames = state_of(model), clip_of(1)
  found = model(images_of(frames)).last_hidden_state
  return Oracle(
    "vit",
    dict(num_heads=2),
    state,
    frames=frames,
    features=array_of(found[:, 1:]),
    pooled=array_of(found[:, 0]),
  )


def clip():
  """CLIP, whose captions end in the word of the highest id."""
  import transformers as hf  # noqa: PLC0415

  last = dict(eos_token_id=10, bos_token_id=0, pad_token_id=1)
  text = SIZES | WORDS | last | dict(hidden_size=8)
  model = hf.CLIPModel(
    hf.CLIPConfig(
      text_config=text, vision_config=SIZES | IMAGES, projection_dim=6
    )
  )
  state, frames, (ids, mask) = state_of(model), clip_of(1), captions(end=10)
  seen = model.vision_model(images_of(frames))
  read = model.text_model(
    input_ids=torch_of(ids), attention_mask=torch_of(mask)
  )
  patches = model.vision_model.post_layernorm(seen.last_hidden_state)
  return Oracle(
    "clip",
    dict(num_heads=2, text_heads=2),
    state,
    frames=frames,
    ids=ids,
    mask=mask,
    features=array_of(patches[:, 1:]),
    pooled=array_of(model.visual_projection(seen.pooler_output)),
    text=array_of(model.text_projection(read.pooler_output)),
    scalars=np.array([np.exp(-model.logit_scale.item()), 0.0]),
  )


def siglip():
  """SigLIP, which reads padding."""
  import transformers as hf  # noqa: PLC0415

  model = hf.SiglipModel(
    hf.SiglipConfig(text_config=SIZES | WORDS, vision_config=SIZES | IMAGES)
  )
  state, frames, (ids, mask) = state_of(model), clip_of(1), captions()
  seen = model.vision_model(images_of(frames))
  read = model.text_model(input_ids=torch_of(np.where(mask, ids, 1)))
  bias = model.logit_bias.item()
  return Oracle(
    "siglip",
    dict(num_heads=2, text_heads=2),
    state,
    frames=frames,
    ids=ids,
    mask=mask,
    features=array_of(seen.last_hidden_state),
    pooled=array_of(seen.pooler_output),
    text=array_of(read.pooler_output),
    scalars=np.array([np.exp(-model.logit_scale.item()), bias]),
  )


def videomae():
  """VideoMAE's encoder, with a norm behind all tokens."""
  import transformers as hf  # noqa: PLC0415

  model = hf.VideoMAEModel(
    hf.VideoMAEConfig(**SIZES, **IMAGES, num_frames=4, use_mean_pooling=False)
  )
  state, frames = state_of(model), clip_of(4)
  found = model(videos_of(frames)).last_hidden_state
  return Oracle(
    "videomae",
    dict(num_heads=2, frames=4, size=8),
    state,
    frames=frames,
    features=array_of(found),
    pooled=array_of(found.mean(1)),
  )


def videomae_classifier():
  """VideoMAE with a classifier, and a norm behind the mean of the tokens."""
  import transformers as hf  # noqa: PLC0415

  model = hf.VideoMAEForVideoClassification(
    hf.VideoMAEConfig(**SIZES, **IMAGES, num_frames=4)
  )
  state, frames = state_of(model), clip_of(4)
  found = model.videomae(videos_of(frames)).last_hidden_state
  return Oracle(
    "videomae",
    dict(num_heads=2, frames=4, size=8),
    state,
    frames=frames,
    features=array_of(found),
    pooled=array_of(model.fc_norm(found.mean(1))),
  )


def vjepa2():
  """V-JEPA 2 with its predictor, which is not read."""
  import transformers as hf  # noqa: PLC0415

  model = hf.VJEPA2Model(
    hf.VJEPA2Config(
      crop_size=8,
      patch_size=4,
      frames_per_clip=4,
      hidden_size=28,
      num_attention_heads=2,
      num_hidden_layers=2,
      mlp_ratio=0.5,
      pred_hidden_size=12,
      pred_num_attention_heads=2,
      pred_num_hidden_layers=1,
      pred_num_mask_tokens=1,
    )
  )
  state, frames = state_of(model), clip_of(4)
  found = model(videos_of(frames), skip_predictor=True).last_hidden_state
  return Oracle(
    "vjepa2",
    dict(num_heads=2, frames=4, size=8),
    state,
    frames=frames,
    features=array_of(found),
    pooled=array_of(found.mean(1)),
  )


def convnext():
  """DINOv3's ConvNeXt."""
  import transformers as hf  # noqa: PLC0415

  model = hf.DINOv3ConvNextModel(
    hf.DINOv3ConvNextConfig(hidden_sizes=[3, 4, 5, 6], depths=[1, 1, 2, 1])
  )
  state, frames = state_of(model), clip_of(1, size=64)
  found = model(images_of(frames))
  return Oracle(
    "dinov3-convnext",
    dict(size=64),
    state,
    frames=frames,
    features=array_of(found.last_hidden_state[:, 1:]),
    pooled=array_of(found.pooler_output),
  )


ORACLES = {
  "bert": bert,
  "vit": vit,
  "clip": clip,
  "siglip": siglip,
  "videomae": videomae,
  "videomae_classifier": videomae_classifier,
  "vjepa2": vjepa2,
  "convnext": convnext,
}


def make(name: str, seed: int = 0) -> Oracle:
  """Returns an oracle, with weights and inputs of this seed."""
  import torch  # noqa: PLC0415

  torch.manual_seed(seed)
  with torch.no_grad():
    return ORACLES[name]()


def read(name: str) -> Oracle:
  """Returns the oracle of a file in `golden/`."""
  with np.load(GOLDEN / f"{name}.npz") as file:
    found = {key: file[key] for key in file}
  state = {
    key.removeprefix("state/"): x
    for key, x in found.items()
    if key.startswith("state/")
  }
  config = {
    key.removeprefix("config/"): int(x)
    for key, x in found.items()
    if key.startswith("config/")
  }
  rest = {key: x for key, x in found.items() if "/" not in key}
  del rest["versions"]
  return Oracle(str(rest.pop("kind")), config, state, **rest)


def write(name: str) -> None:
  """Writes the file of an oracle."""
  import torch  # noqa: PLC0415
  import transformers as hf  # noqa: PLC0415

  oracle = make(name)
  rest = {key: x for key, x in vars(oracle).items() if x is not None}
  state, config = rest.pop("state"), rest.pop("config")
  np.savez_compressed(
    GOLDEN / f"{name}.npz",
    versions=f"torch {torch.__version__}, transformers {hf.__version__}",
    **{f"state/{key}": x for key, x in state.items()},
    **{f"config/{key}": x for key, x in config.items()},
    **rest,
  )


def state_of(model):
  """Draws all weights anew, so that none is 0, and returns them as saved."""
  import torch  # noqa: PLC0415

  model.eval()
  for parameter in model.parameters():
    parameter.add_(0.3 * torch.randn_like(parameter))
  with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    state = read_state_dict(f"{folder}/model.safetensors")
    return {key: np.array(x) for key, x in state.items()}


def clip_of(frames, size=8):
  """[2, T, H, W, 3] float32."""
  import torch  # noqa: PLC0415

  return torch.randn(2, frames, size, size, 3).numpy()


def captions(end=None):
  """Ids [2, 6], and the mask of six words and of four."""
  import torch  # noqa: PLC0415

  ids = torch.randint(2, 10, (2, 6)).numpy().astype(np.int32)
  mask = np.arange(6) < np.array([[6], [4]])
  if end is not None:
    ids[[0, 1], [5, 3]] = end
  return np.where(mask, ids, 0), mask


def images_of(frames):
  """[B, 3, H, W], for a model of images."""
  return torch_of(frames[:, 0].transpose(0, 3, 1, 2).copy())


def videos_of(frames):
  """[B, T, 3, H, W], for a model of videos."""
  return torch_of(frames.transpose(0, 1, 4, 2, 3).copy())


def torch_of(x):
  """The same numbers; whole ones as those of 64 bits."""
  import torch  # noqa: PLC0415

  return torch.tensor(x) if x.dtype == np.float32 else torch.tensor(x).long()


def array_of(x):
  """The same numbers, of NumPy."""
  return x.detach().numpy()


if __name__ == "__main__":
  for oracle in ORACLES:
    write(oracle)
