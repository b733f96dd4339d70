"""PyTorch itself: its files, and its models' outputs that golden/ holds."""

import pathlib

import numpy as np
import pytest

from trajvit.interop import load_torch, read_state_dict, write_state_dict

torch = pytest.importorskip("torch")
NAMES = (
  "trajvit",
  "segmenter",
  "trajvit2",
  "vit3d",
  "titok",
  "titok_direct",
)


def tensors():
  drawn = torch.Generator().manual_seed(0)

  def draw(*shape):
    return torch.randn(*shape, generator=drawn)

  grid = draw(4, 6)
  return {
    "float": draw(3, 4),
    "transposed": grid.t(),
    "column": grid[:, 2],
    "repeated": draw(1).expand(5),
    "half": draw(5).half(),
    "brain": draw(2, 2).bfloat16(),
    "double": draw(2).double(),
    "count": torch.tensor(3),
    "mask": torch.tensor([True, False]),
    "empty": torch.zeros(0, 2),
  }


def as_numpy(tensor):
  return tensor.float().numpy()


def test_what_torch_saves_is_read(tmp_path):
  path, expected = tmp_path / "w.pth", tensors()
  metadata = {"epoch": 3, "size": torch.Size([1]), "dtype": torch.float16}
  torch.save({"model": expected, "metadata": metadata}, path)
  found = read_state_dict(path, part="model")
  assert found.keys() == expected.keys()
  for name, x in expected.items():
    assert str(x.dtype).removeprefix("torch.") == found[name].dtype.name
    np.testing.assert_array_equal(
      found[name].astype(np.float32), as_numpy(x), err_msg=name
    )


def test_a_module_s_state_dict_is_read(tmp_path):
  module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
  torch.save(module.state_dict(), tmp_path / "w.pth")
  found = read_state_dict(tmp_path / "w.pth")
  for name, x in module.state_dict().items():
    np.testing.assert_array_equal(found[name], x.numpy(), err_msg=name)


def test_torch_loads_what_is_written(tmp_path):
  torch.save(tensors(), tmp_path / "w.pth")
  write_state_dict(tmp_path / "v.pth", read_state_dict(tmp_path / "w.pth"))
  for options in ({}, {"mmap": True}):
    found = torch.load(tmp_path / "v.pth", weights_only=True, **options)
    assert found.keys() == tensors().keys()
    for name, x in tensors().items():
      assert found[name].dtype == x.dtype
      assert torch.equal(found[name], x), name


def test_a_pickled_module_and_an_old_file_are_refused(tmp_path):
  path = tmp_path / "w.pth"
  torch.save(torch.nn.Linear(2, 2), path)
  with pytest.raises(ValueError, match=r"asks for 'torch\.nn\.modules"):
    read_state_dict(path)
  torch.save(tensors(), path, _use_new_zipfile_serialization=False)
  with pytest.raises(ValueError, match=r"before 1\.6"):
    read_state_dict(path)


def test_tensors_need_no_file():
  from drawn_weights import draw_all  # noqa: PLC0415
  from torch_vit3d import ViT3D  # noqa: PLC0415

  model = ViT3D()
  shapes = {name: x.shape for name, x in model.state_dict().items()}
  drawn = {k: torch.from_numpy(x) for k, x in draw_all(shapes).items()}
  model.load_state_dict(drawn)
  config = dict(frames=6, size=16, num_heads=2)
  run, _ = load_torch("vit3d", model.state_dict(), config)
  bias = run.variables["params"]["tokenizer"]["embed"]["bias"]
  expected = model.patch_embed_3d.bias.detach().numpy()
  np.testing.assert_array_equal(bias, expected)


def test_golden_holds_what_the_models_make(tmp_path, monkeypatch):
  import make_golden  # noqa: PLC0415

  kept = pathlib.Path(make_golden.FOLDER)
  monkeypatch.setattr(make_golden, "FOLDER", tmp_path)
  with torch.no_grad():
    for name in NAMES:
      getattr(make_golden, name)()
      file = f"{name}.npz"
      with np.load(kept / file) as old, np.load(tmp_path / file) as new:
        assert old.files == new.files
        for key in old.files:
          np.testing.assert_allclose(old[key], new[key], atol=1e-4)
