"""Pixels and owners agree with the scene, in the terms of the caption."""

import dataclasses

import numpy as np
import pytest

from trajvit.data.synthetic import vocabulary
from trajvit.data.synthetic.motion import camera_view, sprite_path
from trajvit.data.synthetic.render import (
  NOISE,
  WORLD,
  contains,
  is_dark,
  render,
)
from trajvit.data.synthetic.scene import (
  NUM_REGIONS,
  Camera,
  Look,
  Motion,
  Sprite,
)
from trajvit.data.synthetic.splits import SplitScenes
from trajvit.data.synthetic.texture import NUM_TEXTURES, texture_bank

FRAMES, SIZE = 8, 48
LOOK = Look("plain", "red", "square", True, 0.0, 0.0, 0.14, 0.0, 1.0)
STILL = Camera("is still")


def scene_of(*sprites, camera=STILL):
  base = SplitScenes("static", 1, 0)[0]
  return dataclasses.replace(base, sprites=sprites, camera=camera)


def one_sprite(motion_name, camera=STILL, **motion):
  """Returns owner masks [T, S, S] of a sprite alone before the background."""
  sprite = Sprite(LOOK, Motion(motion_name, **motion))
  _, owners = render(scene_of(sprite, camera=camera), FRAMES, SIZE)
  return owners == NUM_REGIONS


def centroids(masks):
  """Returns the mean row and the mean column of every frame."""
  rows, columns = np.indices(masks.shape[1:])
  return np.array([(rows[m].mean(), columns[m].mean()) for m in masks]).T


