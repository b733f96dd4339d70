"""Vocabulary files that the tests of all text tokenizers read."""

import pytest
import vocabularies


@pytest.fixture(scope="session")
def vocabulary_files(tmp_path_factory):
  """Argument of a tokenizer -> its file."""
  root = tmp_path_factory.mktemp("vocabularies")
  contents = {
    "vocab.txt": vocabularies.wordpiece(),
    "merges.txt.gz": vocabularies.merges(),
    "vocab.json": vocabularies.clip_json(),
    "pieces.model": vocabularies.sentences(),
  }
  for name, content in contents.items():
    (root / name).write_bytes(content)
  return {name: str(root / name) for name in contents}


@pytest.fixture(scope="session")
def text_specs(vocabulary_files):
  """Name of a text tokenizer -> the least that a config must say."""
  return {
    "words": {"vocabulary": ["the", "cafe", ","]},
    "bytes": {},
    "wordpiece": {"vocabulary_file": vocabulary_files["vocab.txt"]},
    "sentencepiece": {"vocabulary_file": vocabulary_files["pieces.model"]},
    "byte_pair": {
      "merges_file": vocabulary_files["merges.txt.gz"],
      "num_merges": len(vocabularies.MERGES),
    },
  }
