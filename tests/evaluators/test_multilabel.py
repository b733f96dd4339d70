"""Mean average precision against scikit-learn, and labels along the line."""

import types

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score

from trajvit.data.example import ClipSpec
from trajvit.data.formats import payload
from trajvit.data.formats.array_record import stored_clip
from trajvit.data.formats.payload import PackedClip
from trajvit.data.formats.tar import TarClips, write_shard
from trajvit.data.loader import Loader
from trajvit.data.manifest import Record
from trajvit.data.video_files import FileClips
from trajvit.evaluators import EVALUATORS
from trajvit.evaluators.bootstrap import resample_weights
from trajvit.evaluators.embed import embed
from trajvit.evaluators.features import Features
from trajvit.evaluators.multilabel import average_precision

CLIPS, CLASSES = 40, 5


def features(rng, *, ties):
  """Class 4 has no clip; some clips have no class."""
  truth = rng.random((CLIPS, CLASSES)) < 0.25
  truth[:, 4] = truth[3] = truth[7] = False
  logits = rng.normal(size=(CLIPS, CLASSES)) + truth
  if ties:
    logits = np.round(logits)
  found = Features(
    outputs={"logits": logits.astype(np.float32)},
    clip_id=np.arange(CLIPS, dtype=np.int32),
    label=None,
    place=np.arange(CLIPS),
    names=tuple(map(str, range(CLIPS))),
    caption_clip=np.zeros(0, np.int64),
    labels=tuple(tuple(np.flatnonzero(row).tolist()) for row in truth),
    missing=(("a", "broken"),),
  )
  return found, truth


def build(**options):
  return EVALUATORS.build(
    dict(name="multilabel", scores="logits", **options), loader=None
  )


@pytest.mark.parametrize("ties", [False, True])
def test_equals_scikit_learn(rng, ties):
  found, truth = features(rng, ties=ties)
  got = build().score(found)
  scores, there = found.outputs["logits"], slice(0, 4)
  expected = average_precision_score(truth[:, there], scores[:, there])
  assert got["mAP"] == pytest.approx(100 * expected, abs=1e-6)
  some = truth.any(1)
  expected = average_precision_score(truth[some, there], scores[some, there])
  assert got["mAP_labelled"] == pytest.approx(100 * expected, abs=1e-6)
  # As if those without a class were ranked last.
  last = np.where(some[:, None], scores, -1e9)
  again = average_precision_score(truth[:, there], last[:, there])
  assert again == pytest.approx(expected, abs=1e-12)
  assert (got["n_classes"], got["n_class_names"]) == (4, 5)
  assert (got["n_evaluated"], got["n_missing"]) == (CLIPS, 1)
  assert got["n_unlabelled"] == (~some).sum() >= 2


def test_clips_that_are_there_several_times(rng):
  found, truth = features(rng, ties=True)
  got = build(bootstrap=60).score(found)
  drawn = []
  for weights in np.concatenate(list(resample_weights(np.arange(CLIPS), 60))):
    classes = [c for c in range(CLASSES) if weights[truth[:, c]].sum()]
    each = [
      average_precision_score(
        truth[:, c], found.outputs["logits"][:, c], sample_weight=weights
      )
      for c in classes
    ]
    drawn.append(100 * np.mean(each))
  low, high = np.percentile(drawn, (2.5, 97.5))
  assert got["mAP_low"] == pytest.approx(low, abs=1e-6)
  assert got["mAP_high"] == pytest.approx(high, abs=1e-6)
  one = average_precision(
    np.zeros(3), np.array([True, False, False]), np.array([[0.0, 1, 1]])
  )
  assert np.isnan(one).all()


def test_what_cannot_be_is_named(rng):
  found, _ = features(rng, ties=False)
  vars(found)["labels"] = ((),) * CLIPS
  with pytest.raises(ValueError, match="no clip has labels"):
    build().score(found)
  vars(found)["labels"] = ((5,),) * CLIPS
  with pytest.raises(ValueError, match="5 classes have scores, got label 5"):
    build().score(found)
  with pytest.raises(ValueError, match="one of .* got 'text'"):
    EVALUATORS.build(dict(name="multilabel", scores="text"), loader=None)


def test_zero_shot_scores(rng):
  """Those of the texts of classes, as `zero_shot` has them."""
  found, truth = features(rng, ties=False)
  video = rng.normal(size=(CLIPS, 6)).astype(np.float32)
  words = rng.normal(size=(CLASSES, 6)).astype(np.float32)
  names = tuple("abcde")
  source = types.SimpleNamespace(classes=names)
  evaluator = EVALUATORS.build(
    dict(name="multilabel", templates="plain"),
    loader=types.SimpleNamespace(source=source),
  )
  assert evaluator.wanted == ("video",) and evaluator.prompts == names
  vars(found).update(
    outputs={"video": video}, prompts=names, prompt_vectors=words
  )
  scores = video @ (words / np.linalg.norm(words, axis=1, keepdims=True)).T
  expected = average_precision_score(truth[:, :4], scores[:, :4])
  got = evaluator.score(found)["mAP"]
  assert got == pytest.approx(100 * expected, abs=1e-6)


def test_labels_come_along_from_files(tmp_path):
  spec = ClipSpec(frames=1, size=8, track_grid=2, max_tracks=1)
  records = []
  for i, labels in enumerate([(3, 1), (), (2,), (0,)]):
    path = tmp_path / f"{i}.png"
    if i != 2:
      Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(path)
    records.append(Record(str(path), True, labels=labels))
  source = FileClips(
    clip=spec, records=records, name="x", root=str(tmp_path), tracks="none"
  )
  loader = Loader(source, clip=spec, batch_size=3, num_threads=0)
  found = embed(
    loader,
    lambda variables, batch: {"logits": batch.clip.frames[:, 0, 0, 0]},
    {},
    ["logits"],
  )
  assert found.labels == ((3, 1), (), (0,)) and len(found.missing) == 1


def test_labels_come_along_from_packed_clips(tmp_path):
  clip = PackedClip("a", b"\x00", ".png", True, 0, labels=(4, 2))
  write_shard(tmp_path / "0.tar", [clip])
  spec = ClipSpec(frames=1, size=8, track_grid=2, max_tracks=1)
  packed = TarClips(clip=spec, root=str(tmp_path), tracks="none")
  assert packed.stored(0).labels == (4, 2)
  again = payload.decode(payload.encode(clip), "record 0")
  assert stored_clip(again, "record 0").labels == (4, 2)
