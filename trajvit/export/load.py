"""Loads an exported encoder; needs jax and numpy, and no Flax."""

import json
import os
import struct
from pathlib import Path

import jax
import jax.export

from trajvit.export import safetensors
from trajvit.export.arrays import as_frames, as_text, as_tracks
from trajvit.export.raw import caption_ids, extract_tracks, read_clip
from trajvit.types import Tokens

FORMAT = 1


def load(path: str | Path) -> "Encoder":
  """Returns the encoder that `trajvit export` wrote to `path`.

  Raises:
    FileNotFoundError: `path` is no export.
    ValueError: another format, programs from a newer jax, or files that are
      damaged or do not fit together.
  """
  return Encoder(path)


class Encoder:
  """A trained encoder: clips, and captions if it has a text tower.

  Weights go to the default device once; a program is compiled the first time a
  batch size comes.

  Args:
    path: directory of the export.

  Attributes:
    config: what was trained, how the export was made, and its parity.
    preprocessing: what a clip must look like.
    weights: by name, on the device.
  """

  def __init__(self, path: str | Path):
    path = Path(path)
    if not (path / "preprocessing.json").is_file():
      raise FileNotFoundError(f"{path} is no export: no preprocessing.json")
    self.config = _read_json(path / "config.json")
    self.preprocessing = _read_json(path / "preprocessing.json")
    if self.config["format"] != FORMAT:
      raise ValueError(
        f"{path} has format {self.config['format']}, expected {FORMAT}"
      )
    weights = safetensors.read(path / "model.safetensors")
    self.weights = jax.device_put(weights)
    self._programs = {}
    for name, signature in self.config["programs"].items():
      file = path / signature["file"]
      program = _read_program(file, self.config["versions"]["jax"])
      _check_weights(file, program, weights)
      self._programs[name] = jax.jit(program.call)

  def encode(self, video, tracks=None) -> jax.Array | dict:
    """Returns the embedding of a clip, float32 of norm 1; or its tokens.

    The tokens are those of a connector, for a language model.

    Args:
      video: uint8 RGB, [B, T, H, W, 3] or [T, H, W, 3]; or the path of a video
        file, from which T frames are taken as for an evaluation (this needs
        PyAV and Pillow).
      tracks: integers in [0, M), or -1 for none, [B, T, h, w] or [T, h, w], on
        the track grid or at pixel resolution. None extracts them from the
        pixels where the encoder needs them (this needs trajvit[tracks]).

    Returns:
      [B, E]; or of a connector {"features": [B, N, D], "mask": [B, N] bool};
      without the leading B for one clip.

    Raises:
      ValueError: the video or the tracks are not as above, or tracks are given
        to an encoder that reads none, or the export has no such program.
    """
    return self._run("encode", video, tracks)

  def tokenize(self, video, tracks=None) -> Tokens:
    """Returns the tokens of a clip, before the encoder.

    Args:
      video: as in `encode`.
      tracks: as in `encode`.

    Returns:
      Tokens, without the leading B for one clip.

    Raises:
      ValueError: as in `encode`.
    """
    return Tokens(**self._run("tokenize", video, tracks))

  def encode_text(self, text, mask=None) -> jax.Array:
    """Returns the embedding of captions, float32 of norm 1.

    Args:
      text: captions, a list of strings or a single one; or word ids, integers
        in [0, vocab_size), [B, L].
      mask: with word ids: bool, [B, L], True = real word.

    Returns:
      [B, E], or [E] for a single string.

    Raises:
      ValueError: not as above, or the encoder has no text tower.
    """
    known = self.preprocessing["text"]
    if known is None:
      raise ValueError("this encoder has no text tower")
    single = isinstance(text, str)
    if mask is None:
      text, mask = caption_ids([text] if single else text, known)
    embedding = self._call("encode_text", *as_text(text, mask, known))
    return embedding[0] if single else embedding

  def _run(self, name, video, tracks):
    if isinstance(video, str | os.PathLike):
      video = read_clip(video, self.preprocessing)
    frames, single = as_frames(video, self.preprocessing)
    inputs = [frames]
    if self.preprocessing["tracks"] is not None:
      if tracks is None:
        tracks = extract_tracks(frames, self.preprocessing)
      inputs.append(as_tracks(tracks, len(frames), self.preprocessing))
    elif tracks is not None:
      raise ValueError("this encoder reads no tracks, got tracks")
    outputs = self._call(name, *inputs)
    return jax.tree.map(lambda x: x[0], outputs) if single else outputs

  def program(self, name: str):
    """Returns a program, `(weights, *inputs) -> outputs`, to call under jit.

    Raises:
      ValueError: the export has no such program.
    """
    if name not in self._programs:
      raise ValueError(
        f"this export has no program {name!r}; it has "
        f"{', '.join(self._programs)}"
      )
    return self._programs[name]

  def _call(self, name, *inputs):
    return self.program(name)(self.weights, *inputs)


def _read_json(path):
  return json.loads(path.read_text(encoding="utf-8"))


def _read_program(file, version):
  """The program in `file`, which jax `version` wrote."""
  try:
    program = jax.export.deserialize(bytearray(file.read_bytes()))
    # Parses the program, which otherwise happens at the first call only.
    program.mlir_module()
  except (struct.error, ValueError, jax.errors.JaxRuntimeError) as error:
    raise ValueError(
      f"{file} cannot be read by jax {jax.__version__}: it was written by jax "
      f"{version}, and may need that or a newer one, or be damaged"
    ) from error
  return program


def _check_weights(file, program, weights):
  """Raises ValueError unless the program takes just these weights."""
  (expected, *_), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
  unlike = sorted(
    name
    for name in expected.keys() | weights.keys()
    if _kind(expected.get(name)) != _kind(weights.get(name))
  )
  if unlike:
    name = unlike[0]
    raise ValueError(
      f"{file} expects {name!r} to be {_kind(expected.get(name))}, but "
      f"model.safetensors has {_kind(weights.get(name))} "
      f"({len(unlike)} arrays differ)"
    )


def _kind(array) -> str:
  return "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
