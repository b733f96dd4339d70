"""TFDS data sets: built from benchmarks, and read, without TensorFlow."""

import io
import json
import pickle
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st
from packing_clips import (
  FPS,
  SPEC,
  assert_same,
  examples,
  grey_film,
  grey_numbers,
)
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from trajvit.data.benchmarks.source import BenchmarkFiles
from trajvit.data.decode import write_video
from trajvit.data.example import BrokenClip
from trajvit.data.formats import TfdsClips, tfds_builders
from trajvit.data.sampling import middle


class MsrVtt(tfds_builders.MsrVtt, skip_registration=True):
  counts = False


class Ucf101(tfds_builders.Ucf101, skip_registration=True):
  counts = False


def _text(root, name, content):
  path = root / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(content)


def _msrvtt(root):
  """A copy of MSR-VTT: two clips to train on, one to test."""
  names = ["video1", "video2", "video9770"]
  sentences = [
    {"video_id": name, "caption": f"{word} ü {name}"}
    for name in names
    for word in ("one", "two")
  ]
  videos = [{"video_id": name, "split": "train"} for name in names]
  data = json.dumps({"videos": videos, "sentences": sentences})
  _text(root, "msrvtt_data/MSRVTT_data.json", data)
  _text(root, "msrvtt_data/MSRVTT_train.9k.csv", "video_id\nvideo2\nvideo1\n")
  test = "key,vid_key,video_id,sentence\nret0,msr9770,video9770,a dog\n"
  _text(root, "msrvtt_data/MSRVTT_JSFUSION_test.csv", test)
  for i, name in enumerate(names):
    (root / "videos").mkdir(exist_ok=True)
    write_video(root / "videos" / f"{name}.mp4", grey_film(4 + 4 * i), FPS)


def _ucf101(root):
  """A copy of UCF101: two classes of its 101."""
  lists = root / "ucfTrainTestlist"
  _text(lists, "classInd.txt", "1 ApplyLipstick\n2 Archery\n")
  train = "Archery/v_Archery_g01_c01.avi 2\n"
  train += "ApplyLipstick/v_ApplyLipstick_g01_c01.avi 1\n"
  _text(lists, "trainlist01.txt", train)
  _text(lists, "testlist01.txt", "Archery/v_Archery_g02_c01.avi\n")
  for name in "Archery_g01", "ApplyLipstick_g01", "Archery_g02":
    folder = root / "UCF-101" / name.partition("_")[0]
    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / f"v_{name}_c01.avi", grey_film(8), FPS)


@pytest.mark.parametrize(
  ("builder", "name", "write", "train", "test"),
  [
    (MsrVtt, "msrvtt", _msrvtt, "train_9k", "test_1k_a"),
    (Ucf101, "ucf101", _ucf101, "train_1", "test_1"),
  ],
)
def test_what_tfds_builds_are_the_clips_of_the_benchmark(
  tmp_path, builder, name, write, train, test
):
  root = tmp_path / "released"
  write(root)
  built = builder(data_dir=str(tmp_path / "built"), file_format="array_record")
  built.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=str(root))
  )
  for split, count in (train, 2), (test, 1):
    source = TfdsClips(
      clip=SPEC,
      root=built.data_dir,
      split=split,
      video="video",
      caption="captions" if name == "msrvtt" else "",
      tracks="none",
    )
    plain = BenchmarkFiles(
      clip=SPEC,
      benchmark=name,
      root=str(root),
      split=split,
      tracks="none",
      counts=False,
    )
    assert len(source) == len(plain) == count
    for i in range(count):
      one, two = source.example(i, None), plain.example(i, None)
      np.testing.assert_array_equal(one.frames, two.frames)
      assert (one.captions, one.label) == (two.captions, two.label)
    # TFDS reads the same out of what it has written.
    data = tfds.builder_from_directory(built.data_dir).as_data_source(split)
    for i in range(count):
      assert data[i]["video"] == source.stored(i).media.data
  assert "tensorflow" not in sys.modules


def test_a_file_that_is_missing_ends_a_build(tmp_path):
  root = tmp_path / "released"
  _ucf101(root)
  next((root / "UCF-101").rglob("*g02*")).unlink()
  built = Ucf101(data_dir=str(tmp_path / "b"), file_format="array_record")
  with pytest.raises(FileNotFoundError, match="v_Archery_g02_c01.avi"):
    list(built._generate_examples(root, "test_1"))


def test_the_published_builders_check_the_counts(tmp_path):
  _ucf101(tmp_path)
  for builder in tfds_builders.Ucf101, tfds_builders.MsrVtt:
    assert builder.counts
  built = tfds_builders.Ucf101(data_dir=str(tmp_path / "built"))
  with pytest.raises(ValueError, match="Ucf101"):
    list(built._generate_examples(tmp_path, "test_1"))


