"""Decoding: the right frame however it is reached, and every broken file.

The videos of these tests carry their frame numbers, as ten black or white
blocks that survive compression and shrinking.
"""

import gc
import os
import re

import av
import numpy as np
import pytest
from PIL import Image

from trajvit.data.decode import (
  decode_clip,
  decode_frames,
  probe,
  read_image,
  write_video,
)
from trajvit.data.example import BrokenClip
from trajvit.data.sampling import middle
from trajvit.data.video_reader import VideoReader, open_video

HEIGHT, WIDTH, BITS = 64, 80, 10


def numbered(numbers):
  """Frames [T, 64, 80, 3] that show their numbers, in 2 x 5 blocks of 1 bit."""
  bits = np.asarray(numbers)[:, None] >> np.arange(BITS) & 1
  blocks = bits.reshape(-1, 2, 5).astype(np.uint8) * 255
  grey = blocks.repeat(HEIGHT // 2, 1).repeat(WIDTH // 5, 2)
  return np.repeat(grey[..., None], 3, axis=-1)


def read_numbers(frames):
  """The inverse of `numbered`, at any size."""
  rows = [frames.shape[1] * (2 * i + 1) // 4 for i in range(2)]
  columns = [frames.shape[2] * (2 * i + 1) // 10 for i in range(5)]
  blocks = frames[:, rows][:, :, columns].mean(-1) > 128
  return (blocks.reshape(-1, BITS) @ (1 << np.arange(BITS))).tolist()


def remux(source, target, options=None, shift_seconds=0.0):
  """Copies packets into another file, without encoding anew."""
  with (
    av.open(str(source)) as old,
    av.open(str(target), "w", options=options or {}) as new,
  ):
    stream = old.streams.video[0]
    copy = new.add_stream_from_template(stream)
    shift = int(shift_seconds / stream.time_base)
    for packet in old.demux(stream):
      if packet.size:
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
        packet.stream = copy
        new.mux(packet)


def write_variable(path, times_ms, between=0):
  """A video whose frame i is shown from times_ms[i] on.

  Up to `between` frames in a row are predicted from both sides.
  """
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=1000)
    stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
    stream.options = {"bf": str(between), "b_strategy": "0"}
    for i, time in enumerate(times_ms):
      frame = av.VideoFrame.from_ndarray(numbered([i])[0], format="rgb24")
      frame.pts = time
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def video(folder):
  """A video of 120 frames with a key frame every 12."""
  path = folder / "video.mp4"
  write_video(path, numbered(range(120)), 29.97)
  return path


@pytest.mark.parametrize(
  "suffix", ["mp4", "mov", "mkv", "avi", "flv", "ts", "mpg", "h264"]
)
def test_every_frame_of_every_container(folder, suffix):
  """Also where the frame count or the timestamps are missing."""
  path = folder / f"every.{suffix}"
  write_video(path, numbered(range(60)), 25)
  info = probe(path)
  assert (info.num_frames, info.width, info.height) == (60, WIDTH, HEIGHT)
  assert info.fps == pytest.approx(25, rel=1e-3)
  assert info.duration == pytest.approx(2.4, rel=1e-3)
  frames, times = decode_frames(path, range(60))
  assert read_numbers(frames) == list(range(60))
  np.testing.assert_allclose(times, np.arange(60) / 25, atol=2e-3)
  assert times.dtype == np.float32
  for i in [0, 1, 41, 47, 48, 58, 59]:  # alone, hence sought where it is far
    assert read_numbers(decode_frames(path, [i])[0]) == [i]


def test_order_and_duplicates(video):
  indices = [119, 3, 3, 0, 64, 65, 119]
  frames, times = decode_frames(video, np.array(indices))
  assert frames.shape == (7, HEIGHT, WIDTH, 3) and frames.dtype == np.uint8
  assert read_numbers(frames) == indices
  np.testing.assert_allclose(times, np.array(indices) / 29.97, rtol=1e-5)


@pytest.mark.parametrize("key_interval", [1, 5, 12, 250])
def test_seeking_lands_on_the_right_frame(folder, key_interval):
  path = folder / f"keys{key_interval}.mp4"
  write_video(path, numbered(range(300)), 30, key_interval=key_interval)
  rng = np.random.default_rng(key_interval)
  for _ in range(12):
    indices = rng.integers(0, 300, rng.integers(1, 5))
    assert read_numbers(decode_frames(path, indices)[0]) == indices.tolist()


@pytest.fixture
def decoded(monkeypatch):
  """The indices of all frames that are decoded."""
  indices, decode = [], VideoReader._decode

  def counting(self, follows):
    shown = decode(self, follows)
    indices.append(shown and shown.index)
    return shown

  monkeypatch.setattr(VideoReader, "_decode", counting)
  return indices


def test_little_is_decoded(folder, decoded):
  path = folder / "far.mp4"
  write_video(path, numbered(range(600)), 30)
  decode_frames(path, [590])  # the first frame, and from the key frame before
  assert len(decoded) <= 2 + 2 * 12
  decoded.clear()
  frames, _ = decode_frames(path, range(20, 60))
  assert read_numbers(frames) == list(range(20, 60))
  assert decoded[-40:] == list(range(20, 60))
  assert decoded == sorted(decoded) and len(decoded) < 55


def drifting(count):
  """Frames of noise that drifts, of which a codec predicts a lot."""
  noise = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
  noise = noise.repeat(8, 0).repeat(8, 1)
  return np.stack(
    [np.roll(noise, (t, 2 * t), (0, 1))[:HEIGHT, :WIDTH] for t in range(count)]
  )


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_what_is_passed_over_changes_no_frame(folder, decoded, suffix):
  path = folder / f"drifting.{suffix}"
  write_video(path, drifting(96), 30, key_interval=30)
  everything, times = decode_frames(path, range(96))
  rng = np.random.default_rng(0)
  decoded.clear()
  for _ in range(12):
    indices = np.sort(rng.choice(96, rng.integers(1, 24), replace=False))
    frames, at = decode_frames(path, indices)
    np.testing.assert_array_equal(frames, everything[indices])
    np.testing.assert_array_equal(at, times[indices])
  assert len(decoded) < 12 * 96 * 3 / 4


def test_a_second_call_goes_on_where_the_first_ended(folder):
  path = folder / "in_pieces.mp4"
  write_video(path, drifting(60), 30)
  everything, _ = decode_frames(path, range(60))
  with open_video(path) as video:
    for first, step in (0, 5), (17, 1), (24, 3), (40, 2):
      indices = np.arange(first, first + 4 * step, step)
      np.testing.assert_array_equal(video.read(indices)[0], everything[indices])


def test_key_frames_in_between_are_gone_to(folder, decoded):
  """Also where that is not far; what is before them is not decoded."""
  path = folder / "near.mp4"
  write_video(path, numbered(range(120)), 30)
  indices = list(range(13, 120, 12))
  assert read_numbers(decode_frames(path, indices)[0]) == indices
  assert len(decoded) < 60


def test_seeking_in_vain_is_not_repeated(folder, decoded):
  """With one key frame a clip costs little more than decoding it through."""
  path = folder / "one_key.mp4"
  write_video(path, numbered(range(600)), 30, key_interval=600)
  indices = list(range(50, 600, 50))
  assert read_numbers(decode_frames(path, indices)[0]) == indices
  assert len(decoded) < 1.5 * 600


def test_variable_frame_rate_is_sampled_in_time(folder):
  """Mean rate 10 a second; index i is what is on screen at i / 10 seconds."""
  path = folder / "variable.mkv"
  write_variable(path, [0, 100, 200, 250, 300, 700, 800, 900, 950, 1000, 1100])
  info = probe(path)
  assert info.num_frames == 11
  assert info.fps == pytest.approx(10 / 1.1)
  at = [i / info.fps * 1000 for i in range(11)]
  frames, times = decode_frames(path, range(11))
  starts = np.array([0, 100, 200, 250, 300, 700, 800, 900, 950, 1000, 1100])
  # Frames within half a slot of the asked time count as on screen.
  half = 500 / info.fps
  for i, number in enumerate(read_numbers(frames)):
    assert starts[number] <= at[i] + half
    later = starts[number + 1 :]
    assert not len(later) or later[0] > at[i] - half
  np.testing.assert_allclose(
    times * 1000, starts[read_numbers(frames)], atol=0.1
  )


def test_what_stays_on_screen_is_not_passed_over(folder):
  """Nobody asks for the index at which the frame shown at 5 begins."""
  path = folder / "long.mkv"
  write_variable(path, [0, 100, 200, 300, *range(900, 1800, 100)], between=3)
  shown = read_numbers(decode_frames(path, range(13))[0])
  for i in range(13):
    assert read_numbers(decode_frames(path, [0, i])[0]) == [0, shown[i]]


def test_last_frame_that_lasts(folder):
  """A video that ends in a long still is not a truncated one."""
  path, remuxed = folder / "still.mkv", folder / "still.mp4"
  write_variable(path, [0, 100, 200, 300, 1300])
  with av.open(str(path)) as old, av.open(str(remuxed), "w") as new:
    copy = new.add_stream_from_template(old.streams.video[0])
    for packet in old.demux(old.streams.video[0]):
      if packet.size:
        packet.stream, packet.duration = copy, 1000
        new.mux(packet)
  info = probe(remuxed)
  assert info.num_frames == 5 and info.fps == pytest.approx(5 / 2.3, rel=1e-2)
  frames, _ = decode_frames(remuxed, range(5))
  assert read_numbers(frames)[-1] in (3, 4)


def test_edit_list(folder, video):
  """A video trimmed without encoding hides its first frames."""
  path = folder / "trimmed.mp4"
  options = {"avoid_negative_ts": "disabled"}
  remux(video, path, options, shift_seconds=-20 / 29.97)
  info = probe(path)
  assert info.num_frames == 100
  numbers = read_numbers(decode_frames(path, range(100))[0])
  assert numbers == list(range(20, 120))
  assert read_numbers(decode_frames(path, [99])[0]) == [119]


def test_late_start(folder, video):
  path = folder / "late.ts"
  remux(video, path, shift_seconds=100)
  frames, times = decode_frames(path, [0, 7, 119])
  assert read_numbers(frames) == [0, 7, 119]
  np.testing.assert_allclose(times, np.array([0, 7, 119]) / 29.97, atol=1e-3)


def test_title_that_is_not_utf8(folder):
  path = folder / "title.mkv"
  with av.open(str(path), "w") as container:
    container.metadata["title"] = "a plain title"
    stream = container.add_stream("libx264", rate=10)
    stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
    frame = av.VideoFrame.from_ndarray(numbered([9])[0], format="rgb24")
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
  content = path.read_bytes()
  assert b"a plain title" in content
  path.write_bytes(content.replace(b"a plain title", b"caf\xe9 \xff title"))
  assert read_numbers(decode_frames(path, [0])[0]) == [9]


def test_resize_while_decoding(video):
  small, _ = decode_frames(video, [5, 86], size=(32, 50))
  assert small.shape == (2, 32, 50, 3)
  assert read_numbers(small) == [5, 86]


def test_rotation_that_phones_note(folder, video):
  path = folder / "rotated.mp4"
  with av.open(str(video)) as old, av.open(str(path), "w") as new:
    stream = old.streams.video[0]
    copy = new.add_stream_from_template(stream)
    copy.set_display_rotation(90)
    for packet in old.demux(stream):
      if packet.size:
        packet.stream = copy
        new.mux(packet)
  info = probe(path)
  assert (info.width, info.height) == (HEIGHT, WIDTH)
  upright, _ = decode_frames(path, [77])
  plain, _ = decode_frames(video, [77])
  np.testing.assert_array_equal(upright, np.rot90(plain, axes=(1, 2)))
  assert decode_frames(path, [0], size=(20, 10))[0].shape == (1, 20, 10, 3)


@pytest.mark.parametrize("indices", [[], [-1], [0, 120]])
def test_indices_outside(video, indices):
  with pytest.raises(ValueError, match=r"one or more in \[0, 120\), got \["):
    decode_frames(video, indices)


def test_choose_sees_the_video(video):
  frames, _ = decode_clip(video, lambda info: ([info.num_frames - 1], (64, 80)))
  assert read_numbers(frames) == [119]


def _broken(call, *args):
  with pytest.raises(BrokenClip) as caught:
    call(*args)
  assert "\n" not in caught.value.reason
  assert caught.value.name == str(args[0])
  return caught.value.reason


def test_files_that_are_no_videos(tmp_path):
  path = tmp_path / "clip.mp4"
  path.write_bytes(b"")
  assert _broken(probe, path) == "the file is empty"
  path.write_text("I am a text file, not a video.\n" * 100)
  assert "Invalid data" in _broken(probe, path)
  assert "No such file" in _broken(probe, tmp_path / "none.mp4")
  assert "directory" in _broken(probe, tmp_path)


def _write_audio(path):
  with av.open(str(path), "w") as container:
    stream = container.add_stream("aac", rate=16_000, layout="mono")
    frame = av.AudioFrame.from_ndarray(
      np.zeros((1, 16_000), np.float32), format="fltp", layout="mono"
    )
    frame.sample_rate = 16_000
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def test_audio_only(tmp_path):
  path = tmp_path / "sound.mp4"
  _write_audio(path)
  assert _broken(probe, path) == "no video in it, only audio"


def test_truncated(tmp_path, video):
  """The index of an mp4 is lost with its end, unless it was moved ahead."""
  cut = tmp_path / "cut.mp4"
  cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
  assert "Invalid data" in _broken(probe, cut)

  ahead = tmp_path / "ahead.mp4"
  remux(video, ahead, {"movflags": "faststart"})
  cut.write_bytes(ahead.read_bytes()[: ahead.stat().st_size * 2 // 3])
  assert probe(cut).num_frames == 120
  assert read_numbers(decode_frames(cut, [0, 1, 30])[0]) == [0, 1, 30]
  reason = _broken(decode_frames, cut, [0, 119])
  assert re.match(
    r"frame 119 of 120 is missing, the last one decoded is", reason
  )


def test_no_byte_cut_off_yields_a_wrong_frame(tmp_path, video):
  """Cut anywhere: the frames are the right ones, or the clip is broken."""
  ahead, cut = tmp_path / "ahead.mp4", tmp_path / "cut.mp4"
  remux(video, ahead, {"movflags": "faststart"})
  content = ahead.read_bytes()
  outcomes = set()
  for size in np.linspace(0, len(content), 40).astype(int):
    cut.write_bytes(content[:size])
    for indices in [10], [40, 100]:
      try:
        frames, _ = decode_frames(cut, indices)
      except BrokenClip:
        outcomes.add("broken")
      else:
        outcomes.add("right")
        assert read_numbers(frames) == indices
  assert outcomes == {"broken", "right"}


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
def test_damage_of_any_kind_is_a_broken_clip(tmp_path, suffix):
  """Random bytes overwritten: frames, or BrokenClip, and no other error."""
  path = tmp_path / f"whole.{suffix}"
  write_video(path, numbered(range(60)), 25)
  whole, rng = path.read_bytes(), np.random.default_rng(0)
  outcomes = set()
  for i in range(80):
    content = bytearray(whole)
    start = 0 if i % 2 else max(0, len(whole) - 2500)  # mp4: index at the end
    for place in rng.integers(start, len(whole), rng.integers(1, 12)):
      content[place] = rng.integers(256)
    path.write_bytes(content)
    try:
      decode_clip(path, lambda info: (middle(info.num_frames, 8), (64, 80)))
      outcomes.add("frames")
    except BrokenClip as error:
      outcomes.add("broken")
      assert error.reason and "\n" not in error.reason
  assert outcomes == {"frames", "broken"}


def test_damaged_frames_are_not_patched_up(tmp_path, video):
  """A decoder fills in what it cannot read; such a frame is not shown."""
  path, content = tmp_path / "damaged.mp4", video.read_bytes()
  reasons = []
  for place in range(1000, len(content) - 4000, 100):
    flipped = bytes([content[place] ^ 0x55])
    path.write_bytes(content[:place] + flipped + content[place + 1 :])
    try:
      decode_frames(path, range(120))
    except BrokenClip as error:
      reasons.append(error.reason)
  assert any(re.fullmatch(r"frame \d+ is damaged", r) for r in reasons)


def test_damage_spreads_up_to_the_next_key_frame(tmp_path, video):
  """Frames predicted from a patched-up one are not shown, nor is it itself."""
  with av.open(str(video)) as container:
    keys = [i for i, f in enumerate(container.decode(video=0)) if f.key_frame]
  path, content = tmp_path / "damaged.mp4", video.read_bytes()
  whole, _ = decode_frames(video, range(120))
  spread = 0
  for place in range(1000, len(content) - 4000, 100):
    flipped = bytes([content[place] ^ 0x55])
    path.write_bytes(content[:place] + flipped + content[place + 1 :])
    try:
      decode_frames(path, range(120))
      continue
    except BrokenClip as error:
      found = re.fullmatch(r"frame (\d+) is damaged", error.reason)
    if not found:
      continue
    damaged = int(found[1])
    key = min((k for k in keys if k > damaged), default=120)
    if key > damaged + 1:
      try:
        frames, _ = decode_frames(path, [key - 1])
      except BrokenClip as error:
        assert error.reason == found[0]
        spread += 1
      else:  # nothing is predicted from the damaged frame
        np.testing.assert_array_equal(frames[0], whole[key - 1])
    if key < 120:
      assert read_numbers(decode_frames(path, [key])[0]) == [key]
  assert spread


def _open_files():
  return len(os.listdir("/proc/self/fd"))


def _opens(video, broken, times):
  """How many more files are open after opening good and bad ones."""
  gc.disable()  # closing must not wait for the garbage collector
  try:
    before = _open_files()
    for i in range(times):
      if i % 4:
        decode_frames(video, [i % 60])
      else:
        with pytest.raises(BrokenClip):
          decode_frames(broken, [0])
    return _open_files() - before
  finally:
    gc.enable()


@pytest.fixture
def text_file(tmp_path):
  path = tmp_path / "text.mp4"
  path.write_text("not a video" * 50)
  return path


needs_proc = pytest.mark.skipif(
  not os.path.isdir("/proc/self/fd"), reason="counts files through /proc"
)


@needs_proc
def test_no_file_stays_open(video, text_file):
  assert _opens(video, text_file, 200) == 0


@needs_proc
@pytest.mark.slow
def test_no_file_stays_open_after_ten_thousand(video, text_file):
  assert _opens(video, text_file, 10_000) == 0


@pytest.mark.parametrize(
  ("shape", "dtype", "message"),
  [
    ((2, 5, 4, 3), np.uint8, "even height and width, got 2 of 5 x 4"),
    ((2, 4, 5, 3), np.uint8, "even height and width, got 2 of 4 x 5"),
    ((0, 4, 4, 3), np.uint8, "at least one, of even height and width, got 0"),
    ((2, 4, 4, 1), np.uint8, r"[T, H, W, 3] uint8, got uint8 (2, 4, 4, 1)"),
    ((2, 4, 4, 3), np.float32, r"[T, H, W, 3] uint8, got float32"),
  ],
)
def test_write_video_refuses(tmp_path, shape, dtype, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    write_video(tmp_path / "x.mp4", np.zeros(shape, dtype), 10)


def test_write_one_frame(tmp_path):
  path = tmp_path / "one.mp4"
  write_video(path, numbered([5]), 0.5)
  info = probe(path)
  assert (info.num_frames, info.fps, info.duration) == (1, 0.5, 2.0)
  assert read_numbers(decode_frames(path, [0, 0])[0]) == [5, 5]


def test_equal_frames_give_equal_files(tmp_path):
  contents = set()
  for i in range(20):
    path = tmp_path / f"{i}.mp4"
    write_video(path, numbered(range(10)), 10)
    contents.add(path.read_bytes())
  assert len(contents) == 1


def test_colours_survive(tmp_path):
  path = tmp_path / "colours.mp4"
  colour = np.array([200, 60, 30], np.uint8)
  write_video(path, np.broadcast_to(colour, (3, 32, 48, 3)), 10)
  frames, _ = decode_frames(path, [1])
  assert np.abs(frames.astype(int) - colour).max() < 12


def test_read_image(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
  path = tmp_path / "a.png"
  Image.fromarray(pixels).save(path)
  np.testing.assert_array_equal(read_image(path), pixels)
  Image.fromarray(pixels[..., 0]).save(path)  # grey
  np.testing.assert_array_equal(read_image(path), pixels[..., :1].repeat(3, -1))
  exif = Image.Exif()
  exif[274] = 6  # orientation: turn a quarter clockwise to show
  Image.fromarray(pixels).save(path, exif=exif)
  np.testing.assert_array_equal(read_image(path), np.rot90(pixels, -1))


def test_broken_images(tmp_path):
  path = tmp_path / "a.png"
  assert "No such file" in _broken(read_image, path)
  path.write_text("not an image")
  assert "cannot identify image file" in _broken(read_image, path)
  Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(path)
  path.write_bytes(path.read_bytes()[:60])
  assert _broken(read_image, path)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("key_interval", [30, 1000])
def test_a_transport_stream_is_decoded_on(
  tmp_path, monkeypatch, codec, key_interval
):
  """A seek in one would miss frames, or find another without a word."""
  monkeypatch.setattr("trajvit.data.decode._ENCODERS", (codec,))
  path = tmp_path / "a.ts"
  write_video(path, numbered(range(150)), 25, key_interval=key_interval)
  for indices in ([0, 60, 149], [100], [3, 47, 48, 120]):
    frames, _ = decode_frames(path, indices)
    assert read_numbers(frames) == indices
