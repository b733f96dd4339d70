"""A converted run keeps its words, and so does what is exported of it."""

import json

import numpy as np
import pytest
from transformers_oracles import read

import trajvit
from trajvit import cli
from trajvit.data.text import TEXT_TOKENIZERS
from trajvit.export import parity
from trajvit.interop import write_state_dict
from trajvit.training.restore import restore_run

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefg"]


def test_captions_are_read_when_the_vocabulary_is_gone(tmp_path, monkeypatch):
  pytest.importorskip("tokenizers")
  monkeypatch.setattr(parity, "BATCH_SIZES", (1,))
  oracle, file = read("bert"), tmp_path / "vocab.txt"
  file.write_text("\n".join(PIECES))
  write_state_dict(tmp_path / "bert.safetensors", oracle.state)
  config = oracle.config | {"vocabulary_file": str(file)}
  command = ["convert", str(tmp_path / "bert.safetensors")]
  command += [str(tmp_path / "run"), "--config", json.dumps(config)]
  assert cli.main(command) == 0
  card = (tmp_path / "run" / "README.md").read_text()
  assert "| kind | `bert` |" in card
  file.unlink()
  moved = (tmp_path / "run").rename(tmp_path / "moved")
  text = restore_run(moved).config.data["text"]
  assert text["vocabulary_file"] == str(moved / "vocabulary.txt")
  ids, mask = TEXT_TOKENIZERS.build(text).encode("b a x")
  assert ids[mask].tolist() == [2, 5, 4, 1, 3]
  out = tmp_path / "out"
  words = ["export", str(moved), str(out), "--platforms", "cpu"]
  assert cli.main([*words, "--license", "apache-2.0"]) == 0
  card = (out / "README.md").read_text()
  assert "| behaviour | corrected |" in card
  assert 'license: "apache-2.0"' in card
  assert "An encoder of text, exported" in card and "Clips" not in card
  found = trajvit.load(moved).encode_text(["b a x"])
  encoder = trajvit.load(out)
  np.testing.assert_allclose(found, encoder.encode_text(["b a x"]), atol=1e-5)
  expected = encoder.encode_text(ids[None], mask[None])
  np.testing.assert_array_equal(encoder.encode_text(["b a x"]), expected)
