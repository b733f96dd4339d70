"""Videos whose objects are outlined: DAVIS, MOSE, YouTube-VIS and SA-V.

Each is read from the folders that its release unpacks to, nothing is converted,
and is held to the numbers of videos that the release is known to have.
"""

from trajvit.data.segmentation.mask_folders import Davis2017, Mose
from trajvit.data.segmentation.sa_v import SaV, SaVTrain
from trajvit.data.segmentation.youtube_vis import YouTubeVis

__all__ = ["Davis2017", "Mose", "SaV", "SaVTrain", "YouTubeVis"]
