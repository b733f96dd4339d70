"""FlexTok of PyTorch, and of diffusers, and ours, from the same weights."""

import copy
import dataclasses
import functools
import json
import pathlib
import re

import drawn_flextok as small
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from trajvit import cli
from trajvit.interop import (
  kind_of,
  load_torch,
  read_state_dict,
  to_torch,
)
from trajvit.interop.load import model_of
from trajvit.types import Batch, Clip

GOLDEN = pathlib.Path(__file__).parent / "golden" / "flextok.npz"
EXACT = ("ids",)


@functools.cache
def golden():
  with np.load(GOLDEN) as file:
    return dict(file)


@functools.cache
def weights():
  return small.draw(json.loads(golden()["shapes"].tobytes()))


@functools.cache
def loaded(state=None):
  return load_torch("flextok", state or weights(), small.CONFIG)


def batch_of(pixels, budget=None):
  count = len(pixels)
  if budget is not None:
    budget = jnp.full(count, budget, jnp.int32)
  ids = jnp.arange(count, dtype=jnp.int32)
  return Batch(clip=Clip(frames=pixels[:, None]), clip_id=ids, budget=budget)


def last(x):
  """[B, C, h, w] as clips of one frame, channels last."""
  return x.transpose(0, 2, 3, 1)[:, None]


def made(model):
  """What our model makes of the drawn inputs, under the names of the golden."""
  given = small.inputs()
  decoder, latents = model.reconstruction.decoder, model.latents

  def joined(*batches):
    """Batches in one, as a part that runs once compiles once."""
    return jax.tree.map(lambda *xs: jnp.concatenate(xs), *batches)

  @jax.jit
  def run(pixels, noise, other):
    clip = Clip(frames=pixels[:, None].astype(jnp.float32) / 127.5 - 1)
    seen = latents.encode(clip)
    tokens, _ = model.tokenizer(seen)
    z = model.reconstruction.bottleneck(tokens.features)
    codes, told = model.reconstruction.quantizer(z, tokens.mask)
    whole = dataclasses.replace(tokens, features=codes)
    few = model.tokenizer.keep_first(whole, small.KEPT)
    read = decoder.conditioning(
      joined(few, whole, whole), dropped=jnp.repeat(jnp.arange(3) == 2, 2)
    )
    patches = decoder.to_patches(joined(noise, noise, noise))
    mask = jnp.ones(patches.shape[:2], bool)
    sigma = joined(*[small.SIGMA] * 3)
    found, _ = decoder.trunk(patches, sigma, read, mask)
    found = jnp.split(decoder.to_frames(found)[:, 0], 3)
    sampled = decoder.sample(few, noise=noise, steps=small.STEPS)
    images, frames = jnp.split(latents.decode(joined(other, sampled))[:, 0], 2)
    return dict(
      latents=seen.frames[:, 0],
      images=images,
      features=tokens.features,
      z=z,
      ids=told["indices"][..., 0],
      velocity=found[0],
      velocity_of_all=found[1],
      velocity_of_none=found[2],
      frames=frames,
    )

  return run(given["pixels"], last(given["noise"]), last(given["latents"]))


def check(found, expected):
  for name, x in found.items():
    other = expected[name]
    assert x.shape == other.shape, name
    if name in EXACT:
      np.testing.assert_array_equal(x, other)
    else:
      assert np.abs(x - other).max() < 1e-4 * np.abs(other).max(), name


def test_it_makes_what_the_reference_makes():
  expected = golden()
  check(made(model_of(loaded()[0])), expected)
  for name in ("velocity_of_all", "velocity_of_none"):
    assert np.abs(expected["velocity"] - expected[name]).max() > 1e-2


