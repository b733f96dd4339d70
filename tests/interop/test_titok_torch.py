"""TiTok of PyTorch and ours, from the same weights."""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest
from drawn_inputs import titok_images
from drawn_weights import draw, draw_all

from trajvit.interop import kind_of, load_torch, to_torch
from trajvit.interop.load import model_of
from trajvit.types import Batch, Clip, Tokens

GOLDEN = pathlib.Path(__file__).parent / "golden"
CONFIG = dict(num_heads=2, decoder_heads=3)
NAMES = ("titok", "titok_direct")
N = 8


@functools.cache
def golden(name):
  with np.load(GOLDEN / f"{name}.npz") as file:
    return dict(file)


@functools.cache
def weights(name):
  return draw_all(json.loads(golden(name)["shapes"].tobytes()))


@functools.cache
def loaded(name):
  return load_torch("titok", weights(name), CONFIG)


@functools.cache
def program(name):
  """What the model makes of the images with k codes, compiled once."""
  model = model_of(loaded(name)[0])

  @jax.jit
  def run(budget):
    frames = titok_images()[:, None]
    batch = Batch(clip=Clip(frames=frames), text=None, budget=budget)
    outputs = model(batch)
    ids = outputs["aux"]["quantizer"]["indices"]
    return {
      "z": model.reconstruction.bottleneck(outputs["tokens"].features),
      "ids": ids[..., 0],
      "pixels": outputs["frames"][:, 0],
    }

  return run


def close(ours, theirs):
  ours = np.asarray(ours)
  assert ours.shape == theirs.shape
  assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


@pytest.mark.parametrize("name", NAMES)
def test_codes_and_pixels_are_the_reference_s(name):
  """At every number of codes that the decoder reads."""
  wanted = golden(name)
  for k in (N, 3, 1):
    found = program(name)(np.full(2, k, np.int32))
    if k == N:
      close(found["z"], wanted["z"])
    np.testing.assert_array_equal(found["ids"], wanted["ids"])
    close(found["pixels"], wanted[f"pixels_{k}"])


@pytest.mark.slow
def test_ids_alone_give_the_reference_s_logits_and_pixels():
  model, wanted = model_of(loaded("titok")[0]), golden("titok")
  decoder, quantizer = (
    getattr(model.reconstruction, name) for name in ("decoder", "quantizer")
  )

  @jax.jit
  def run(ids):
    mask = np.ones(ids.shape, bool)
    places = np.zeros((*mask.shape, 3), np.float32)
    codes = quantizer.decode_indices(ids[..., None])
    tokens = Tokens(codes, mask, places, mask.astype(np.float32))
    patches = np.ones((2, decoder.num_patches), bool)
    queries, _ = decoder.read(decoder.conditioning(tokens), patches)
    made = model.reconstruction.decode(tokens, ids[..., None])
    return decoder.codes.code_logits(queries), made[:, 0]

  for k in (N, 3):
    logits, pixels = run(wanted["ids"][:, :k].astype(np.int32))
    close(
      np.reshape(logits, wanted[f"logits_{k}"].shape), wanted[f"logits_{k}"]
    )
    close(pixels, wanted[f"pixels_{k}"])


@pytest.mark.parametrize("name", NAMES)
def test_there_and_back_is_exact_to_the_bit(name):
  assert kind_of(weights(name)) == "titok"
  run, report = loaded(name)
  assert not report.unused and not report.extra and not report.missing
  back = to_torch(run.plan, run.variables, run.carried)
  assert back.keys() == weights(name).keys()
  for key, x in weights(name).items():
    assert back[key].shape == x.shape, key
    assert back[key].tobytes() == x.tobytes(), key


def test_what_was_trained_on_goes_back():
  """Whatever is added up here is one array of theirs, the other is 0."""
  run, _ = loaded("titok_direct")
  params = jax.tree.map(lambda x: x + 1, run.variables["params"])
  back = to_torch(run.plan, dict(run.variables, params=params), run.carried)
  run, report = load_torch("titok", back, CONFIG)
  for x, y in zip(
    jax.tree.leaves(run.variables["params"]),
    jax.tree.leaves(params),
    strict=True,
  ):
    np.testing.assert_array_equal(x, y)
  assert back.keys() == weights("titok_direct").keys()


def test_without_a_codebook_codes_are_means():
  """Of Gaussians, whose deviations stand behind the means."""
  state = dict(weights("titok_direct"))
  del state["quantize.embedding.weight"]
  for key in ("encoder.conv_out.weight", "encoder.conv_out.bias"):
    more = draw(f"deviation.{key}", state[key].shape)
    state[key] = np.concatenate([state[key], more])
  run, report = load_torch("titok", state, CONFIG)
  assert run.plan.model["reconstruction"]["quantizer"] == dict(name="kl")
  assert "means of Gaussians" in " ".join(run.plan.notes)
  assert not report.fresh
  params = run.variables["params"]["reconstruction"]
  assert params["decoder"]["conditioning"]["project"]["kernel"].shape == (6, 24)
  alone = loaded("titok_direct")[0].variables["params"]["reconstruction"]
  found = np.asarray(params["down"]["kernel"])[:, :6]
  np.testing.assert_array_equal(found, alone["down"]["kernel"])


def test_the_card_tells_of_what_is_odd():
  odd = {
    name: "legacy_reshape" in str(loaded(name)[0].plan.notes) for name in NAMES
  }
  assert odd == {"titok": True, "titok_direct": False}


def test_the_first_registers_alone_have_no_codes():
  model = model_of(loaded("titok")[0])

  def few(frames):
    tokens, _ = model.tokenizer(Clip(frames=frames), budget=3)
    return model.reconstruction.bottleneck(tokens.features)

  with pytest.raises(ValueError, match="all 8 registers, .* got 3"):
    jax.eval_shape(few, np.zeros((2, 1, 8, 8, 3), np.float32))


def without(state, start):
  return {key: x for key, x in state.items() if not key.startswith(start)}


def test_what_does_not_fit_is_named():
  state = weights("titok")
  with pytest.raises(ValueError, match="'pixel_' in front of their names"):
    load_torch("titok", without(state, "pixel_"), CONFIG)
  with pytest.raises(ValueError, match="config.decoder_heads must .* width 24"):
    load_torch("titok", state)
  name = "decoder.positional_embedding"
  with pytest.raises(ValueError, match="reads 8 x 8 pixels, but the decoder"):
    load_torch("titok", state | {name: state[name][:10]}, CONFIG)
  extra = {"decoder.text_guidance_proj.weight": np.zeros((2, 2), np.float32)}
  fewer = without(state, "pixel_decoder.up.0.block.0.nin_shortcut")
  with pytest.raises(ValueError, match="2 arrays are unmatched") as error:
    load_torch("titok", fewer | extra, CONFIG)
  assert "extra    decoder.text_guidance_proj.weight" in str(error.value)
  assert "missing  pixel_decoder.up.0.block.0.nin_shortcut.weight" in str(
    error.value
  )
