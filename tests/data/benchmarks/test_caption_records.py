"""Captioned data sets, one by one: the right words at the right clip."""

import json
import re

import pytest
from benchmark_layouts import (
  LAYOUTS,
  LSMDC_CLIP,
  annotation_files,
  listing,
  records,
)

from trajvit.data.manifest import Record


def test_msrvtt(tmp_path):
  videos = tmp_path / "videos"
  assert records("msrvtt", tmp_path, "test_1k_a") == [
    Record(f"{videos}/all/video9770.webm", False, ("a dog, wet, shakes",)),
    Record(f"{videos}/all/video9771.mp4", False, ("a plug is pulled",)),
  ]
  full = listing("msrvtt", tmp_path, "test_full").records
  assert [x.captions for x in full] == [
    (f"first of {clip}", f"second of {clip}")
    for clip in ("video7010", "video9770")
  ]
  train = listing("msrvtt", tmp_path, "train_9k").records
  assert [x.path for x in train] == [
    f"{videos}/video7010.mp4",  # it is not there
    f"{videos}/all/video0.mp4",
  ]


def test_msrvtt_in_the_folder_of_clip4clip(tmp_path):
  LAYOUTS["msrvtt"][0](tmp_path)
  (tmp_path / "videos").rename(tmp_path / "MSRVTT_Videos")
  first, _ = listing("msrvtt", tmp_path, "test_1k_a").records
  assert first.path == f"{tmp_path}/MSRVTT_Videos/all/video9770.webm"
  (tmp_path / "MSRVTT_Videos").rename(tmp_path / "elsewhere")
  with pytest.raises(ValueError, match="expected videos or MSRVTT_Videos"):
    listing("msrvtt", tmp_path, "test_1k_a")


def test_msvd(tmp_path):
  folder = tmp_path / "YouTubeClips"
  assert records("msvd", tmp_path, "test") == [
    Record(
      f"{folder}/-4wsuPCjDBc_5_15.avi",
      False,
      ("a squirrel eats", "it's a small animal"),
    ),
    Record(f"{folder}/vv__X_1_2.avi", False, ("a man sings",)),
  ]


def test_lsmdc(tmp_path):
  first, second = records("lsmdc", tmp_path, "train")
  assert first.path == f"{tmp_path}/videos/1001_Flight/{LSMDC_CLIP}.avi"
  assert first.captions == ('SOMEONE says "no', "She turns.")
  assert second.captions == ("A door.",)


def test_activitynet_paragraphs_are_in_order_of_time(tmp_path):
  assert records("activitynet_captions", tmp_path, "val_1") == [
    Record(
      f"{tmp_path}/videos/v_a.mkv",
      False,
      ("Two men dance. Then they rest. It ends.",),
    ),
    Record(f"{tmp_path}/videos/b.mp4", False, ("A cat.",)),
  ]


def test_activitynet_segments(tmp_path, caplog):
  found = records("activitynet_captions", tmp_path, "val_2_segments")
  video = f"{tmp_path}/videos/v_a.mkv"
  assert found == [
    Record(video, False, ("Then they rest.",), start=17.3, end=60.8),
    Record(video, False, ("Two men dance.",), start=0.8, end=19.9),
    Record(f"{tmp_path}/videos/v_c.mp4", False, ("A cat.",), end=9.0),
  ]
  assert "val_2.json: 1 segments end before they begin" in caplog.text


def test_activitynet_sentences_and_times_must_agree(tmp_path):
  LAYOUTS["activitynet_captions"][0](tmp_path)
  entry = {"duration": 9, "timestamps": [[0, 1], [1, 2]], "sentences": ["A."]}
  (tmp_path / "val_1.json").write_text(json.dumps({"v_a": entry}))
  with pytest.raises(ValueError, match="val_1.json, v_a: .*got 1 for 2"):
    listing("activitynet_captions", tmp_path, "val_1")


def test_didemo(tmp_path):
  first, second = records("didemo", tmp_path, "test")
  videos = tmp_path / "videos"
  assert first == Record(
    f"{videos}/1@N00_2_ab.mov.mp4",
    False,
    ("the camera turns a bird lands.",),
    end=30.0,
  )
  assert second.path == f"{videos}/5@N00_6_ef.avi"
  (missing,) = listing("didemo", tmp_path, "validation").records
  assert missing.path == f"{videos}/3@N00_4_cd.mp4"


