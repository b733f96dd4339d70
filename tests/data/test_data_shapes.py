"""Shapes told without reading are those that are read."""

import jax
import pytest

from trajvit.data import build_loader, data_shapes

CLIP = dict(frames=2, size=32, track_grid=16, max_tracks=10)
SPRITES = dict(name="moving_sprites", count=2)
WORDS = dict(name="words", vocabulary="moving_sprites", length=26)
PACKING = dict(tokens="tracks", clips=2, rows=2, length=16)
VIDEOS = dict(name="video_files", manifest="nowhere.json", tracks="auto")


def data(train, **others):
  return dict(batch_size=2, clip=CLIP, train=train, **others)


@pytest.mark.parametrize(
  "setting",
  [
    data(SPRITES, text=WORDS, packing=PACKING),
    data(SPRITES | dict(tracks="none")),
    data(SPRITES, mix=dict(p=0.5)),
    data(dict(name="mixture", sources=[SPRITES, SPRITES | dict(weight=2)])),
  ],
)
def test_shapes_are_those_of_the_loader(setting):
  loader = build_loader(setting, setting["train"], seed=0)
  batches = loader.train()
  batch, _ = next(batches)
  batches.close()
  context, shapes = data_shapes(setting)
  assert context == loader.model_context()
  found = jax.tree.map(lambda x: (x.shape, x.dtype), shapes)
  assert found == jax.tree.map(lambda x: (x.shape, x.dtype), batch)


def test_no_file_is_read():
  _, shapes = data_shapes(data(VIDEOS, text=WORDS))
  assert shapes.clip.tracks.shape == (2, 2, 16, 16)
  assert shapes.text.ids.shape == (2, 26)
  # What people have outlined has no captions.
  _, shapes = data_shapes(data(dict(name="davis_2017"), text=WORDS))
  assert shapes.text is None


def test_what_nobody_reads_is_refused_all_the_same():
  with pytest.raises(ValueError, match="'video_files' reads no 'trucks'"):
    data_shapes(data(VIDEOS | dict(trucks="auto")))
  with pytest.raises(ValueError, match="unknown source 'films'"):
    data_shapes(data(dict(name="films")))