def test_it_makes_what_diffusers_and_the_formulas_make():
  pytest.importorskip("diffusers")
  import torch  # noqa: PLC0415
  import torch_flextok  # noqa: PLC0415

  model, state = torch_flextok.drawn()
  check(torch_flextok.outputs(model), golden())
  rng = np.random.default_rng(1)
  for name, x in state.items():
    if not name.endswith("posembs"):
      state[name] = x + 0.05 * rng.normal(size=x.shape).astype(np.float32)
  model.load_state_dict({k: torch.from_numpy(x) for k, x in state.items()})
  run, _ = load_torch("flextok", state, small.CONFIG)
  check(made(model_of(run)), torch_flextok.outputs(model))


def same(back, state):
  assert back.keys() == state.keys()
  for name, x in state.items():
    assert back[name].dtype == x.dtype and back[name].shape == x.shape, name
    assert back[name].tobytes() == x.tobytes(), name


def test_there_and_back_is_bit_exact():
  run, report = loaded()
  assert kind_of(weights()) == "flextok"
  same(to_torch(run.plan, run.variables, run.carried), weights())
  assert not report.extra and not report.missing
  assert len(report.unused) == 2, "the places of patches, which are computed"
  assert list(report.fresh) == ["batch_stats/reconstruction/quantizer/usage/0"]


def test_the_config_says_what_no_weight_tells():
  spec = loaded()[0].config.model
  decoder = spec["reconstruction"]["decoder"]
  assert spec["num_heads"] == 2 and decoder["num_heads"] == 3
  assert spec["latents"]["widths"] == (32, 64)
  assert spec["latents"]["scaling_factor"] == small.SCALING
  assert spec["nested"]["mode"] == "pow2"
  assert decoder["law"] == "mode" and decoder["mode_scale"] == 0.25
  assert decoder["null_probability"] == 0.2 and decoder["guidance"] == 7.5
  quantizer = spec["reconstruction"]["quantizer"]
  assert quantizer["levels"] == small.LEVELS
  assert quantizer["drop_quant_p"] == 0.1


def test_names_that_compilation_has_wrapped_come_back_as_they_were():
  def spelled(name):
    name = re.sub(r"(blocks\.\d\.)", r"\1_checkpoint_wrapped_module.", name)
    return "_orig_mod." + name

  state = {spelled(name): x for name, x in weights().items()}
  run, _ = load_torch("flextok", state, small.CONFIG)
  same(to_torch(run.plan, run.variables, run.carried), state)
  twice = state | {"encoder.module_dict.enc_to_latents.proj.bias": np.zeros(3)}
  with pytest.raises(ValueError, match="are the same array twice"):
    load_torch("flextok", twice, small.CONFIG)


def test_the_header_of_a_file_is_its_config(tmp_path, capsys):
  source, run, back = (
    tmp_path / name for name in ("flextok.safetensors", "run", "back.pth")
  )
  parts = {name: str(value) for name, value in small.CONFIG.items()}
  metadata = parts | {"_target_": "flextok.flextok_wrapper.FlexTok"}
  data = safetensors.numpy.save(weights(), metadata=metadata)
  source.write_bytes(data)
  config = '{"vae": {"scaling_factor": 0.5}}'
  command = ["convert", str(source), str(run), "--config", config]
  assert cli.main(command) == 0
  assert "flextok" in capsys.readouterr().out
  spec = json.loads((run / "config.json").read_text())["model"]
  assert spec["latents"]["scaling_factor"] == 0.5
  assert spec["reconstruction"]["quantizer"]["levels"] == list(small.LEVELS)
  assert cli.main(["convert", str(run), str(back), "--to", "torch"]) == 0
  same(read_state_dict(back), weights())


@pytest.mark.parametrize("metadata", [{"vae": {}}, ["vae"], None])
def test_a_header_that_holds_more_than_text_is_refused(tmp_path, metadata):
  path = tmp_path / "flextok.safetensors"
  header = json.dumps({"__metadata__": metadata}).encode()
  path.write_bytes(len(header).to_bytes(8, "little") + header)
  with pytest.raises(ValueError, match="__metadata__ must be texts by name"):
    load_torch("flextok", path)


