"""Benchmarks: the files that people already have, in their released layout."""

from trajvit.data.benchmarks.activitynet_captions import ActivityNetCaptions
from trajvit.data.benchmarks.charades import Charades
from trajvit.data.benchmarks.didemo import DiDeMo
from trajvit.data.benchmarks.image_captions import CocoCaptions, Flickr30k
from trajvit.data.benchmarks.lsmdc import Lsmdc
from trajvit.data.benchmarks.msrvtt import Msrvtt
from trajvit.data.benchmarks.msvd import Msvd
from trajvit.data.benchmarks.vatex import Vatex
from trajvit.data.benchmarks.youcook2 import YouCook2
from trajvit.table import Table

BENCHMARKS = Table(
  "benchmark",
  {
    "activitynet_captions": ActivityNetCaptions,
    "charades": Charades,
    "coco_captions": CocoCaptions,
    "didemo": DiDeMo,
    "flickr30k": Flickr30k,
    "lsmdc": Lsmdc,
    "msrvtt": Msrvtt,
    "msvd": Msvd,
    "vatex": Vatex,
    "youcook2": YouCook2,
  },
)
