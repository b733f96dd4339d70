"""Files of a text tokenizer go with an export, and nothing else is read."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from tiny import WORDS
from tiny_runs import exported_run, tiny_run

import trajvit
from trajvit.data.text import TEXT_TOKENIZERS
from trajvit.export import parity
from trajvit.export.write import export_run

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "ball", "mov", "##es"]
CAPTIONS = ["red ball moves", "a green one"]


def with_text(run, text):
  data = run.config.data | {"text": text}
  config = dataclasses.replace(run.config, data=data)
  return dataclasses.replace(run, config=config)


def test_captions_are_read_when_the_run_s_vocabulary_is_gone(
  tmp_path, monkeypatch
):
  pytest.importorskip("tokenizers")
  monkeypatch.setattr(parity, "BATCH_SIZES", (1,))
  file = tmp_path / "bert" / "of mine.txt"
  file.parent.mkdir()
  file.write_text("\n".join(PIECES))
  text = dict(name="wordpiece", length=WORDS, vocabulary_file=str(file))
  ids, masks = zip(
    *map(TEXT_TOKENIZERS.build(text).encode, CAPTIONS), strict=True
  )
  run = with_text(
    tiny_run(tokenizer=dict(name="tubelet", patch=(2, 16, 16))), text
  )
  export_run(run, tmp_path / "out", platforms=["cpu"])
  shutil.rmtree(file.parent)
  moved = (tmp_path / "out").rename(tmp_path / "moved")

  kept = json.loads((moved / "preprocessor_config.json").read_text())["text"]
  assert kept["tokenizer"] == text | {"vocabulary_file": "vocabulary.txt"}
  assert (moved / "vocabulary.txt").read_text() == "\n".join(PIECES)
  encoder = trajvit.load(moved)
  expected = encoder.encode_text(np.stack(ids), np.stack(masks))
  np.testing.assert_array_equal(encoder.encode_text(CAPTIONS), expected)
  # An evaluation of the export reads its captions by it, too.
  spec = encoder.config["training"]["data"]["text"]
  assert spec["vocabulary_file"] == str(moved / "vocabulary.txt")

  (moved / "vocabulary.txt").unlink()
  with pytest.raises(FileNotFoundError, match=r"has no vocabulary\.txt"):
    trajvit.load(moved)


def test_a_vocabulary_that_is_not_there_is_no_export(tmp_path):
  text = dict(name="wordpiece", length=WORDS, vocabulary_file="/no/vocab.txt")
  with pytest.raises(
    FileNotFoundError, match="/no/vocab.txt is not there: the vocabulary_file"
  ):
    export_run(with_text(tiny_run(), text), tmp_path / "out")
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  "name", ["../secret", "/etc/hostname", "a/b", "a\\b", "..", ".", "", 3, ["a"]]
)
def test_no_file_outside_the_directory_is_read(tmp_path, name):
  ignore = shutil.ignore_patterns("*.stablehlo")
  export = exported_run() / "export"
  copy = shutil.copytree(export, tmp_path / "copy", ignore=ignore)
  (tmp_path / "secret").write_text("\n".join(PIECES))
  file = copy / "preprocessor_config.json"
  found = json.loads(file.read_text())
  found["text"]["tokenizer"] = dict(
    name="wordpiece", length=WORDS, vocabulary_file=name
  )
  file.write_text(json.dumps(found))
  with pytest.raises(ValueError, match="expected the name of a file in this"):
    trajvit.load(copy)


def test_every_file_of_a_text_tokenizer_is_seen_by_its_name():
  """What opens a file is an argument that ends in `_file`, in all of them."""
  for name, entry in TEXT_TOKENIZERS.items():
    for argument in entry.__init__.__kwdefaults__ or ():
      assert "path" not in argument, name
    arguments = entry.__init__.__annotations__
    assert all(x.endswith("_file") for x in arguments if "file" in x), name
