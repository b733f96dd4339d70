"""Packed clips: many to a file, read at random, prepared by `trajvit data`."""

from trajvit.data.formats.array_record import ArrayRecordClips
from trajvit.data.formats.tar import TarClips
from trajvit.data.formats.tfds_clips import TfdsClips
from trajvit.data.formats.verify import verify_shards

__all__ = ["ArrayRecordClips", "TarClips", "TfdsClips", "verify_shards"]
