"""Zero-shot classification against the definition, and its prompts."""

import types

import jax.numpy as jnp
import numpy as np
import pytest
from fake_loader import LabelledLoader

from trajvit.data.example import ClipSpec
from trajvit.data.text import WordTokenizer
from trajvit.evaluators import EVALUATORS
from trajvit.evaluators.embed import embed_texts
from trajvit.evaluators.prompts import TEMPLATES, ClassTexts, read_templates

WORDS = ("a", "of", "seen", "cat", "dog", "emu", "clip")
CLASSES, WIDTH = ("cat", "dog", "emu"), 5
SPEC = ClipSpec(frames=1, size=4, track_grid=2, max_tracks=2)


class NamedLoader(LabelledLoader):
  """Clips with labels, and a text tokenizer for prompts."""

  def __init__(self, vectors, labels, classes=CLASSES, **options):
    super().__init__(vectors, labels, **options)
    self.text = WordTokenizer(length=5, vocabulary=WORDS)
    self.clip = SPEC
    self.source = types.SimpleNamespace(classes=classes)


def predict(variables, batch):
  """A clip is its pixels; a text is the sum of its words."""
  frames = batch.clip.frames
  outputs = {}
  if frames.shape[1:] == (1, 1, WIDTH, 1):
    outputs["video_embedding"] = frames.reshape(-1, WIDTH) * 1.0
  if batch.text is not None:
    words = variables["words"][batch.text.ids]
    outputs["text_embedding"] = jnp.where(
      batch.text.mask[..., None], words, 0
    ).sum(-2)
  return outputs


def variables(seed=0):
  rng = np.random.default_rng(seed)
  return {"words": rng.normal(size=(20, WIDTH)).astype(np.float32)}


def evaluate(loader, table, **options):
  spec = dict(name="zero_shot", **options)
  return EVALUATORS.build(spec, loader=loader).run(predict, table)


@pytest.mark.parametrize("renormalize", [True, False])
def test_equals_the_definition(rng, renormalize):
  labels = rng.integers(-1, 3, 20)
  vectors = rng.normal(size=(20, WIDTH)).astype(np.float32)
  given = [None if i == 4 else x for i, x in enumerate(vectors)]
  templates = ("a {}", "seen {} of", "{}")
  table = variables()
  got = evaluate(
    NamedLoader(given, labels),
    table,
    templates=templates,
    renormalize=renormalize,
    top=(1, 2),
  )
  word = {w: table["words"][3 + i].astype("d") for i, w in enumerate(WORDS)}
  start = table["words"][2].astype("d")
  scores = np.zeros((20, 3))
  for c, name in enumerate(CLASSES):
    mean = np.zeros(WIDTH)
    for template in templates:
      x = start + sum(word[w] for w in template.format(name).split())
      mean += x / np.linalg.norm(x) / len(templates)
    if renormalize:
      mean /= np.linalg.norm(mean)
    scores[:, c] = vectors.astype("d") @ mean
  kept = [i for i in range(20) if i != 4 and labels[i] >= 0]
  ranks = [(scores[i] >= scores[i, labels[i]]).sum() for i in kept]
  assert got["top1"] == pytest.approx(100 * np.mean(np.equal(ranks, 1)))
  assert got["top2"] == pytest.approx(100 * np.mean(np.less_equal(ranks, 2)))
  assert got["n_evaluated"] == len(kept) and got["n_missing"] == 1
  assert got["n_class_names"] == 3


def test_equal_classes_tie_against_us(rng):
  table = {"words": np.ones((20, WIDTH), np.float32)}
  loader = NamedLoader(list(rng.normal(size=(6, WIDTH))), np.arange(6) % 3)
  got = evaluate(loader, table, templates="plain", top=(1, 2, 3))
  assert (got["top1"], got["top2"], got["top3"]) == (0, 0, 100)


def test_a_label_or_a_name_too_many(rng):
  loader = NamedLoader(list(rng.normal(size=(4, WIDTH))), [0, 1, 2, 3])
  with pytest.raises(ValueError, match="3 classes are named, got label 3"):
    evaluate(loader, variables())
  four = (*CLASSES, "clip of a cat")
  assert evaluate(loader, variables(), classes=four)["n_class_names"] == 4
  with pytest.raises(ValueError, match="must differ, got 'cat' twice"):
    evaluate(loader, variables(), classes=("cat", "dog", "cat"))
  loader.source.classes = ()
  with pytest.raises(ValueError, match="must be named .* got none"):
    evaluate(loader, variables())


def test_a_prompt_that_is_not_finite_is_named(rng):
  loader = NamedLoader(list(rng.normal(size=(4, WIDTH))), [0, 1, 2, 1])
  table = variables()
  table["words"][3 + WORDS.index("emu")] = np.nan
  with pytest.raises(FloatingPointError, match="1 of 3 prompts .* 'a emu'"):
    evaluate(loader, table, templates=("a {}",))


def test_texts_are_embedded_whatever_the_chunk():
  loader, table = NamedLoader([np.zeros(WIDTH)], [0]), variables()
  texts = ["a cat", "dog", "seen of a clip of a dog", "emu emu"]
  found, cut = embed_texts(loader, predict, table, texts, chunk=3)
  alone = [embed_texts(loader, predict, table, [t], chunk=3)[0] for t in texts]
  np.testing.assert_array_equal(found, np.concatenate(alone))
  words = table["words"]
  cat = words[2] + words[3] + words[3 + WORDS.index("cat")]
  np.testing.assert_allclose(found[0], cat, rtol=1e-6)
  assert cut == 1
  with pytest.raises(ValueError, match="must have a word, got ' '"):
    embed_texts(loader, predict, table, ["a", " "])
  loader.text = None
  with pytest.raises(ValueError, match=r"data\.text encodes none"):
    embed_texts(loader, predict, table, ["a"])


def test_templates_of_a_file(tmp_path):
  file = tmp_path / "templates.txt"
  file.write_text("a {}\n\n  seen {} of\n", encoding="utf-8")
  assert read_templates(str(file)) == ("a {}", "seen {} of")
  file.write_text("nothing")
  with pytest.raises(ValueError, match="one {}, got 'nothing'"):
    read_templates(str(file))
  with pytest.raises(ValueError, match=r"plain, actions, objects or a file"):
    read_templates(str(tmp_path / "none"))
  for name in TEMPLATES:
    assert len(set(read_templates(name))) == len(TEMPLATES[name])


def test_the_manifest_tells_prompts_apart():
  loader = NamedLoader([np.zeros(WIDTH)], [0])
  one, other = (
    ClassTexts(loader, templates=templates).manifest
    for templates in ("actions", "objects")
  )
  assert one["classes"] == 3
  assert one["prompts_sha256"] != other["prompts_sha256"]