class TestMotions:
  @pytest.mark.parametrize("eased", [False, True])
  @pytest.mark.parametrize(
    "name, row, column",
    [
      ("moves left", 0, -1),
      ("moves right", 0, 1),
      ("moves up", -1, 0),
      ("moves down", 1, 0),
    ],
  )
  def test_moves(self, name, row, column, eased):
    masks = one_sprite(name, eased=eased, distance=0.5)
    steps = np.diff(centroids(masks), axis=1)
    for got, sign in zip(steps, (row, column), strict=True):
      if sign:
        assert (sign * got > 0).all()
        assert got.sum() == pytest.approx(sign * 0.5 * SIZE, abs=1)
      else:
        assert np.abs(got).max() < 0.5

  def test_eased_motion_starts_slowly(self):
    even = centroids(one_sprite("moves right"))[1]
    eased = centroids(one_sprite("moves right", eased=True))[1]
    assert eased[1] - eased[0] < 0.6 * (even[1] - even[0])

  @pytest.mark.parametrize("name, sign", [("grows", 1), ("shrinks", -1)])
  def test_grows_and_shrinks(self, name, sign):
    area = one_sprite(name).sum((1, 2))
    assert (sign * np.diff(area) >= 0).all()
    # Radii 0.55 and 1.55 of the middle one: areas 1 to 7.9.
    assert max(area[0], area[-1]) > 5 * min(area[0], area[-1])

  def test_spins_on_the_spot(self):
    masks = one_sprite("spins", turn=np.pi / 2)
    assert np.ptp(centroids(masks), axis=1).max() < 1
    # After an eighth of a turn, a square stands on its corner.
    widths = masks.any(1).sum(1)
    assert widths[FRAMES // 2] > widths[0] * 1.25
    path = sprite_path(
      Sprite(LOOK, Motion("spins", turn=4.0)), np.linspace(0, 1, FRAMES)
    )
    assert path.angle[-1] - path.angle[0] == pytest.approx(4.0)

  def test_bounces_up_and_down_again(self):
    rows, columns = centroids(one_sprite("bounces"))
    assert np.ptp(columns) < 0.5
    assert np.ptp(rows) > 0.15 * SIZE
    turns = np.diff(np.sign(np.diff(rows)))
    assert np.count_nonzero(turns) >= 2

  def test_circles_at_a_constant_distance(self):
    rows, columns = centroids(one_sprite("circles"))
    middle = (SIZE - 1) / 2
    radius = np.hypot(rows - middle, columns - middle)
    np.testing.assert_allclose(radius, 0.17 * SIZE, atol=0.7)
    angle = np.unwrap(np.arctan2(rows - middle, columns - middle))
    assert angle[-1] - angle[0] == pytest.approx(2.2 * np.pi, abs=0.2)

  def test_circles_either_way(self):
    there = centroids(one_sprite("circles", turn=1.0))
    back = centroids(one_sprite("circles", turn=-1.0))
    np.testing.assert_allclose(back[0] - 23.5, 23.5 - there[0], atol=0.7)

  def test_appears_and_vanishes_once(self):
    appears = one_sprite("appears", moment=0.4).any((1, 2))
    vanishes = one_sprite("vanishes", moment=0.4).any((1, 2))
    assert not appears[0] and appears[-1]
    assert vanishes[0] and not vanishes[-1]
    np.testing.assert_array_equal(appears, ~vanishes)
    assert np.count_nonzero(np.diff(appears.astype(int))) == 1

  def test_stays_still(self):
    masks = one_sprite("stays still")
    assert (masks == masks[0]).all() and masks.any()

  def test_every_motion_differs_from_staying_still(self):
    still = one_sprite("stays still")
    for name in vocabulary.MOTIONS[:-1]:
      assert (one_sprite(name) != still).any(), name

  def test_two_frames_are_enough(self):
    for name in vocabulary.MOTIONS:
      sprite = Sprite(LOOK, Motion(name))
      pixels, _ = render(scene_of(sprite), 2, 32)
      assert pixels.shape == (2, 32, 32, 3)


class TestCameras:
  @pytest.mark.parametrize(
    "name, row, column",
    [
      ("pans left", 0, 1),
      ("pans right", 0, -1),
      ("tilts up", 1, 0),
      ("tilts down", -1, 0),
    ],
  )
  def test_the_world_goes_the_other_way(self, name, row, column):
    masks = one_sprite("stays still", camera=Camera(name))
    moved = centroids(masks)[:, -1] - centroids(masks)[:, 0]
    expected = np.array([row, column]) * 0.3 * SIZE
    np.testing.assert_allclose(moved, expected, atol=1)

  @pytest.mark.parametrize("name, sign", [("zooms in", 1), ("zooms out", -1)])
  def test_zooms(self, name, sign):
    area = one_sprite("stays still", camera=Camera(name)).sum((1, 2))
    assert (sign * np.diff(area) >= 0).all()
    assert sign * (area[-1] - area[0]) > 0.5 * min(area[0], area[-1])

  def test_shakes_by_its_seed(self):
    def shaken(seed):
      return one_sprite("stays still", camera=Camera("shakes", seed=seed))

    rows, columns = centroids(shaken(1))
    assert np.ptp(rows) > 1 and np.ptp(columns) > 1
    assert (shaken(1) == shaken(1)).all()
    assert (shaken(1) != shaken(2)).any()

  @pytest.mark.parametrize("name", vocabulary.MOVING_CAMERAS)
  def test_background_and_sprites_move_together(self, name):
    view = camera_view(Camera(name, seed=5), np.linspace(0, 1, 4))
    scene = scene_of(
      Sprite(LOOK, Motion("stays still")), camera=Camera(name, seed=5)
    )
    _, owners = render(scene, 4, 64)
    _, still = render(dataclasses.replace(scene, camera=STILL), 4, 64)
    for t in range(4):
      # The pixel that shows what the still camera shows at (row, column).
      row, column = np.indices((64, 64))
      y = ((row + 0.5) / 64 - 0.5 - view.y[t]) * view.zoom[t]
      x = ((column + 0.5) / 64 - 0.5 - view.x[t]) * view.zoom[t]
      seen = (abs(x) < 0.5) & (abs(y) < 0.5)
      i = np.floor((y[seen] + 0.5) * 64).astype(int)
      j = np.floor((x[seen] + 0.5) * 64).astype(int)
      assert (owners[t][i, j] == still[t][seen]).mean() > 0.95

  def test_no_camera_leaves_the_world(self):
    time = np.linspace(0, 1, 16)
    for name in (vocabulary.STILL_CAMERA, *vocabulary.MOVING_CAMERAS):
      for seed in range(20):
        view = camera_view(Camera(name, distance=0.4, seed=seed), time)
        reach = np.maximum(abs(view.x), abs(view.y)) + 0.5 / view.zoom
        assert reach.max() < WORLD / 2


class TestOwners:
  def test_equal_a_loop_over_pixels(self):
    frames, size = 3, 32
    for index in range(4):
      scene = SplitScenes("moving", 4, 0)[index]
      time = np.linspace(0, 1, frames)
      view = camera_view(scene.camera, time)
      paths = [sprite_path(sprite, time) for sprite in scene.sprites]
      _, owners = render(scene, frames, size)
      expected = np.zeros_like(owners)
      for t, i, j in np.ndindex(frames, size, size):
        y = ((i + 0.5) / size - 0.5) / view.zoom[t] + view.y[t]
        x = ((j + 0.5) / size - 0.5) / view.zoom[t] + view.x[t]
        sites = [
          np.hypot(x / WORLD + 0.5 - r.x, y / WORLD + 0.5 - r.y)
          for r in scene.regions
        ]
        owner = int(np.argmin(sites))
        for k, path in reversed(list(enumerate(paths))):
          turned = complex(x - path.x[t], y - path.y[t]) / path.radius[t]
          turned *= np.exp(-1j * path.angle[t])
          shape = scene.sprites[k].look.shape
          if path.visible[t] and contains(shape, turned.real, turned.imag):
            owner = NUM_REGIONS + k
        expected[t, i, j] = owner
      # The background is rasterised first: its borders are a pixel unsharp.
      sprites = (owners >= NUM_REGIONS) | (expected >= NUM_REGIONS)
      assert (owners == expected)[sprites].mean() > 0.999
      assert (owners == expected).mean() > 0.97

  def test_the_first_sprite_is_in_front(self):
    back = dataclasses.replace(LOOK, radius=0.3, color="blue")
    front, back = (Sprite(look, Motion("stays still")) for look in (LOOK, back))
    pixels, owners = render(scene_of(front, back), 2, SIZE)
    middle = (slice(None), SIZE // 2, SIZE // 2)
    assert (owners[middle] == NUM_REGIONS).all()
    assert (pixels[middle][:, 0] > 150).all()
    pixels, owners = render(scene_of(back, front), 2, SIZE)
    assert (owners[middle] == NUM_REGIONS).all()
    assert not (owners == NUM_REGIONS + 1).any()
    assert (pixels[middle][:, 2] > 150).all()

  def test_an_owner_is_the_same_thing_in_every_frame(self):
    scene = SplitScenes("moving", 1, 0)[0]
    frames = 6
    pixels, owners = render(scene, frames, SIZE)
    for k, sprite in enumerate(scene.sprites):
      color = np.array(vocabulary.COLORS[sprite.look.color])
      bright = np.clip(color * sprite.look.brightness, 0, 255)
      for t in range(frames):
        shown = pixels[t][owners[t] == NUM_REGIONS + k].astype(int)
        near = np.abs(shown[:, None] - [bright, bright / 4]).max(2).min(1)
        assert (near <= NOISE + 1).all()

  def test_the_background_of_a_still_camera_stays(self):
    scene = scene_of()
    pixels, owners = render(scene, 4, SIZE)
    assert (owners == owners[0]).all()
    assert np.ptp(pixels.astype(int), axis=0).max() <= 2 * NOISE
    assert (pixels[0] != pixels[1]).any()  # noise

  def test_noise_is_all_that_its_seed_changes(self):
    scene = SplitScenes("static", 1, 0)[0]
    other = dataclasses.replace(scene, noise_seed=scene.noise_seed + 1)
    (a, owners), (b, same) = render(scene, 4, SIZE), render(other, 4, SIZE)
    np.testing.assert_array_equal(owners, same)
    assert 0 < np.abs(a.astype(int) - b).max() <= 2 * NOISE

  def test_a_scene_is_the_same_at_any_size(self):
    scene = SplitScenes("moving", 1, 0)[0]
    _, small = render(scene, 4, 48)
    _, large = render(scene, 4, 144)
    assert (large[:, 1::3, 1::3] == small).mean() > 0.97


class TestShapesAndPatterns:
  def grid(self):
    axis = np.linspace(-1.3, 1.3, 261)
    return np.meshgrid(axis, axis)

  @pytest.mark.parametrize("shape", vocabulary.SHAPES)
  def test_shapes_are_about_the_unit_circle_and_mirror(self, shape):
    u, v = self.grid()
    inside = contains(shape, u, v)
    np.testing.assert_array_equal(inside, contains(shape, -u, v))
    area = inside.mean() * 2.6**2
    assert 1.0 < area < 3.2
    assert not inside[[0, -1]].any() and not inside[:, [0, -1]].any()
    assert contains(shape, np.zeros(1), np.zeros(1)).all()

  def test_shapes_differ(self):
    u, v = self.grid()
    masks = [contains(shape, u, v) for shape in vocabulary.SHAPES]
    for i, a in enumerate(masks):
      for b in masks[:i]:
        assert (a != b).sum() > 0.15 * a.sum()

  def test_a_star_has_five_points_one_of_them_up(self):
    assert contains("star", np.array(0.0), np.array(-1.0))
    u, v = self.grid()
    turned = (u + 1j * v) * np.exp(2j * np.pi / 5)
    same = contains("star", u, v) == contains("star", turned.real, turned.imag)
    assert same.mean() > 0.999
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    ring = contains("star", 0.8 * np.sin(angle), -0.8 * np.cos(angle))
    assert np.count_nonzero(ring & ~np.roll(ring, 1)) == 5

  def test_patterns(self):
    u, v = self.grid()
    assert not is_dark("plain", u, v).any()
    striped = is_dark("striped", u, v)
    assert (striped == striped[0]).all() and 0.3 < striped.mean() < 0.7
    dotted = is_dark("dotted", u, v)
    assert 0.1 < dotted.mean() < 0.5
    assert not (dotted == dotted[0]).all()

  def test_unknown_names_are_errors(self):
    zero, time = np.zeros(1), np.linspace(0, 1, 2)
    with pytest.raises(ValueError, match="unknown shape 'heart'"):
      contains("heart", zero, zero)
    with pytest.raises(ValueError, match="unknown pattern 'tartan'"):
      is_dark("tartan", zero, zero)
    with pytest.raises(ValueError, match="unknown motion 'sings'"):
      sprite_path(Sprite(LOOK, Motion("sings")), time)
    with pytest.raises(ValueError, match="unknown camera 'sleeps'"):
      camera_view(Camera("sleeps"), time)


class TestTextures:
  def test_use_the_full_range_and_differ(self):
    bank = texture_bank(64)
    assert bank.shape == (NUM_TEXTURES, 64, 64) and bank.dtype == np.uint8
    assert (bank.min((1, 2)) == 0).all() and (bank.max((1, 2)) == 255).all()
    assert len({texture.tobytes() for texture in bank}) == NUM_TEXTURES

  def test_tile(self):
    for texture in texture_bank(256).astype(int):
      for axis in (0, 1):
        inside = np.abs(np.diff(texture, axis=axis)).max()
        first, last = texture.take(0, axis), texture.take(-1, axis)
        assert np.abs(first - last).max() <= inside

  def test_are_the_same_at_any_resolution(self):
    fine = texture_bank(256)[:, ::2, ::2].astype(int)
    error = np.abs(texture_bank(128) - fine).mean((1, 2))
    assert error.max() < 8

  def test_are_read_only(self):
    with pytest.raises(ValueError, match="read-only"):
      texture_bank(64)[0] = 0
