"""Scenes and their words: streams, splits, captions, vocabulary."""

import dataclasses
import re

import numpy as np
import pytest

from trajvit.data.synthetic import vocabulary
from trajvit.data.synthetic.caption import (
  caption,
  caption_words,
  named_sprites,
  phrase,
)
from trajvit.data.synthetic.scene import Camera, Streams, draw_scene
from trajvit.data.synthetic.splits import SPLITS, SplitScenes

EVALUATION = ("validation", "static", "moving", "hard")


def scenes_of(split, count=None, seed=0):
  scenes = SplitScenes(split, count, seed)
  return [scenes[i] for i in range(len(scenes))]


def looks(scene):
  return [sprite.look for sprite in scene.sprites]


def motions(scene):
  return [sprite.motion for sprite in scene.sprites]


def streams(look=0, motion=0, camera=0, render=0):
  return Streams(
    *(np.random.default_rng(key) for key in (look, motion, camera, render))
  )


class TestStreams:
  def test_same_streams_give_the_same_scene(self):
    assert draw_scene(streams(), 0.5) == draw_scene(streams(), 0.5)

  def test_each_stream_draws_its_part_and_no_other(self):
    base = draw_scene(streams(), 1.0)
    parts = {
      "look": lambda s: (looks(s), s.regions),
      "motion": lambda s: motions(s)[:2],
      "camera": lambda s: s.camera,
      "render": lambda s: s.noise_seed,
    }
    for name in parts:
      other = draw_scene(streams(**{name: 7}), 1.0)
      for part, read in parts.items():
        assert (read(other) == read(base)) == (part != name), (name, part)

  @pytest.mark.parametrize("chance", [0.0, 1.0])
  def test_moving_camera_is_a_chance(self, chance):
    for key in range(30):
      camera = draw_scene(streams(camera=key), chance).camera
      assert (camera.name != vocabulary.STILL_CAMERA) == bool(chance)


class TestScenes:
  def test_names_tell_sprites_apart_without_their_pattern(self):
    for scene in scenes_of("train", 200):
      names = [(look.color, look.shape) for look in looks(scene)]
      assert len(set(names)) == len(names)
      assert [look.named for look in looks(scene)] == (
        [True, True, False][: len(names)]
      )

  def test_everything_is_drawn(self):
    scenes = scenes_of("train", 400)
    sprites = [s for scene in scenes for s in scene.sprites]
    assert {s.look.color for s in sprites} == set(vocabulary.COLORS)
    assert {s.look.shape for s in sprites} == set(vocabulary.SHAPES)
    assert {s.look.pattern for s in sprites} == set(vocabulary.PATTERNS)
    assert {s.motion.name for s in sprites} == set(vocabulary.MOTIONS)
    assert {len(scene.sprites) for scene in scenes} == {2, 3}
    assert {scene.camera.name for scene in scenes} == {
      vocabulary.STILL_CAMERA,
      *vocabulary.MOVING_CAMERAS,
    }

  def test_distractors_stay_still(self):
    scenes = [s for s in scenes_of("train", 100) if len(s.sprites) == 3]
    assert scenes
    assert {s.sprites[2].motion.name for s in scenes} == {"stays still"}


