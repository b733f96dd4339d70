"""The loader: one order for all, whoever reads; broken clips; evaluation."""

import threading
import time

import numpy as np
import pytest

from trajvit.data import ClipSpec, Loader, TooManyBrokenClips, build_loader
from trajvit.data import loader as loader_module
from trajvit.data.augment import Mixing
from trajvit.data.example import BrokenClip, Example
from trajvit.data.order import TrainOrder, row_position
from trajvit.data.text import WordTokenizer

CLIP = ClipSpec(frames=2, size=4, track_grid=2, max_tracks=3)
TEXT = WordTokenizer(length=4, vocabulary=["zero", "one", "two", "many"])


class FakeSource:
  """Clip i has pixels of value i, label i, and times that rng draws."""

  def __init__(
    self, count=23, *, broken=(), captions=("one",), tracks=lambda i: True
  ):
    self.count, self.broken, self.captions = count, broken, captions
    self.tracks = tracks

  def __len__(self):
    return self.count

  def example(self, index, rng):
    if index % 3 == 0:
      time.sleep(1e-3)  # so that threads overtake each other
    if index in self.broken:
      raise BrokenClip(f"clip{index}", f"reason {index}")
    captions = self.captions
    if rng is not None:
      captions = captions[:1]
    return Example(
      frames=np.full((2, 4, 4, 3), index, np.uint8),
      times=np.zeros(2, np.float32) if rng is None else rng.random(2, "f4"),
      tracks=np.zeros((2, 2, 2), np.int32) if self.tracks(index) else None,
      captions=captions,
      clip_id=1000 + index,
      label=index,
      name=f"clip{index}",
      dropped_tracks=1,
    )

  def fingerprint(self):
    return f"fake {self.count}"


def make(source=None, **options):
  options = {"batch_size": 8, "clip": CLIP, "text": TEXT, **options}
  return Loader(FakeSource() if source is None else source, **options)


def stream(loader, steps, start=0):
  with loader.train(start) as batches:
    return [next(batches) for _ in range(steps)]


def contents(batches):
  """All that training sees, as one list of tuples of plain values a row."""
  rows = []
  for batch, info in batches:
    rows += zip(
      batch.label.tolist(),
      batch.clip_id.tolist(),
      batch.clip.frames.reshape(len(batch.label), -1).tolist(),
      batch.clip.times.tolist(),
      batch.text.ids.tolist(),
      info.names,
      strict=True,
    )
  return rows


def reading_threads():
  return [t for t in threading.enumerate() if t.name.startswith("grain-")]


