"""Tiny copies of public data sets of captions, laid out as their releases.

Videos are empty files: a listing opens none. Every copy lacks one of them.
"""

import json
import pathlib

from trajvit.data.benchmarks import BENCHMARKS


def write(root, name, content):
  """Writes a text, or anything else as JSON."""
  path = root / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(content if isinstance(content, str) else json.dumps(content))


def touch(root, *names):
  for name in names:
    write(root, name, "")


def msrvtt(root):
  clips = {"video0": "train", "video7010": "test", "video9770": "test"}
  write(
    root,
    "msrvtt_data/MSRVTT_JSFUSION_test.csv",
    "key,vid_key,video_id,sentence\r\n"
    'ret0,msr9770,video9770,"a dog, wet, shakes"\r\n'
    "ret1,msr9771,video9771,a plug is pulled\r\n",
  )
  write(
    root, "msrvtt_data/MSRVTT_train.9k.csv", "video_id\nvideo7010\nvideo0\n"
  )
  write(root, "MSRVTT_train.7k.csv", "video_id\nvideo0\n")
  sentences = [
    {"video_id": name, "caption": f"{word} of {name}", "sen_id": i}
    for i, word in enumerate(["first", "second"])
    for name in clips
  ]
  videos = [
    {"video_id": name, "split": split, "category": 3, "start time": 1.5}
    for name, split in clips.items()
  ]
  write(
    root,
    "msrvtt_data/MSRVTT_data.json",
    {"videos": videos, "sentences": sentences},
  )
  touch(root, "videos/all/video0.mp4", "videos/all/video9770.webm")
  touch(root, "videos/all/video9771.mp4", "videos/readme.txt")


def msvd(root):
  write(
    root,
    "AllVideoDescriptions.txt",
    "# made by many people\n\n"
    "-4wsuPCjDBc_5_15 a squirrel eats\n"
    "vv__X_1_2 a man sings\n"
    "-4wsuPCjDBc_5_15 it's a small animal\n"
    "abc_10_20 a car\n",
  )
  write(root, "train_list.txt", "vv__X_1_2\n")
  write(root, "msvd_data/val_list.txt", "abc_10_20\n")
  write(root, "msvd_data/test_list.txt", "-4wsuPCjDBc_5_15\nvv__X_1_2\n")
  touch(root, "YouTubeClips/-4wsuPCjDBc_5_15.avi", "YouTubeClips/abc_10_20.avi")


LSMDC_CLIP = "1001_Flight_00.00.51.926-00.00.54.129"


def lsmdc(root):
  def row(clip, sentence):
    times = ["00.00.51.926", "00.00.54.129", "00.00.51.426", "00.00.54.629"]
    return "\t".join([clip, *times, sentence]) + "\n"

  other = "0026_The_Bank_01.02.03.004-01.02.05.006"
  write(
    root,
    "LSMDC16_annos_training.csv",
    row(LSMDC_CLIP, 'SOMEONE says "no')
    + row(other, "A door.")
    + row(LSMDC_CLIP, "She turns."),
  )
  write(root, "LSMDC16_annos_val.csv", row(other, "A door."))
  write(
    root, "LSMDC16_challenge_1000_publictect.csv", row(LSMDC_CLIP, "She turns.")
  )
  touch(root, f"videos/1001_Flight/{LSMDC_CLIP}.avi")


def activitynet_captions(root):
  first = {
    "duration": 82.7,
    "timestamps": [[17.3, 60.8], [0.8, 19.9], [40, 40]],
    "sentences": [" Then they rest. ", "Two men dance.", "It ends."],
  }
  second = {"duration": 9, "timestamps": [[-0.1, 9]], "sentences": ["A cat."]}
  write(root, "train.json", {"v_b": second})
  write(root, "val_1.json", {"v_a": first, "v_b": second})
  write(root, "val_2.json", {"v_a": first, "v_c": second})
  touch(root, "videos/v_a.mkv", "videos/b.mp4")


def didemo(root):
  def entry(video, text):
    return {"video": video, "description": text, "times": [[0, 0], [0, 1]]}

  write(root, "train_data.json", [entry("1@N00_2_ab.mov", "train it")])
  write(root, "val_data.json", [entry("3@N00_4_cd", "validate")])
  write(
    root,
    "test_data.json",
    [
      entry("1@N00_2_ab.mov", "the camera turns"),
      entry("5@N00_6_ef.mp4", "a boat"),
      entry("1@N00_2_ab.mov", "a bird lands. "),
    ],
  )
  touch(root, "videos/1@N00_2_ab.mov.mp4", "videos/5@N00_6_ef.avi")


def vatex(root):
  def entry(name):
    return {
      "videoID": name,
      "enCap": ["One.", " ", "Two. "],
      "chCap": ["\u4e00"],
    }

  write(root, "vatex_training_v1.0.json", [entry("-a_b_000001_000011")])
  write(root, "vatex_validation_v1.0.json", [entry("gone_000002_000012")])
  write(
    root,
    "vatex_public_test_english_v1.1.json",
    [entry("xyz_000122_000132"), entry("-a_b_000001_000011")],
  )
  touch(root, "videos/-a_b_000001_000011.mp4", "videos/xyz_000122_000132.webm")