# Data sets of others, written by hand.

_PYTHON = "tensorflow_datasets.core.features."
FEATURES = {
  "clip": {"pythonClassName": f"{_PYTHON}video_feature.Video", "video": {}},
  "still": {"pythonClassName": f"{_PYTHON}image_feature.Image", "image": {}},
  "pixels": {
    "pythonClassName": f"{_PYTHON}tensor_feature.Tensor",
    "tensor": {
      "dtype": "uint8",
      "encoding": "none",
      "shape": {"dimensions": ["-1", "8", "8", "3"]},
    },
  },
  "file": {
    "pythonClassName": f"{_PYTHON}tensor_feature.Tensor",
    "tensor": {"dtype": "string", "shape": {}, "encoding": "none"},
  },
  "said": {
    "pythonClassName": f"{_PYTHON}sequence_feature.Sequence",
    "sequence": {
      "feature": {
        "featuresDict": {
          "features": {
            "text": {"pythonClassName": f"{_PYTHON}text_feature.Text"}
          }
        }
      }
    },
  },
  "class": {"pythonClassName": f"{_PYTHON}class_label_feature.ClassLabel"},
  "score": {
    "pythonClassName": f"{_PYTHON}tensor_feature.Tensor",
    "tensor": {"dtype": "float32", "shape": {}, "encoding": "none"},
  },
}


def _png(frame):
  file = io.BytesIO()
  Image.fromarray(frame).save(file, "PNG")
  return file.getvalue()


def _example(file=b"", **extra):
  """A tf.Example of all features."""
  frames = grey_film(6, side=8)
  example = tf_example_pb2.Example()
  feature = example.features.feature
  feature["clip"].bytes_list.value.extend(map(_png, frames))
  feature["still"].bytes_list.value.append(_png(frames[3]))
  feature["pixels"].int64_list.value.extend(frames.ravel().tolist())
  feature["file"].bytes_list.value.append(file)
  feature["said/text"].bytes_list.value.extend(
    [b"one", b" ", "zwei ü".encode()]
  )
  feature["class"].int64_list.value.append(4)
  for key, values in extra.items():
    feature[key].Clear()
    feature[key].int64_list.value.extend(values)
  return example.SerializeToString()


def _write(folder, records, features=FEATURES, info=None):
  """Writes a data set of one shard."""
  folder.mkdir(parents=True, exist_ok=True)
  name = "toys-train.array_record-00000-of-00001"
  writer = array_record_module.ArrayRecordWriter(
    str(folder / name), "group_size:1"
  )
  for record in records:
    writer.write(record)
  writer.close()
  split = {"name": "train", "shardLengths": [str(len(records))]}
  info = {
    "name": "toys",
    "version": "1.0.0",
    "fileFormat": "array_record",
    "splits": [split],
    **(info or {}),
  }
  (folder / "dataset_info.json").write_text(json.dumps(info))
  described = {"featuresDict": {"features": features}}
  (folder / "features.json").write_text(json.dumps(described))
  return folder


def _source(folder, **kwargs):
  kwargs = {"clip": SPEC, "split": "train", "tracks": "none", **kwargs}
  return TfdsClips(root=str(folder), **kwargs)


def test_every_kind_of_clip(tmp_path):
  write_video(tmp_path / "v.mp4", grey_film(6), FPS)
  file = (tmp_path / "v.mp4").read_bytes()
  _write(tmp_path, [_example(file), _example(file)])
  for name in "clip", "pixels", "file":
    fps = None if name == "file" else FPS
    example = _source(tmp_path, video=name, fps=fps).example(1, None)
    assert grey_numbers(example.frames) == middle(6, 4).tolist()
    np.testing.assert_allclose(
      example.times * FPS, grey_numbers(example.frames), atol=1e-5
    )
    assert example.captions == ("one", "zwei ü")
    assert (example.label, example.clip_id) == (4, 1)
  source = _source(tmp_path, image="still", caption="", label="")
  example = source.example(0, None)
  assert grey_numbers(example.frames) == [3] * 4
  assert example.captions == () and example.label == -1
  assert not source.has_captions and source.stored(0).is_image