def without(path):
  """The config without what is at a path."""
  config = copy.deepcopy(small.CONFIG)
  *lead, name = path.split(".")
  functools.reduce(dict.__getitem__, lead, config).pop(name)
  return config


def changed(path, value):
  config = copy.deepcopy(small.CONFIG)
  *lead, name = path.split(".")
  at = config
  for key in lead:
    at = at.setdefault(key, {})
  at[name] = value
  return config


READS, MAKES = "encoder.module_dict.enc_", "decoder.module_dict.dec_"
NEEDED = (
  "regularizer.levels",
  "vae.scaling_factor",
  f"{READS}patch_emb.patch_sizes",
  f"{READS}seq_packer.mask_mode",
  f"{MAKES}time_embedder.max_timestep",
)
WRONG = [
  *((without(path), f"the config must say {path}") for path in NEEDED),
  (changed("regularizer.levels", [8, 0]), r"whole numbers above 0, got \[8, 0"),
  (changed("regularizer.levels", "8, 8, 5"), "whole numbers above 0, got '8"),
  (changed("regularizer.levels", [8, 8]), r"gives \[32, 3\], but .* \[32, 2\]"),
  (changed(f"{READS}patch_emb.patch_sizes", [2]), "must be 2 whole numbers"),
  (changed(f"{READS}patch_emb.patch_sizes", [4, 2]), "must be squares"),
  (changed(f"{READS}seq_packer.mask_mode", "full"), "'causal_last', got 'full"),
  (changed(f"{READS}transformer.head_dim", 24), "divide the width 32, got 24"),
  (changed(f"{READS}transformer.qk_norm", False), "must be True, got False"),
  (
    changed(f"{MAKES}latent_dropout.replace_with_single_token", True),
    "must be False, got True",
  ),
  (changed(f"{MAKES}time_embedder.max_timestep", "1"), "a number, got '1'"),
  (changed("size", 32), r"config.size must be in \[1, 16\], got 32"),
  (changed("pixels", 32), "reads no 'pixels'"),
]


@pytest.mark.parametrize(("config", "message"), WRONG)
def test_what_a_config_gets_wrong_is_named(config, message):
  with pytest.raises(ValueError, match=message):
    load_torch("flextok", weights(), config)


def test_weights_that_do_not_fit_are_named():
  places = f"{READS}posemb_module.posembs"
  learned = weights() | {places: weights()[places] + 0.01}
  with pytest.raises(ValueError, match=f"{places}: expected the sines"):
    load_torch("flextok", learned, small.CONFIG)
  more = weights() | {"vae.logvar": np.zeros((), np.float32)}
  with pytest.raises(ValueError, match="extra    vae.logvar"):
    load_torch("flextok", more, small.CONFIG)
  less = dict(weights())
  name = "vae.vae.decoder.mid_block.attentions.0.to_out.0.bias"
  del less[name]
  with pytest.raises(ValueError, match=f"missing  {name}"):
    load_torch("flextok", less, small.CONFIG)


@pytest.mark.slow
def test_ids_alone_make_the_frames_and_a_budget_is_obeyed():
  model = model_of(loaded()[0])

  @jax.jit
  def run(pixels):
    whole = model(batch_of(pixels))
    few = model(batch_of(pixels, budget=small.KEPT))
    ids = few["aux"]["quantizer"]["indices"]
    again = model.decode(few["tokens"], ids)
    return whole, few, again, model.encode_video(batch_of(pixels).clip)

  whole, few, again, embedding = run(small.inputs()["pixels"])
  assert whole["frames"].shape == (2, 1, small.SIZE, small.SIZE, 3)
  assert np.abs(whole["frames"] - few["frames"]).max() > 1e-3
  np.testing.assert_allclose(again, few["frames"], atol=1e-4)
  np.testing.assert_allclose(embedding, whole["video_embedding"], atol=1e-5)