class TestSplits:
  def test_a_split_is_a_function_of_its_seed(self):
    assert scenes_of("hard") == scenes_of("hard")
    assert scenes_of("hard", seed=1) != scenes_of("hard")

  def test_a_shorter_split_is_a_prefix(self):
    for split in SPLITS:
      assert scenes_of(split, 20) == scenes_of(split, 40)[:20]

  def test_moving_is_static_under_another_camera(self):
    static, moving = scenes_of("static"), scenes_of("moving")
    for still, moved in zip(static, moving, strict=True):
      assert still.camera.name == vocabulary.STILL_CAMERA
      assert moved.camera.name in vocabulary.MOVING_CAMERAS
      assert dataclasses.replace(moved, camera=still.camera) == still

  def test_hard_groups_differ_in_motion_only(self):
    scenes = scenes_of("hard")
    groups = [scenes[i : i + 8] for i in range(0, len(scenes), 8)]
    assert len(groups) == 32
    for group in groups:
      for scene in group:
        assert looks(scene) == looks(group[0])
        assert scene.regions == group[0].regions
        assert scene.camera == group[0].camera
      said = {tuple(m.name for m in motions(scene)[:2]) for scene in group}
      assert len(said) == 8
    first_looks = {looks(group[0])[0] for group in groups}
    assert len(first_looks) == 32

  @pytest.mark.parametrize("seed", [0, 1])
  @pytest.mark.parametrize("split", EVALUATION)
  def test_evaluation_captions_are_distinct(self, split, seed):
    scenes = scenes_of(split, seed=seed)
    assert len({caption(scene) for scene in scenes}) == 256

  def test_known_words_are_skipped(self):
    # Far more clips than a group of 8: repetitions are certain to be drawn.
    scenes = SplitScenes("hard", 2000, 0)
    said = {tuple(map(phrase, named_sprites(scenes[i]))) for i in range(2000)}
    assert len(said) == 2000
    assert scenes._motions[-1] >= 2000

  def test_splits_share_no_scene(self):
    by_split = {
      split: {scene.sprites[0].look for scene in scenes_of(split, 256)}
      for split in ("train", "validation", "static", "hard")
    }
    assert len(set.union(*by_split.values())) == sum(
      map(len, by_split.values())
    )

  @pytest.mark.parametrize("split", ["train", "validation"])
  def test_cameras_are_still_half_of_the_time(self, split):
    names = [scene.camera.name for scene in scenes_of(split, 256)]
    assert 96 < names.count(vocabulary.STILL_CAMERA) < 160

  def test_errors_say_what_was_expected(self):
    with pytest.raises(ValueError, match="train, validation, static, moving"):
      SplitScenes("test", None, 0)
    with pytest.raises(ValueError, match="count=0"):
      SplitScenes("train", 0, 0)
    with pytest.raises(ValueError, match="between 1 and 16384 clips"):
      SplitScenes("static", 20000, 0)
    with pytest.raises(ValueError, match="seed must not be negative"):
      SplitScenes("train", None, -1)
    with pytest.raises(IndexError, match="clip 5 of a split of 5"):
      SplitScenes("train", 5, 0)[5]
    with pytest.raises(IndexError):
      SplitScenes("train", 5, 0)[-1]


class TestCaptions:
  def test_form(self):
    form = re.compile(
      r"a ((striped|dotted) )?\w+ \w+ [\w ]+ while "
      r"a ((striped|dotted) )?\w+ \w+ [\w ]+, the camera \w+( \w+)?"
    )
    for scene in scenes_of("train", 100):
      assert form.fullmatch(caption(scene)), caption(scene)

  def test_says_all_that_is_named_and_nothing_of_distractors(self):
    for scene in scenes_of("train", 100):
      said = caption(scene)
      assert said.endswith(f", the camera {scene.camera.name}")
      for sprite in scene.sprites:
        name = f"{sprite.look.color} {sprite.look.shape} {sprite.motion.name}"
        assert (name in said) == sprite.look.named

  def test_depth_does_not_change_the_canonical_caption(self):
    scene = scenes_of("train", 1)[0]
    front, back = scene.sprites[:2]
    swapped = dataclasses.replace(scene, sprites=(back, front))
    assert caption(swapped) == caption(scene)

  def test_camera_is_said(self):
    scene = scenes_of("static", 1)[0]
    panned = dataclasses.replace(scene, camera=Camera("pans left"))
    assert caption(panned) == caption(scene).replace("is still", "pans left")

  def test_training_captions_vary_in_order_and_conjunction_only(self):
    scene = scenes_of("train", 1)[0]
    rng = np.random.default_rng(0)
    drawn = {caption(scene, rng) for _ in range(100)}
    first, second = map(phrase, named_sprites(scene))
    camera = f", the camera {scene.camera.name}"
    assert drawn == {
      f"{a} {conjunction} {b}{camera}"
      for conjunction in ("while", "and", "as")
      for a, b in ((first, second), (second, first))
    }

  def test_vocabulary_is_exactly_the_words_that_occur(self):
    rng = np.random.default_rng(0)
    said = set()
    for scene in scenes_of("train", 500):
      said |= set(caption(scene, rng).replace(",", " ,").split())
    words = caption_words()
    assert set(words) == said
    assert len(set(words)) == len(words)
    assert words == sorted(words)

  def test_what_version_1_says(self):
    # Other words here mean other clips: raise GENERATOR_VERSION.
    assert [caption(scene) for scene in scenes_of("train", 2)] == [
      "a striped green circle vanishes "
      "while a striped yellow triangle spins, the camera is still",
      "a red circle stays still "
      "while a red triangle circles, the camera is still",
    ]
