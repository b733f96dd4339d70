"""Videos whose objects people have outlined: DAVIS, MOSE and YouTube-VIS.

Each is read from the folders that its release unpacks to, nothing is converted.
"""

from trajvit.data.segmentation.mask_folders import Davis2017, Mose
from trajvit.data.segmentation.youtube_vis import YouTubeVis

__all__ = ["Davis2017", "Mose", "YouTubeVis"]