def youcook2(root):
  def steps(*times):
    return [
      {"id": i, "segment": list(x), "sentence": f"step {i}"}
      for i, x in enumerate(times)
    ]

  database = {
    "xHr8X2Wpmno": {"subset": "training", "annotations": steps((47, 60))},
    "GLd3aX16zBg": {
      "subset": "validation",
      "recipe_type": "113",
      "duration": 241.6,
      "annotations": steps((90, 102), (114, 127.5)),
    },
  }
  write(
    root,
    "annotations/youcookii_annotations_trainval.json",
    {"database": database},
  )
  touch(root, "raw_videos/validation/113/GLd3aX16zBg.webm")


def charades(root):
  header = (
    "id,subject,scene,quality,relevance,verified,script,objects,descriptions,"
    "actions,length\n"
  )
  write(
    root,
    "Charades/Charades_v1_train.csv",
    header + '46GP8,HR43,Kitchen,6,7,Yes,"A person, cooking.",food,'
    '"A person cooks, slowly.;Someone eats;",'
    "c002 11.90 21.20;c000 0.00 12.60;c002 1.00 2.00,24.83\n"
    "N11GT,0KZ7,Stairs,6,6,Yes,A person.,,A person stands.,,18.33\n",
  )
  write(
    root,
    "Charades/Charades_v1_test.csv",
    header + "YSKX3,ZZ,Hall,,,No,,,They run.,c001 0.00 3.10,30.00\n",
  )
  write(
    root,
    "Charades/Charades_v1_classes.txt",
    "c000 Holding some clothes\nc001 Running\nc002 Cooking something\n",
  )
  touch(root, "Charades_v1_480/46GP8.mp4", "Charades_v1_480/YSKX3.mp4")


def _image(name, split, *captions, **more):
  sentences = [{"raw": x, "tokens": x.split(), "imgid": 0} for x in captions]
  return {"filename": name, "split": split, "sentences": sentences, **more}


def coco_captions(root):
  def image(folder, number, *args):
    name = f"COCO_{folder}_{number:012d}.jpg"
    return _image(name, *args, filepath=folder, cocoid=number)

  images = [
    image("val2014", 42, "test", "A dog.", "A dog runs."),
    image("val2014", 43, "val", "A cup."),
    image("train2014", 44, "train", "A tree."),
    image("val2014", 45, "restval", "A hat."),
  ]
  write(root, "dataset_coco.json", {"images": images, "dataset": "coco"})
  for split, numbers in (("train2017", [7, 5]), ("val2017", [9])):
    files = [{"id": i, "file_name": f"{i:012d}.jpg"} for i in numbers]
    captions = [
      {"image_id": i, "id": 90 + i, "caption": f"{word} {i}\n"}
      for word in ("one", "two")
      for i in sorted(numbers)
    ]
    write(
      root,
      f"annotations/captions_{split}.json",
      {"info": {}, "images": files, "annotations": captions},
    )
    touch(root, *(f"{split}/{x['file_name']}" for x in files))
  touch(root, *(f"{x['filepath']}/{x['filename']}" for x in images[1:]))


def flickr30k(root):
  images = [
    _image("1007129816.jpg", "test", "A man.", "He has a hat."),
    _image("1000092795.jpg", "train", "Two men."),
    _image("65567.jpg", "val", "A child."),
  ]
  write(root, "dataset_flickr30k.json", {"images": images})
  touch(root, "flickr30k-images/1007129816.jpg", "flickr30k-images/65567.jpg")


# The name of a benchmark -> what writes a copy, and a clip that it lists.
LAYOUTS = {
  "activitynet_captions": (activitynet_captions, "v_b"),
  "charades": (charades, "YSKX3"),
  "coco_captions": (coco_captions, "COCO_val2014_000000000042.jpg"),
  "didemo": (didemo, "1@N00_2_ab.mov"),
  "flickr30k": (flickr30k, "1007129816.jpg"),
  "lsmdc": (lsmdc, LSMDC_CLIP),
  "msrvtt": (msrvtt, "video9770"),
  "msvd": (msvd, "vv__X_1_2"),
  "vatex": (vatex, "xyz_000122_000132"),
  "youcook2": (youcook2, "GLd3aX16zBg"),
}


def annotation_files(root: pathlib.Path) -> list[pathlib.Path]:
  """All files of a copy that say something."""
  files = (x for x in root.rglob("*") if x.suffix in (".json", ".csv", ".txt"))
  return sorted(x for x in files if x.stat().st_size)


def listing(name, root, split):
  """The Listing of a copy, whose counts are not those of the release."""
  return BENCHMARKS[name]().listing(str(root), split, counts=False)


def records(name, tmp_path, split):
  """The records of a split of a fresh copy."""
  LAYOUTS[name][0](tmp_path)
  return list(listing(name, tmp_path, split).records)