def test_vatex(tmp_path):
  first, second = records("vatex", tmp_path, "public_test")
  assert first == Record(
    f"{tmp_path}/videos/xyz_000122_000132.webm", False, ("One.", "Two.")
  )
  assert second.path == f"{tmp_path}/videos/-a_b_000001_000011.mp4"


def test_youcook2(tmp_path):
  video = f"{tmp_path}/raw_videos/validation/113/GLd3aX16zBg.webm"
  assert records("youcook2", tmp_path, "validation") == [
    Record(video, False, ("step 0",), start=90.0, end=102.0),
    Record(video, False, ("step 1",), start=114.0, end=127.5),
  ]


def test_charades(tmp_path):
  cooks, stands = records("charades", tmp_path, "train")
  assert cooks == Record(
    f"{tmp_path}/Charades_v1_480/46GP8.mp4",
    False,
    ("A person cooks, slowly.", "Someone eats"),
    labels=(0, 2),
  )
  assert stands.labels == () and stands.captions == ("A person stands.",)
  classes = listing("charades", tmp_path, "test").classes
  assert classes == ("Holding some clothes", "Running", "Cooking something")


@pytest.mark.parametrize("times", [[-1, 3], [60, 47], [47, 47]])
def test_youcook2_steps_take_time(tmp_path, times):
  LAYOUTS["youcook2"][0](tmp_path)
  (path,) = annotation_files(tmp_path)
  path.write_text(path.read_text().replace("[47, 60]", str(times)))
  with pytest.raises(ValueError, match="xHr8X2Wpmno, step 0: expected "):
    listing("youcook2", tmp_path, "train")


@pytest.mark.parametrize(
  ("file", "old", "new", "said"),
  [
    ("test.csv", "c001 0.00", "c003 0.00", "line 2: expected actions .*c003"),
    ("test.csv", "c001 0.00", "run 0.00", "line 2: expected actions .*run 0"),
    ("classes.txt", "c001 ", "c002 ", 'line 2: expected "c001 name"'),
  ],
)
def test_charades_classes_are_checked(tmp_path, file, old, new, said):
  LAYOUTS["charades"][0](tmp_path)
  path = tmp_path / "Charades" / f"Charades_v1_{file}"
  path.write_text(path.read_text().replace(old, new))
  with pytest.raises(ValueError, match=re.escape(str(path)) + ", " + said):
    listing("charades", tmp_path, "test")


def test_coco(tmp_path):
  train = records("coco_captions", tmp_path, "karpathy_train")
  assert train == [
    Record(
      f"{tmp_path}/train2014/COCO_train2014_000000000044.jpg",
      True,
      ("A tree.",),
    ),
    Record(
      f"{tmp_path}/val2014/COCO_val2014_000000000045.jpg", True, ("A hat.",)
    ),
  ]
  official = listing("coco_captions", tmp_path, "train2017").records
  assert [(x.path, x.captions) for x in official] == [
    (
      f"{tmp_path}/train2017/{number:012d}.jpg",
      (f"one {number}", f"two {number}"),
    )
    for number in (7, 5)
  ]
  (tmp_path / "val2014").rename(tmp_path / "val")
  with pytest.raises(ValueError, match="no folder .*val2014"):
    listing("coco_captions", tmp_path, "karpathy_test")


def test_coco_captions_must_be_of_an_image(tmp_path):
  LAYOUTS["coco_captions"][0](tmp_path)
  path = tmp_path / "annotations" / "captions_val2017.json"
  path.write_text(path.read_text().replace('"image_id": 9', '"image_id": 8'))
  with pytest.raises(ValueError, match="caption 0: expected one of the images"):
    listing("coco_captions", tmp_path, "val2017")


def test_flickr30k(tmp_path):
  (image,) = records("flickr30k", tmp_path, "test")
  assert image == Record(
    f"{tmp_path}/flickr30k-images/1007129816.jpg",
    True,
    ("A man.", "He has a hat."),
  )