def test_a_tfds_source_goes_to_other_processes(tmp_path):
  _write(tmp_path, [_example()] * 2)
  source = _source(tmp_path, video="clip", fps=2)
  other = pickle.loads(pickle.dumps(source))
  for one, two in zip(examples(source), examples(other), strict=True):
    assert_same(one, two)
  assert (
    repr(source) == repr(other) == repr(_source(tmp_path, video="clip", fps=2))
  )
  prints = {
    source.fingerprint(),
    _source(tmp_path, image="still").fingerprint(),
  }
  prints.add(_source(tmp_path, video="clip", fps=3).fingerprint())
  assert len(prints) == 3


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    ({}, "video or image to be one of the features clip, file, pixels, still"),
    ({"video": "score"}, "got 'score'; there are class .label., clip .images."),
    ({"video": "clip", "image": "still"}, "video or image, got both"),
    ({"video": "clip"}, "'clip' is frames, which need fps, got None"),
    ({"video": "clip", "fps": 0}, "need fps, got 0"),
    ({"video": "file", "fps": 2}, "'file' is a file with its own fps"),
    (
      {"video": "file", "caption": "class"},
      "caption to be one of .* said/text",
    ),
    ({"video": "file", "split": "test"}, "one of the splits train, got 'test'"),
    ({"video": "file", "tracks": "all"}, "tracks must be one of"),
  ],
)
def test_features_among_which_to_choose(tmp_path, kwargs, message):
  _write(tmp_path, [_example()])
  with pytest.raises(ValueError, match=message):
    _source(tmp_path, **kwargs)


def test_the_only_feature_of_a_kind_is_taken(tmp_path):
  some = {key: FEATURES[key] for key in ("class", "still", "said")}
  _write(tmp_path, [_example()], features=some)
  example = _source(tmp_path).example(0, None)
  assert example.label == 4 and example.captions == ("one", "zwei ü")
  _write(tmp_path, [_example()], features={"class": FEATURES["class"]})
  with pytest.raises(ValueError, match="a video or an image, there are class"):
    _source(tmp_path)


@pytest.mark.parametrize(
  ("record", "message"),
  [
    (b"\xff\xff no example", "expected a tf.Example"),
    (b"", "no 'clip' in it"),
    (_example(clip=[3]), "expected 'clip' to be bytes_list, got int64_list"),
    (_example(**{"class": [1, 2]}), "expected one label from -1 up"),
    (_example(**{"class": [-5]}), "expected one label from -1 up"),
  ],
)
def test_records_that_are_no_clips(tmp_path, record, message):
  _write(tmp_path, [record])
  with pytest.raises(BrokenClip, match=message) as broken:
    _source(tmp_path, video="clip", fps=1).example(0, None)
  assert broken.value.name.endswith("-00000-of-00001, record 0")


@pytest.mark.parametrize("values", [[1] * 191, [], [256] * 192, [-1] * 192])
def test_pixels_that_are_no_frames(tmp_path, values):
  _write(tmp_path, [_example(pixels=values)])
  with pytest.raises(BrokenClip, match="frames"):
    _source(tmp_path, video="pixels", fps=1).example(0, None)


@pytest.mark.parametrize(
  ("info", "message"),
  [
    ({"fileFormat": "tfrecord"}, "array_record shards, got 'tfrecord'"),
    ({"splits": 3}, "a list of splits"),
    ({"splits": [3]}, "an object a split"),
    ({"name": "../../etc/passwd"}, "a plain file name"),
    (
      {"splits": [{"name": "train", "shardLengths": ["-1"]}]},
      "numbers from 0 up",
    ),
    (
      {"splits": [{"name": "train", "shardLengths": ["1"] * 2}]},
      "00000-of-00002: expected this shard",
    ),
    (
      {"splits": [{"name": "train", "shardLengths": ["0"]}]},
      "at least one clip",
    ),
    (
      {
        "splits": [
          {
            "name": "train",
            "shardLengths": ["1"],
            "filepathTemplate": "/etc/{SPLIT}",
          }
        ]
      },
      "a plain file name, got '/etc/train'",
    ),
  ],
)
def test_a_data_set_that_cannot_be(tmp_path, info, message):
  _write(tmp_path, [_example()], info=info)
  with pytest.raises(ValueError, match=message) as error:
    _source(tmp_path, image="still")
  assert str(error.value).startswith(str(tmp_path))


_JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | st.text(max_size=9),
  lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(
      st.sampled_from(
        ["featuresDict", "sequence", "feature", "tensor", "shape"]
      ),
      inner,
    )
  ),
  max_leaves=6,
)


@fuzz(60)
@given(st.sampled_from(sorted(FEATURES)), _JSON)
def test_any_features_are_read_or_refused(tmp_path, key, value):
  if not (tmp_path / "features.json").exists():
    _write(tmp_path, [_example()])
  described = {"featuresDict": {"features": {**FEATURES, key: value}}}
  (tmp_path / "features.json").write_text(json.dumps(described))
  try:
    _source(tmp_path, video="clip", fps=1).example(0, None)
  except ValueError as error:
    assert str(error).startswith(str(tmp_path))
