"""Benchmarks: the files that people already have, in their released layout."""

from trajvit.data.benchmarks.activitynet_captions import ActivityNetCaptions
from trajvit.data.benchmarks.breakfast import Breakfast
from trajvit.data.benchmarks.charades import Charades
from trajvit.data.benchmarks.coin import Coin
from trajvit.data.benchmarks.didemo import DiDeMo
from trajvit.data.benchmarks.diving48 import Diving48
from trajvit.data.benchmarks.hmdb51 import Hmdb51
from trajvit.data.benchmarks.image_captions import CocoCaptions, Flickr30k
from trajvit.data.benchmarks.imagenet import ImageNet
from trajvit.data.benchmarks.kinetics import (
  Kinetics400,
  Kinetics600,
  Kinetics700,
)
from trajvit.data.benchmarks.lsmdc import Lsmdc
from trajvit.data.benchmarks.lvu import Lvu
from trajvit.data.benchmarks.msrvtt import Msrvtt
from trajvit.data.benchmarks.msvd import Msvd
from trajvit.data.benchmarks.something_something import SomethingSomethingV2
from trajvit.data.benchmarks.ucf101 import Ucf101
from trajvit.data.benchmarks.vatex import Vatex
from trajvit.data.benchmarks.youcook2 import YouCook2
from trajvit.table import Table

BENCHMARKS = Table(
  "benchmark",
  {
    "activitynet_captions": ActivityNetCaptions,
    "breakfast": Breakfast,
    "charades": Charades,
    "coco_captions": CocoCaptions,
    "coin": Coin,
    "didemo": DiDeMo,
    "diving48": Diving48,
    "flickr30k": Flickr30k,
    "hmdb51": Hmdb51,
    "imagenet": ImageNet,
    "kinetics400": Kinetics400,
    "kinetics600": Kinetics600,
    "kinetics700": Kinetics700,
    "lsmdc": Lsmdc,
    "lvu": Lvu,
    "msrvtt": Msrvtt,
    "msvd": Msvd,
    "something_something_v2": SomethingSomethingV2,
    "ucf101": Ucf101,
    "vatex": Vatex,
    "youcook2": YouCook2,
  },
)
