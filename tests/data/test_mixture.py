"""Mixtures: weights in training, every clip once in evaluation."""

import collections

import numpy as np
import pytest
from test_loader import FakeSource, contents, make, stream

from trajvit.data.build import build_loader
from trajvit.data.mixture import Mixture
from trajvit.data.order import TrainOrder

SPRITES = {"name": "moving_sprites", "split": "train"}


def mixture(*parts):
  """A mixture of FakeSources, given as (count, weight, options)."""
  sources = [{"count": c, "weight": w, **options} for c, w, options in parts]
  return Mixture(sources=sources, build_source=lambda s: FakeSource(**s))


def test_every_stretch_holds_the_weights_and_every_part_its_epochs():
  order = TrainOrder([10, 4, 100], weights=[2, 1, 1], seed=1)
  drawn = [order.draw(i)[0] for i in range(400)]
  for start in range(0, 400, 40):
    parts = np.searchsorted([10, 14], drawn[start : start + 40], side="right")
    assert np.bincount(parts).tolist() == [20, 10, 10]
  first = [i for i in drawn if i < 10]
  for epoch in range(20):
    assert sorted(first[epoch * 10 : epoch * 10 + 10]) == list(range(10))
  again = TrainOrder([10, 4, 100], weights=[4, 2, 2], seed=1)
  assert [again.draw(i)[0] for i in (399, 3)] == [drawn[399], drawn[3]]


def test_a_broken_clip_is_replaced_from_its_own_part():
  order = TrainOrder([5, 3], weights=[1, 3], seed=1)
  for position in range(8):
    part = order.draw(position)[0] >= 5
    others = {order.draw(position, a)[0] for a in range(1, 80)}
    assert others == (set(range(5, 8)) if part else set(range(5)))


def test_one_source_alone_is_ordered_as_without_a_mixture():
  alone = make(mixture((23, 0.5, {})), num_threads=0)
  assert [row[0] for row in contents(stream(alone, 4))] == [
    row[0] for row in contents(stream(make(num_threads=0), 4))
  ]


def test_a_loader_reads_a_mixture():
  source = mixture((5, 3.0, {}), (4, 1.0, {"captions": ()}))
  loader = make(source, num_threads=0)
  batches = stream(loader, 10)
  names = collections.Counter(
    int(clip_id) % 2 for batch, _ in batches for clip_id in batch.clip_id
  )
  assert names == {0: 60, 1: 20}
  for batch, _ in batches:
    with_words = batch.text.mask.any(1)
    np.testing.assert_array_equal(with_words, batch.clip_id % 2 == 0)
  evaluated = [
    row
    for batch, _ in loader.evaluate()
    for row in zip(
      batch.label[batch.valid], batch.clip_id[batch.valid], strict=True
    )
  ]
  assert [int(label) for label, _ in evaluated] == [*range(5), *range(4)]
  assert len({int(clip_id) for _, clip_id in evaluated}) == 9


def test_the_fingerprint_tells_weights_and_sources_apart():
  prints = {
    mixture(*parts).fingerprint()
    for parts in (
      [(5, 1, {})],
      [(5, 2, {})],
      [(6, 1, {})],
      [(5, 1, {}), (5, 1, {})],
    )
  }
  assert len(prints) == 4


def data(*sources):
  return dict(
    batch_size=4,
    clip=dict(frames=2, size=32, track_grid=4, max_tracks=8),
    train={"name": "mixture", "sources": list(sources)},
    loader=dict(num_threads=0),
  )


def test_a_config_names_the_sources():
  fewer = {"max_tracks": 2}
  config = data({**SPRITES, "weight": 3}, {**SPRITES, "clip": fewer})
  loader = build_loader(config, config["train"], seed=0)
  ((batch, _),) = stream(loader, 1)
  assert batch.clip.frames.shape == (4, 2, 32, 32, 3)
  loader = build_loader(config, {**config["train"]}, seed=0)
  half = loader.num_clips // 2
  most = [loader.source.example(i, None).tracks.max() + 1 for i in (0, 1, half)]
  assert max(most[:2]) > 2 == most[2]


@pytest.mark.parametrize(
  ("sources", "message"),
  [
    ([], "at least one source"),
    ([{**SPRITES, "weight": 0}], "weights of a mixture must be above 0"),
    ([{**SPRITES, "wait": 1}], "'moving_sprites' reads no 'wait'"),
    ([{"name": "none"}], "unknown source 'none'"),
  ],
)
def test_what_cannot_be_a_mixture(sources, message):
  config = data(*sources)
  with pytest.raises(ValueError, match=message):
    build_loader(config, config["train"], seed=0)


def test_clips_of_another_shape_are_refused():
  config = data(SPRITES, {**SPRITES, "clip": {"size": 64}})
  loader = build_loader(config, config["train"], seed=0)
  with pytest.raises(ValueError, match="frames must be uint8"):
    stream(loader, 3)