class TestOrder:
  def test_every_epoch_shows_every_clip_once_in_an_order_of_its_own(self):
    order = TrainOrder(10, seed=3)
    epochs = [[order.draw(10 * e + i)[0] for i in range(10)] for e in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4

  def test_is_a_function_of_seed_and_position(self):
    draws = [TrainOrder(10, seed=3).draw(i)[0] for i in (31, 5, 31)]
    order = TrainOrder(10, seed=3)
    assert [order.draw(i)[0] for i in (31, 5, 31)] == draws
    others = [TrainOrder(10, seed=4).draw(i)[0] for i in range(30)]
    assert others != [order.draw(i)[0] for i in range(30)]

  def test_no_two_draws_share_a_generator(self):
    order = TrainOrder(10, seed=3)
    drawn = {
      order.draw(position, attempt)[1].random()
      for position in range(20)
      for attempt in range(5)
    }
    assert len(drawn) == 100

  def test_replacements_reach_every_clip(self):
    order = TrainOrder(10, seed=3)
    assert {order.draw(0, a)[0] for a in range(1, 100)} == set(range(10))

  def test_processes_share_out_the_global_batch(self):
    for count in (1, 2, 4):
      positions = [
        row_position(row, batch_size=8, process_index=p, process_count=count)
        for step in range(3)
        for p in range(count)
        for row in range(step * 8 // count, (step + 1) * 8 // count)
      ]
      assert positions == list(range(24))

  def test_bad_arguments(self):
    with pytest.raises(ValueError, match="clips to train on, got 0"):
      TrainOrder(0, seed=0)
    for seed in (-1, 2**32):
      with pytest.raises(ValueError, match=f"seed must be .* got {seed}"):
        TrainOrder(3, seed=seed)


class TestTrain:
  @pytest.fixture(scope="class")
  def reference(self):
    broken = FakeSource(broken=(4, 9, 17))
    return contents(stream(make(broken, failure_budget=1.0), 9))

  @pytest.mark.parametrize("threads", [0, 1, 2, 5])
  def test_any_number_of_threads_gives_the_same(self, reference, threads):
    loader = make(
      FakeSource(broken=(4, 9, 17)), num_threads=threads, failure_budget=1.0
    )
    assert contents(stream(loader, 9)) == reference

  @pytest.mark.parametrize("processes", [2, 4])
  @pytest.mark.parametrize("start", [0, 5])
  def test_processes_together_give_the_same(self, reference, processes, start):
    streams = [
      stream(
        make(
          FakeSource(broken=(4, 9, 17)),
          failure_budget=1.0,
          process_index=index,
          process_count=processes,
        ),
        9 - start,
        start,
      )
      for index in range(processes)
    ]
    rows = contents([s[k] for k in range(9 - start) for s in streams])
    assert rows == reference[8 * start :]

  @pytest.mark.parametrize("start", [1, 3, 8])
  def test_starting_later_gives_the_rest(self, reference, start):
    loader = make(FakeSource(broken=(4, 9, 17)), failure_budget=1.0)
    assert contents(stream(loader, 9 - start, start)) == reference[8 * start :]

  def test_another_seed_gives_another_order(self, reference):
    loader = make(FakeSource(broken=(4, 9, 17)), failure_budget=1.0, seed=1)
    assert contents(stream(loader, 9)) != reference

  def test_arrays(self):
    batch, info = stream(make(), 1)[0]
    clip = batch.clip
    shapes = {
      "frames": ((8, 2, 4, 4, 3), np.uint8),
      "frame_mask": ((8, 2), bool),
      "times": ((8, 2), np.float32),
      "tracks": ((8, 2, 2, 2), np.int32),
    }
    for name, (shape, dtype) in shapes.items():
      array = getattr(clip, name)
      assert type(array) is np.ndarray
      assert (array.shape, array.dtype) == (shape, dtype), name
    assert clip.frame_mask.all()
    assert batch.text.ids.shape == batch.text.mask.shape == (8, 4)
    assert batch.label.dtype == batch.clip_id.dtype == np.int32
    assert batch.valid is None
    assert info.dropped_tracks == 8 and info.skipped == ()
    assert info.names == tuple(f"clip{i}" for i in batch.label)

  def test_a_clip_without_a_caption_is_an_empty_slot(self):
    batch, _ = stream(make(FakeSource(captions=())), 1)[0]
    assert not batch.text.mask.any()

  def test_no_text_without_a_tokenizer_or_without_captions(self):
    assert stream(make(text=None), 1)[0][0].text is None
    source = FakeSource()
    source.has_captions = False
    assert stream(make(source), 1)[0][0].text is None

  def test_no_tracks(self):
    batch, _ = stream(make(FakeSource(tracks=lambda i: False)), 1)[0]
    assert batch.clip.tracks is None

  def test_some_tracks_are_an_error_that_names_two_clips(self):
    loader = make(FakeSource(tracks=lambda i: i != 7))
    with pytest.raises(ValueError, match=r"clip\d+ has tracks, clip7 has none"):
      stream(loader, 4)

  @pytest.mark.parametrize(
    ("clip", "message"),
    [
      ({"frames": 3}, r"frames must be uint8 \(3, 4, 4, 3\), got uint8 \(2,"),
      ({"track_grid": 4}, r"tracks must be int32 \(2, 4, 4\), got int32"),
    ],
  )
  def test_a_clip_unlike_the_spec_is_named(self, clip, message):
    spec = {"frames": 2, "size": 4, "track_grid": 2, "max_tracks": 3, **clip}
    with pytest.raises(ValueError, match=r"clip\d+: " + message):
      stream(make(clip=ClipSpec(**spec)), 1)

  def test_negative_start(self):
    with pytest.raises(ValueError, match="start_step .* got -1"):
      make().train(-1)


class TestBrokenClips:
  def test_are_replaced_and_reported(self):
    broken = (4, 9, 17)
    loader = make(FakeSource(broken=broken), failure_budget=1.0)
    whole = contents(stream(make(), 9))
    batches = stream(loader, 9)
    rows = contents(batches)
    skipped = [skip for _, info in batches for skip in info.skipped]

    assert {label for label, *_ in rows}.isdisjoint(broken)
    assert {name for name, _ in skipped} == {f"clip{i}" for i in broken}
    assert all(reason == f"reason {name[4:]}" for name, reason in skipped)
    for row, untouched in zip(rows, whole, strict=True):
      assert row == untouched or untouched[0] in broken
    assert loader.failures.failures == len(skipped)
    assert loader.failures.attempts == 72 + len(skipped)

  def test_budget_ends_training(self):
    loader = make(
      FakeSource(broken=range(8)), failure_budget=0.2, budget_after=16
    )
    with loader.train() as batches:
      next(batches)  # fewer than 16 attempts, or the first to be looked at
      with pytest.raises(TooManyBrokenClips, match=r"20\.0%") as error:
        for _ in range(3):
          next(batches)
    assert "x clip" in str(error.value) and ": reason " in str(error.value)

  def test_nothing_but_broken_clips_ends_at_once(self, monkeypatch):
    monkeypatch.setattr(loader_module, "ATTEMPTS", 5)
    loader = make(FakeSource(broken=range(23)), failure_budget=1.0)
    with pytest.raises(TooManyBrokenClips, match="5 clips in a row") as error:
      next(loader.train())
    assert ": reason " in str(error.value)

  def test_other_errors_are_not_swallowed(self):
    def explode(index, rng):
      raise OSError(f"disk gone at {index}")

    source = FakeSource()
    source.example = explode
    with pytest.raises(OSError, match="disk gone"):
      next(make(source).train())


class TestMix:
  MIXING = Mixing(mixup=0.8, cutmix=1.0)

  def test_processes_together_give_the_same(self):
    options = dict(text=None, mixing=self.MIXING, num_threads=0)
    whole = stream(make(**options), 4)
    parts = [
      stream(make(process_index=p, process_count=4, **options), 4)
      for p in range(4)
    ]
    for step, (batch, _) in enumerate(whole):
      for name in ("label", "share"):
        joined = [getattr(part[step][0].mix, name) for part in parts]
        expected = getattr(batch.mix, name)
        np.testing.assert_array_equal(np.concatenate(joined), expected)
      joined = [part[step][0].clip.frames for part in parts]
      np.testing.assert_array_equal(np.concatenate(joined), batch.clip.frames)
      np.testing.assert_array_equal(
        batch.mix.label, batch.label.reshape(-1, 2)[:, ::-1].ravel()
      )
    assert len({tuple(batch.mix.share) for batch, _ in whole}) == 4

  def test_evaluation_is_never_mixed(self):
    mixed = make(text=None, mixing=self.MIXING)
    for (one, _), (two, _) in zip(
      mixed.evaluate(), make(text=None).evaluate(), strict=True
    ):
      assert one.mix is None
      np.testing.assert_array_equal(one.clip.frames, two.clip.frames)

  def test_what_cannot_be_mixed(self):
    with pytest.raises(ValueError, match="clips with captions cannot"):
      make(mixing=self.MIXING).train()
    with pytest.raises(ValueError, match="even number of rows"):
      make(text=None, mixing=self.MIXING, process_count=8).train()


class TestEvaluate:
  def rows(self, loader):
    with loader.evaluate() as batches:
      return [*batches]

  @pytest.mark.parametrize("count", [1, 8, 23])
  def test_every_clip_once_in_order_and_shapes_constant(self, count):
    loader = make(FakeSource(count))
    batches = self.rows(loader)
    assert len(batches) == loader.num_eval_batches == -(-count // 8)
    assert loader.num_clips == count
    valid = np.concatenate([batch.valid for batch, _ in batches])
    labels = np.concatenate([batch.label for batch, _ in batches])
    names = [name for _, info in batches for name in info.names]
    assert valid.tolist() == [i < count for i in range(len(valid))]
    assert labels[valid].tolist() == list(range(count))
    assert names == [f"clip{i}" if i < count else "" for i in range(len(valid))]
    for batch, _ in batches:
      assert batch.clip.frames.shape == (8, 2, 4, 4, 3)
      assert batch.text.ids.shape == (8, 1, 4)
      assert not batch.clip.frames[~batch.valid].any()
      assert not batch.text.mask[~batch.valid].any()
      assert (batch.clip.tracks[~batch.valid] == -1).all()
      assert not batch.clip.times.any()  # rng is None

  @pytest.mark.parametrize("processes", [2, 4])
  def test_processes_together_see_every_clip_once(self, processes):
    whole = self.rows(make(FakeSource(9)))
    parts = [
      self.rows(make(FakeSource(9), process_index=i, process_count=processes))
      for i in range(processes)
    ]
    for k, (batch, _) in enumerate(whole):
      for field in ("label", "valid", "clip_id"):
        joined = np.concatenate([getattr(part[k][0], field) for part in parts])
        np.testing.assert_array_equal(joined, getattr(batch, field))
    assert all(part[1][0].clip.tracks is not None for part in parts)

  def test_broken_clips_are_missing_not_replaced(self):
    loader = make(FakeSource(10, broken=(0, 6)), budget_after=1)
    batches = self.rows(loader)
    valid = np.concatenate([batch.valid for batch, _ in batches])
    labels = np.concatenate([batch.label for batch, _ in batches])
    assert labels[valid].tolist() == [1, 2, 3, 4, 5, 7, 8, 9]
    skipped = [skip for _, info in batches for skip in info.skipped]
    assert skipped == [("clip0", "reason 0"), ("clip6", "reason 6")]
    assert len(loader.failures) == 2

  def test_a_first_batch_of_broken_clips(self):
    batches = self.rows(make(FakeSource(10, broken=range(8))))
    assert batches[0][0].clip.tracks.shape == (8, 2, 2, 2)
    assert [batch.valid.sum() for batch, _ in batches] == [0, 2]

  def test_nothing_to_evaluate_is_an_error(self):
    with pytest.raises(TooManyBrokenClips, match="no clip of the source"):
      self.rows(make(FakeSource(3, broken=range(3))))

  def test_several_captions(self):
    source = FakeSource(3, captions=("zero", "one two", "many"))
    loader = make(source, captions=2)
    batch, _ = self.rows(loader)[0]
    assert batch.text.ids.shape == (8, 2, 4)
    assert batch.text.ids[0].tolist() == [[2, 3, 0, 0], [2, 4, 5, 0]]
    assert loader.captions_cut == 3
    self.rows(loader)
    assert loader.captions_cut == 3  # of one evaluation, not of all

    batch, _ = self.rows(make(source, captions=5))[0]
    assert (
      batch.text.mask[:3].any(-1).tolist() == [[True] * 3 + [False] * 2] * 3
    )

  def test_runs_again_alike(self):
    loader = make()
    one, two = self.rows(loader), self.rows(loader)
    assert contents(one) == contents(two)


class TestThreads:
  def wait_for_none(self):
    until = time.monotonic() + 10
    while reading_threads() and time.monotonic() < until:
      time.sleep(0.01)
    return not reading_threads()

  def test_close_ends_them(self):
    batches = make(num_threads=3).train()
    next(batches)
    assert len(reading_threads()) == 3
    batches.close()
    assert self.wait_for_none()
    with pytest.raises(StopIteration):
      next(batches)
    batches.close()  # once more does no harm

  def test_forgetting_the_iterator_ends_them(self):
    batches = make(num_threads=3).train()
    next(batches)
    del batches
    assert self.wait_for_none()

  def test_the_end_of_an_evaluation_ends_them(self):
    for _ in make(num_threads=3).evaluate():
      pass
    assert self.wait_for_none()

  def test_an_error_ends_them(self):
    batches = make(FakeSource(tracks=lambda i: i != 7), num_threads=3).train()
    with pytest.raises(ValueError):
      for _ in range(4):
        next(batches)
    assert self.wait_for_none()

  def test_two_iterators_do_not_disturb_each_other(self):
    loader = make()
    with loader.train() as one, loader.train() as two:
      rows = [next(i) for i in (one, two, two, one)]
    assert contents([rows[0], rows[3]]) == contents([rows[1], rows[2]])


class TestConstruction:
  @pytest.mark.parametrize(
    ("options", "message"),
    [
      ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
      ({"num_threads": -1}, "num_threads must be at least 0"),
      ({"prefetch": 0}, "prefetch must be at least 1"),
      ({"captions": 0}, "captions must be at least 1"),
      ({"process_count": 3}, "must divide batch_size 8, got 3"),
      ({"process_index": 1}, r"process_index must be in \[0, 1\), got 1"),
      ({"seed": -1}, "seed"),
      ({"failure_budget": 2}, "failure_budget"),
      ({"source": FakeSource(0)}, "must have clips"),
    ],
  )
  def test_bad_arguments(self, options, message):
    with pytest.raises(ValueError, match=message):
      make(**options)

  def test_fingerprint(self):
    other_text = WordTokenizer(length=4, vocabulary=["zero"])
    other_clip = ClipSpec(frames=4, size=4, track_grid=2, max_tracks=3)
    prints = [
      make().fingerprint(),
      make(FakeSource(24)).fingerprint(),
      make(text=other_text).fingerprint(),
      make(text=None).fingerprint(),
      make(clip=other_clip).fingerprint(),
    ]
    assert len(set(prints)) == len(prints)
    assert make(num_threads=5).fingerprint() == prints[0]

  def test_model_context(self):
    expected = {"clip_shape": (2, 4, 4), "max_tracks": 3}
    assert make().model_context() == {
      **expected,
      "vocab_size": 7,
      "text_length": 4,
    }
    assert make(text=None).model_context() == {
      **expected,
      "vocab_size": 0,
      "text_length": 0,
    }


class TestBuild:
  DATA = {
    "batch_size": 4,
    "clip": {"frames": 2, "size": 32, "track_grid": 16, "max_tracks": 10},
    "text": {"name": "words", "vocabulary": "moving_sprites", "length": 26},
    "train": {"name": "moving_sprites", "split": "train", "count": 6},
    "loader": {"num_threads": 1, "prefetch": 1},
  }

  def test_moving_sprites(self):
    loader = build_loader(self.DATA, self.DATA["train"], seed=0)
    batches = stream(loader, 2)
    again = build_loader(self.DATA, self.DATA["train"], seed=0)
    assert contents(batches) == contents(stream(again, 2))
    batch = batches[0][0]
    assert batch.clip.frames.shape == (4, 2, 32, 32, 3)
    assert batch.clip.tracks.max() < 10
    assert 1 not in batch.text.ids  # [UNK]
    with loader.evaluate() as evaluation:
      valid = np.concatenate([batch.valid for batch, _ in evaluation])
    assert valid.tolist() == [True] * 6 + [False] * 2

  def test_an_evaluation_may_differ(self):
    source = {
      "name": "moving_sprites",
      "split": "static",
      "count": 3,
      "clip": {"frames": 4},
      "captions": 2,
      "batch_size": 3,
    }
    loader = build_loader(self.DATA, source, seed=0)
    assert loader.clip == ClipSpec(4, 32, 16, 10)
    with loader.evaluate() as batches:
      batch, _ = next(batches)
    assert batch.text.ids.shape == (3, 2, 26)
    assert source["clip"] == {"frames": 4}  # the config is left alone

  def test_text_may_be_left_out(self):
    data = {k: v for k, v in self.DATA.items() if k != "text"}
    assert build_loader(data, data["train"], seed=0).text is None

  @pytest.mark.parametrize(
    ("changes", "source", "message"),
    [
      ({"colour": 1}, {}, "data reads no 'colour'"),
      ({"loader": {"workers": 2}}, {}, "data.loader reads no 'workers'"),
      ({"clip": {"fps": 2}}, {}, "data.clip reads no 'fps'"),
      ({"clip": {"frames": 2}}, {}, "data.clip needs 'size', 'track_grid'"),
      ({}, {"clip": {"fps": 2}}, "data.clip reads no 'fps'"),
      ({}, {"path": "x"}, "'moving_sprites' reads no 'path'"),
      ({}, {"name": "webvid"}, "known: .*moving_sprites, .*video_files"),
      ({"text": {"name": "spm"}}, {}, "known: .*words"),
    ],
  )
  def test_what_nobody_reads_is_an_error(self, changes, source, message):
    with pytest.raises(ValueError, match=message):
      build_loader(
        {**self.DATA, **changes}, {**self.DATA["train"], **source}, seed=0
      )

  @pytest.mark.parametrize("key", ["batch_size", "clip"])
  def test_what_is_missing_is_named(self, key):
    data = {k: v for k, v in self.DATA.items() if k != key}
    with pytest.raises(ValueError, match=f"data needs '{key}'"):
      build_loader(data, data["train"], seed=0)

  def test_a_source_without_a_name(self):
    with pytest.raises(ValueError, match="a source needs a name"):
      build_loader(self.DATA, {"split": "train"}, seed=0)
