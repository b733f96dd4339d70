"""Tiny copies of classification data sets, in the layout of their releases."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping

import numpy as np
from scipy.io import savemat


@dataclasses.dataclass(frozen=True)
class Layout:
  """A copy and what must be read out of it.

  Attributes:
    name: of the benchmark in the table.
    split: which is read.
    files: path -> text of the annotations; all are needed for this split.
    media: paths of the videos or images, which are empty files.
    clips: (path, label) of the clips, in order.
    classes: their names.
    extra: writes what is no text, given the root.
  """

  name: str
  split: str
  files: Mapping[str, str]
  media: tuple[str, ...]
  clips: tuple[tuple[str, int], ...]
  classes: tuple[str, ...]
  extra: Callable[[pathlib.Path], None] | None = None

  def __str__(self) -> str:
    return f"{self.name}-{self.split}"

  def write(self, root: pathlib.Path) -> None:
    """Makes the files below `root`."""
    for path, text in self.files.items():
      (root / path).parent.mkdir(parents=True, exist_ok=True)
      (root / path).write_text(text, encoding="utf-8")
    for path in self.media:
      (root / path).parent.mkdir(parents=True, exist_ok=True)
      (root / path).touch()
    if self.extra:
      self.extra(root)


def _lines(*lines: str) -> str:
  return "".join(f"{line}\n" for line in lines)


_HEAD = "label,youtube_id,time_start,time_end,split"


def kinetics(name, split="val", listed="annotations/val.csv") -> Layout:
  """Class folders, with spaces and without, beside loose files."""
  return Layout(
    name,
    split,
    files={
      listed: _lines(
        f"{_HEAD},is_cc",
        '"testifying",---QuUC4vJs,84,94,val,0',
        "tai chi,abcdefghijk,3,13,val,0",
        '"massaging person\'s head",mnopqrstuvw,100,110,val,1',
        "tai chi,notthereabc,20,30,val,0",
      )
    },
    media=(
      "val/testifying/---QuUC4vJs_000084_000094.mp4",
      "val/abcdefghijk_000003_000013.mkv",
      "val/massaging_persons_head/mnopqrstuvw_000100_000110.mp4",
      "val/.hidden.mp4",
      "val/readme.txt",
    ),
    clips=(
      ("val/testifying/---QuUC4vJs_000084_000094.mp4", 2),
      ("val/abcdefghijk_000003_000013.mkv", 1),
      ("val/massaging_persons_head/mnopqrstuvw_000100_000110.mp4", 0),
      ("val/notthereabc_000020_000030.mp4", 1),
    ),
    classes=("massaging person's head", "tai chi", "testifying"),
  )


_TEMPLATES = {
  "Pushing something": "2",
  "Holding something next to something": "0",
  "Tearing something just a little bit": "1",
}
_SSV2 = "20bn-something-something-v2"
_SSV2_CLASSES = (
  "Holding something next to something",
  "Tearing something just a little bit",
  "Pushing something",
)

SOMETHING = Layout(
  "something_something_v2",
  "validation",
  files={
    "labels/labels.json": json.dumps(_TEMPLATES),
    "labels/validation.json": json.dumps(
      [
        {
          "id": "74225",
          "label": "holding potato next to bottle",
          "template": "Holding [something] next to [something]",
          "placeholders": ["potato", "bottle"],
        },
        {
          "id": "116154",
          "label": "pushing a cup",
          "template": "Pushing [something]",
          "placeholders": ["a cup"],
        },
      ]
    ),
  },
  media=(f"{_SSV2}/74225.webm", f"{_SSV2}/1.webm"),
  clips=((f"{_SSV2}/74225.webm", 0), (f"{_SSV2}/116154.webm", 2)),
  classes=_SSV2_CLASSES,
)

SOMETHING_TEST = Layout(
  "something_something_v2",
  "test",
  files={
    "labels/labels.json": json.dumps(_TEMPLATES),
    "labels/test.json": json.dumps([{"id": "5"}, {"id": "4"}]),
    "labels/test-answers.csv": _lines(
      "4;Pushing something", "5;Tearing something just a little bit"
    ),
  },
  media=(f"{_SSV2}/4.webm", f"{_SSV2}/5.mp4"),
  clips=((f"{_SSV2}/5.mp4", 1), (f"{_SSV2}/4.webm", 2)),
  classes=_SSV2_CLASSES,
)

_UCF = "UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi"
_UCF_INDEX = _lines("1 ApplyEyeMakeup", "2 HandstandPushups", "3 YoYo")
_UCF_CLASSES = ("apply eye makeup", "handstand pushups", "yo yo")

UCF_TRAIN = Layout(
  "ucf101",
  "train_2",
  files={
    "ucfTrainTestlist/classInd.txt": _UCF_INDEX,
    "ucfTrainTestlist/trainlist02.txt": _lines(
      "YoYo/v_YoYo_g08_c01.avi 3",
      "HandstandPushups/v_HandStandPushups_g01_c01.avi 2",
    ),
  },
  media=("UCF-101/YoYo/v_YoYo_g08_c01.avi", _UCF),
  clips=(("UCF-101/YoYo/v_YoYo_g08_c01.avi", 2), (_UCF, 1)),
  classes=_UCF_CLASSES,
)

UCF_TEST = Layout(
  "ucf101",
  "test_1",
  files={
    "ucfTrainTestlist/classInd.txt": _UCF_INDEX.replace("\n", " \r\n"),
    "ucfTrainTestlist/testlist01.txt": _lines(
      "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
      "HandstandPushups/v_HandStandPushups_g01_c01.avi",
    ),
  },
  media=("UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.mp4",),
  clips=(
    ("UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.mp4", 0),
    (_UCF, 1),
  ),
  classes=_UCF_CLASSES,
)

_HMDB = "testTrainMulti_7030_splits"

HMDB = Layout(
  "hmdb51",
  "test_1",
  files={
    f"{_HMDB}/shoot_bow_test_split1.txt": _lines(
      "6arrows_shoot_bow_u_nm.avi 2 ", "other_shoot_bow.avi 1 "
    ),
    f"{_HMDB}/brush_hair_test_split1.txt": _lines(
      "April_09_brush_hair_goo_0.avi 1 ",
      "#Wash_brush_hair_goo_1.avi 2 ",
      "unused_brush_hair.avi 0 ",
      "April_brush_hair.avi 2 ",
    ),
    f"{_HMDB}/brush_hair_test_split2.txt": _lines("never read"),
  },
  media=(
    "hmdb51_org/brush_hair/#Wash_brush_hair_goo_1.avi",
    "hmdb51_org/brush_hair/April_09_brush_hair_goo_0.avi",
  ),
  clips=(
    ("hmdb51_org/brush_hair/#Wash_brush_hair_goo_1.avi", 0),
    ("hmdb51_org/brush_hair/April_brush_hair.avi", 0),
    ("hmdb51_org/shoot_bow/6arrows_shoot_bow_u_nm.avi", 1),
  ),
  classes=("brush hair", "shoot bow"),
)

DIVING = Layout(
  "diving48",
  "test",
  files={
    "Diving48_vocab.json": json.dumps(
      [
        ["Back", "15som", "05Twis", "FREE"],
        ["Forward", "Dive", "1Twis", "PIKE"],
        ["Inward", "35som", "NoTwis", "TUCK"],
      ]
    ),
    "Diving48_V2_test.json": json.dumps(
      [
        {"vid_name": "_8Vy3_001", "label": 2, "start_frame": 0, "end_frame": 9},
        {"vid_name": "-mmq0_155", "label": 0, "start_frame": 0, "end_frame": 9},
      ]
    ),
  },
  media=("rgb/_8Vy3_001.mp4", "rgb/-mmq0_155.mp4"),
  clips=(("rgb/_8Vy3_001.mp4", 2), ("rgb/-mmq0_155.mp4", 0)),
  classes=(
    "back, 1.5 somersaults, 0.5 twists, free",
    "forward, dive, 1 twists, pike",
    "inward, 3.5 somersaults, no twists, tuck",
  ),
)


def _coin_video(task, number, subset, *steps) -> dict:
  return {
    "duration": 131.0,
    "class": task,
    "video_url": "https://www.youtube.com/embed/",
    "start": 1.5,
    "end": 85.7,
    "subset": subset,
    "recipe_type": number,
    "annotation": [
      {"id": step, "segment": segment, "label": label}
      for step, segment, label in steps
    ],
  }


_COIN = json.dumps(
  {
    "database": {
      "LtRSn-ntcLY": _coin_video(
        "ReplaceCDDriveWithSSD",
        131,
        "training",
        ("212", [60.0, 69.0], "take out the CD drive"),
        ("9", [71.0, 82.0], "put in the disk"),
      ),
      "aaaaaaaaaaa": _coin_video(
        "MakeRJ45Cable", 7, "testing", ("10", [1, 2.5], "cut the wires")
      ),
      "bbbbbbbbbbb": _coin_video(
        "ReplaceCDDriveWithSSD",
        131,
        "testing",
        ("212", [5.0, 6.0], "take out the CD drive"),
        ("9", [8.0, 8.0], "put in the disk"),
      ),
    }
  }
)

COIN_TASKS = Layout(
  "coin",
  "test",
  files={"COIN.json": _COIN},
  media=("videos/7/aaaaaaaaaaa.mp4", "videos/131/LtRSn-ntcLY.mp4"),
  clips=(
    ("videos/7/aaaaaaaaaaa.mp4", 0),
    ("videos/131/bbbbbbbbbbb.mp4", 1),
  ),
  classes=("make RJ45 cable", "replace CD drive with SSD"),
)

COIN_STEPS = dataclasses.replace(
  COIN_TASKS,
  split="test_steps",
  clips=(
    ("videos/7/aaaaaaaaaaa.mp4", 1),
    ("videos/131/bbbbbbbbbbb.mp4", 2),
  ),
  classes=("put in the disk", "cut the wires", "take out the CD drive"),
)

_BREAKFAST = "BreakfastII_15fps_qvga_sync"
BREAKFAST_CLASSES = (
  "bowl of cereals",
  "coffee",
  "fried eggs",
  "orange juice",
  "chocolate milk",
  "pancakes",
  "fruit salad",
  "sandwich",
  "scrambled eggs",
  "tea",
)

BREAKFAST = Layout(
  "breakfast",
  "test_2",
  files={},
  media=(
    f"{_BREAKFAST}/P15/cam01/P15_tea.avi",
    f"{_BREAKFAST}/P16/cam01/P16_friedegg.avi",
    f"{_BREAKFAST}/P16/cam01/P16_friedegg.avi.labels",
    f"{_BREAKFAST}/P28/stereo/P28_tea_ch1.avi",
    f"{_BREAKFAST}/P28/stereo/P28_tea_ch0.avi",
    f"{_BREAKFAST}/P28/stereo/P28_milk_ch1.avi",
    f"{_BREAKFAST}/P28/webcam01/P28_tea.avi",
    f"{_BREAKFAST}/P28/webcam01/P28_party.avi",
    f"{_BREAKFAST}/P29/cam01/P29_tea.avi",
  ),
  clips=(
    (f"{_BREAKFAST}/P16/cam01/P16_friedegg.avi", 2),
    (f"{_BREAKFAST}/P28/stereo/P28_milk_ch1.avi", 4),
    (f"{_BREAKFAST}/P28/stereo/P28_tea_ch0.avi", 9),
    (f"{_BREAKFAST}/P28/webcam01/P28_tea.avi", 9),
  ),
  classes=BREAKFAST_CLASSES,
)

_LVU_HEAD = "label label_name youtube_id video_id"

LVU = Layout(
  "lvu",
  "way_speaking_test",
  files={
    "lvu_1.0/way_speaking/train.csv": _lines(
      _LVU_HEAD, "0 explains -0aBcDeFgHi 12", "1 confronts b1aBcDeFgHi 13"
    ),
    "lvu_1.0/way_speaking/val.csv": _lines(_LVU_HEAD, "1 confronts v 14"),
    "lvu_1.0/way_speaking/test.csv": _lines(
      _LVU_HEAD, "1 confronts c2aBcDeFgHi 15", "2 talks_to -3aBcDeFgHi 16"
    ),
  },
  media=("videos/c2aBcDeFgHi.mp4", "videos/-0aBcDeFgHi.webm"),
  clips=(("videos/c2aBcDeFgHi.mp4", 1), ("videos/-3aBcDeFgHi.mp4", 2)),
  classes=("explains", "confronts", "talks to"),
)

_WORDNET = ("n01440764", "n01443537", "n03126707")
_SYNSETS = _lines(
  "n01440764 tench, Tinca tinca",
  "n01443537 goldfish, Carassius auratus",
  "n03126707 crane",
)
_IMAGE_CLASSES = ("tench", "goldfish", "crane")

IMAGENET_TRAIN = Layout(
  "imagenet",
  "train",
  files={"LOC_synset_mapping.txt": _SYNSETS},
  media=(
    "train/n03126707/n03126707_2.JPEG",
    "train/n01440764/n01440764_18.JPEG",
    "train/n01440764/n01440764_3.JPEG",
    "train/n01443537/n01443537_3.JPEG",
    "train/n01443537/.DS_Store",
  ),
  clips=(
    ("train/n01440764/n01440764_18.JPEG", 0),
    ("train/n01440764/n01440764_3.JPEG", 0),
    ("train/n01443537/n01443537_3.JPEG", 1),
    ("train/n03126707/n03126707_2.JPEG", 2),
  ),
  classes=_IMAGE_CLASSES,
)

_KAGGLE = "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_0000000"

IMAGENET_KAGGLE = Layout(
  "imagenet",
  "val",
  files={
    "LOC_synset_mapping.txt": _SYNSETS,
    "LOC_val_solution.csv": _lines(
      "ImageId,PredictionString",
      "ILSVRC2012_val_00000002,n03126707 85 1 499 272 ",
      "ILSVRC2012_val_00000001,n01440764 1 2 3 4 n01440764 5 6 7 8 ",
      "ILSVRC2012_val_00000003,n01443537 85 1 499 272 ",
    ),
  },
  media=(f"{_KAGGLE}1.JPEG", f"{_KAGGLE}2.JPEG"),
  clips=(
    (f"{_KAGGLE}2.JPEG", 2),
    (f"{_KAGGLE}1.JPEG", 0),
    (f"{_KAGGLE}3.JPEG", 1),
  ),
  classes=_IMAGE_CLASSES,
)

_DEVKIT = "ILSVRC2012_devkit_t12/data"


def write_meta(root: pathlib.Path) -> None:
  """The devkit's classes, numbered in another order, and what is above them."""
  kinds = [
    ("ILSVRC2012_ID", object),
    ("WNID", object),
    ("words", object),
    ("num_children", object),
  ]
  synsets = [
    (1, "n03126707", "crane", 0),
    (2, "n01440764", "tench, Tinca tinca", 0),
    (3, "n01443537", "goldfish, Carassius auratus", 0),
    (1001, "n00001740", "entity", 3),
  ]
  (root / _DEVKIT).mkdir(parents=True, exist_ok=True)
  savemat(
    root / _DEVKIT / "meta.mat", {"synsets": np.array([synsets], kinds).T}
  )


IMAGENET_DEVKIT = Layout(
  "imagenet",
  "val",
  files={
    f"{_DEVKIT}/ILSVRC2012_validation_ground_truth.txt": _lines("3", "1", "2")
  },
  media=("val/ILSVRC2012_val_00000002.JPEG",),
  clips=(
    ("val/ILSVRC2012_val_00000001.JPEG", 1),
    ("val/ILSVRC2012_val_00000002.JPEG", 2),
    ("val/ILSVRC2012_val_00000003.JPEG", 0),
  ),
  classes=_IMAGE_CLASSES,
  extra=write_meta,
)

LAYOUTS = (
  kinetics("kinetics400"),
  kinetics("kinetics600", listed="validate.csv"),
  kinetics("kinetics700"),
  SOMETHING,
  SOMETHING_TEST,
  UCF_TRAIN,
  UCF_TEST,
  HMDB,
  DIVING,
  COIN_TASKS,
  COIN_STEPS,
  BREAKFAST,
  LVU,
  IMAGENET_TRAIN,
  IMAGENET_KAGGLE,
  IMAGENET_DEVKIT,
)
