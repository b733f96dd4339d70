"""Names of FlexTok's arrays, in its authors' files and here."""

import re
from collections.abc import Iterable

import numpy as np

from trajvit.interop.kinds.blocks import linear
from trajvit.interop.kinds.kl import kl_entries
from trajvit.interop.layouts import Layout
from trajvit.interop.names import Entry, NameTable, Unused
from trajvit.ops.sincos import sincos_grid

READS, MAKES = "encoder.module_dict.enc_", "decoder.module_dict.dec_"
# Modules with the places of patches, one for each trunk.
PLACES = f"{READS}posemb_module", f"{MAKES}patches_posemb_module"
VAE = "vae.vae."
# What compilation and checkpoints of activations put into names.
_WRAPPER = re.compile(r"(?:_checkpoint_wrapped_module|_orig_mod)\.")
_ATTENTION = {"wq": "query", "wk": "key", "wv": "value", "proj": "out"}
_GATED = {"fc1": "gate", "fc2": "down", "fc3": "up"}


def _first(xs):
  (x,) = xs
  if x.ndim != 4 or x.shape[:2] != (1, 1):
    raise ValueError("expected [1, 1, width, places]")
  return [x[0, 0].T]


ONE_STEP = Layout(
  "of the one step",
  lambda xs: [x[None] for x in xs],
  lambda xs: [x[0] for x in xs],
)
BY_PLACE = Layout(
  "places first", _first, lambda xs: [np.asarray(x).T[None, None] for x in xs]
)


def name_table(spelled: dict[str, str]) -> NameTable:
  """Returns the table of all arrays, the autoencoder's too.

  Args:
    spelled: of `spelled_names`.
  """
  usage = "batch_stats/reconstruction/quantizer/usage/0"
  return NameTable(
    [*_entries(), *kl_entries(VAE, "latents")],
    [_computed(f"{module}.posembs") for module in PLACES],
    fresh={usage: "how often codes occur is counted in training"},
    spelled={x: there for x, there in spelled.items() if x != there},
  )


def spelled_names(names: Iterable[str]) -> dict[str, str]:
  """Returns {name without what compilation put there: name}.

  Raises:
    ValueError: two names are the same without.
  """
  found = {}
  for name in names:
    plain = _WRAPPER.sub("", name)
    if plain in found:
      raise ValueError(f"{found[plain]} and {name} are the same array twice")
    found[plain] = name
  return found


def _computed(name):
  """Places of patches: the table of sines that both trunks compute."""
  return Unused(
    name,
    "the sines and cosines of row and column",
    lambda x: sincos_grid(x.shape[2:], x.shape[1]).transpose(2, 0, 1)[None],
    within=1e-4,
  )


def _entries():
  """All entries but those of the autoencoder."""
  makes = "reconstruction/decoder"
  level, head = f"{makes}/trunk/level", f"{makes}/trunk/head"
  given = f"params/{makes}/conditioning"
  block, here = f"{MAKES}transformer.blocks.{{i}}", f"{makes}/trunk/blocks"
  return [
    *linear(f"{READS}patch_emb.patch_proj", "tokenizer/patches/embed"),
    Entry(
      f"{READS}register_module.registers",
      "params/tokenizer/registers",
      ONE_STEP,
    ),
    *_blocks(READS, "tokenizer/blocks"),
    *linear(f"{READS}to_latents.proj", "reconstruction/down"),
    *linear(f"{MAKES}from_latents.proj", f"{makes}/conditioning/project"),
    Entry(
      f"{MAKES}registers_posemb_module.posembs",
      f"{given}/positions",
      BY_PLACE,
    ),
    Entry(f"{MAKES}nested_dropout.dropout_mask_token", f"{given}/mask_token"),
    Entry(f"{MAKES}latent_dropout.nullcond", f"{given}/null_token"),
    *linear(f"{MAKES}noise_patch_emb.patch_proj", f"{makes}/trunk/stem"),
    *linear(f"{MAKES}time_embedder.mlp.0", f"{level}/inner"),
    *linear(f"{MAKES}time_embedder.mlp.2", f"{level}/outer"),
    *_blocks(MAKES, here),
    *linear(f"{block}.adaLN_modulation.1", f"{here}/layers/modulation"),
    *linear(f"{MAKES}to_patches.adaLN_modulation.1", f"{head}/modulation"),
    *linear(f"{MAKES}to_patches.proj", f"{head}/out"),
  ]


def _blocks(part, ours):
  """Entries of normed attention and gated perceptrons, without biases."""
  block, here = f"{part}transformer.blocks.{{i}}", f"{ours}/layers"
  names = {f"attn.{x}": f"attention/{own}" for x, own in _ATTENTION.items()}
  names |= {f"mlp.{x}": f"mlp/{own}" for x, own in _GATED.items()}
  return [
    entry
    for name, own in names.items()
    for entry in linear(f"{block}.{name}", f"{here}/{own}", bias=False)
  ]
