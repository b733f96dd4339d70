r"""Writes golden/*.npz: what PyTorch models make of inputs drawn here.

  PYTHONPATH=.:tests:tests/interop python tests/interop/make_golden.py

It needs torch; the tests that read the files do not. A file holds the outputs,
and names and shapes of the weights, whose numbers `drawn_weights` draws from
their names.
"""

import json
import pathlib

import numpy as np
import torch
from drawn_inputs import (
  text_inputs,
  titok_images,
  trajvit_inputs,
  vit3d_video,
)
from drawn_weights import draw_all
from torch_parts import Bert, TwoTowers
from torch_titok import TiTok
from torch_trajtok import Segmenter, TrajViT2
from torch_trajvit import TrajViT
from torch_vit3d import ViT3D

FOLDER = pathlib.Path(__file__).parent / "golden"


def with_weights(model: torch.nn.Module) -> tuple[torch.nn.Module, dict]:
  """The model with drawn weights, and their shapes by name."""
  shapes = {name: list(x.shape) for name, x in model.state_dict().items()}
  drawn = {k: torch.from_numpy(x) for k, x in draw_all(shapes).items()}
  model.load_state_dict(drawn)
  return model.eval(), shapes


def tensors(inputs: dict) -> dict:
  """The same for PyTorch."""
  return {name: torch.from_numpy(x) for name, x in inputs.items()}


def save(name: str, shapes: dict, **arrays) -> None:
  FOLDER.mkdir(exist_ok=True)
  text = np.frombuffer(json.dumps(shapes).encode(), np.uint8)
  np.savez_compressed(FOLDER / f"{name}.npz", shapes=text, **arrays)


def trajvit() -> None:
  model, shapes = with_weights(
    TwoTowers(TrajViT(), Bert(11, 8, 16, 2, 24), 32, 16, 8)
  )
  video = tensors(trajvit_inputs()).values()
  found = model(*video, **tensors(text_inputs()))
  tokens, z_v, z_t = (x.numpy() for x in found)
  save("trajvit", shapes, tokens=tokens, z_v=z_v, z_t=z_t)


def segmenter() -> None:
  model, shapes = with_weights(Segmenter())
  logits, _, fine = model(tensors(trajvit_inputs())["video"])
  # Logits of pixels are many: their means over pixels tell as much.
  save("segmenter", shapes, logits=logits.numpy(), fine=fine.mean(1).numpy())


def trajvit2() -> None:
  model, shapes = with_weights(
    TwoTowers(TrajViT2(slots=20), Bert(11, 8, 16, 2, 24), 32, 16, 8)
  )
  video = tensors(trajvit_inputs())["video"]
  owner = model.vision_encoder.traj_tokenizer.segmenter(video)[0].argmax(-1)
  for clip in owner:
    assert 1 < clip.unique().numel() < 20, "some slots empty, and some not"
  found = model(video, **tensors(text_inputs()))
  tokens, z_v, z_t = (x.numpy() for x in found)
  save("trajvit2", shapes, tokens=tokens, z_v=z_v, z_t=z_t)


def vit3d() -> None:
  model, shapes = with_weights(ViT3D())
  tokens = model(torch.from_numpy(vit3d_video()))
  save("vit3d", shapes, tokens=tokens.numpy())


def titok() -> None:
  _titok("titok", legacy=True)


def titok_direct() -> None:
  _titok("titok_direct", legacy=False)


def _titok(name: str, *, legacy: bool) -> None:
  model, shapes = with_weights(TiTok(legacy))
  images = torch.from_numpy(titok_images()).movedim(-1, 1) / 255
  z, ids = model.encode(images)
  made = {}
  for k in (ids.shape[1], 3, 1):
    out, pixels = model.decode(ids[:, :k])
    made[f"pixels_{k}"] = pixels.movedim(1, -1).numpy()
    if legacy:
      made[f"logits_{k}"] = out.movedim(1, -1).numpy()
  save(name, shapes, z=z.numpy(), ids=ids.numpy(), **made)


if __name__ == "__main__":
  with torch.no_grad():
    trajvit()
    segmenter()
    trajvit2()
    vit3d()
    titok()
    titok_direct()
