"""Vocabulary files that are not what they should be."""

import gzip
import json
import os
import pickle

import pytest
import vocabularies
from hypothesis import given, settings
from hypothesis import strategies as st

from trajvit.data.text import TEXT_TOKENIZERS, files

# The argument that names each format's file, and the file when all is well.
FORMATS = {
  "vocab.txt": ("wordpiece", "vocabulary_file"),
  "pieces.model": ("sentencepiece", "vocabulary_file"),
  "merges.txt.gz": ("byte_pair", "merges_file"),
  "vocab.json": ("byte_pair", "vocabulary_file"),
}
BAD = {
  "empty": b"",
  "binary": bytes(range(256)),
  "not UTF-8": "[PAD]\n[UNK]\né".encode("latin-1"),
  "a pickle": pickle.dumps({"[PAD]": 0}),
  "an old pickle": pickle.dumps({"[PAD]": 0}, protocol=0),
  "gzip cut short": vocabularies.merges()[:-20],
  "gzip without its end": vocabularies.merges()[:-4],
  "damaged gzip": vocabularies.merges()[:30] + b"\0" * 60,
  "the start of gzip": b"\x1f\x8b",
  "a page": b"<html><body>404</body></html>",
  "a JSON list": b"[1, 2]",
  "JSON cut short": vocabularies.clip_json()[:-9],
  "deep JSON": b"[" * 100_000,
  "JSON of words": b'{"a": "b"}',
  "JSON of truth": b'{"a": false}',
  "JSON with a gap": b'{"a": 0, "b": 2}',
  "JSON with an id twice": b'{"a": 0, "b": 0}',
  "JSON with a piece twice": b'{"a": 0, "a": 1}',
  "JSON of other pieces": b'{"a": 0, "b": 1}',
}


@pytest.fixture(scope="module", params=FORMATS)
def format_name(request):
  return request.param


@pytest.fixture(scope="module")
def load(format_name, text_specs, tmp_path_factory):
  """Builds the tokenizer of a format from the content of its file."""
  name, argument = FORMATS[format_name]
  path = tmp_path_factory.mktemp("content") / f"other_{format_name}"

  def function(content):
    path.write_bytes(content)
    spec = {"name": name, "length": 8, **text_specs[name]}
    return TEXT_TOKENIZERS.build({**spec, argument: str(path)})

  return function


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_what_is_wrong_names_the_file(format_name, load, content):
  with pytest.raises(ValueError, match=f"other_{format_name}"):
    load(content)


def test_a_missing_file(format_name, text_specs, tmp_path):
  name, argument = FORMATS[format_name]
  spec = {"name": name, "length": 8, **text_specs[name]}
  with pytest.raises(FileNotFoundError, match="none.txt"):
    TEXT_TOKENIZERS.build({**spec, argument: str(tmp_path / "none.txt")})


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damage_is_found_or_does_no_harm(
  format_name, load, vocabulary_files, data
):
  with open(vocabulary_files[format_name], "rb") as file:
    content = bytearray(file.read())
  for _ in range(data.draw(st.integers(1, 3))):
    place = data.draw(st.integers(0, len(content) - 1))
    damage = data.draw(st.binary(max_size=4))
    content[place : place + data.draw(st.integers(0, 4))] = damage
  try:
    tokenizer = load(bytes(content))
  except ValueError as error:
    assert f"other_{format_name}" in str(error)
    return
  ids, _ = tokenizer.encode("the cafés of 東京")
  assert (ids >= 0).all() and (ids < tokenizer.vocab_size).all()


def test_nothing_is_run(load, tmp_path):
  """A pickle that would make a folder, under every name."""
  marker = tmp_path / "made"

  class Trap:
    def __reduce__(self):
      return os.mkdir, (str(marker),)

  for pack in bytes, gzip.compress:
    with pytest.raises(ValueError):
      load(pack(pickle.dumps(Trap())))
  assert not marker.exists()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_that_would_fill_the_memory(load, monkeypatch, pack):
  monkeypatch.setattr(files, "MAX_BYTES", 1000)
  with pytest.raises(ValueError, match="must fit in 1000 bytes"):
    load(pack(b"\n" * 1001))


def test_any_file_may_be_packed(format_name, load, vocabulary_files):
  content = files.read_bytes(vocabulary_files[format_name])
  packed, plain = load(gzip.compress(content)), load(content)
  assert packed.fingerprint() == plain.fingerprint()


def test_lines_end_in_line_feeds_only(tmp_path):
  path = tmp_path / "lines.txt"
  path.write_bytes("\ufeffa\r\nb\u2028c\x85\n\nd\n\n".encode())
  assert files.read_lines(path) == ["a", "b\u2028c\x85", "", "d"]


def test_ids_of_a_json_file(tmp_path):
  path = tmp_path / "vocab.json"
  path.write_text(json.dumps({"b": 1, "a": 0}))
  assert files.read_ids(path) == {"a": 0, "b": 1}
