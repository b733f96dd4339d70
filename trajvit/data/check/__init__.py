"""Checking data before it is trained on: what can be read, and what it is like.

`trajvit data check` decodes every clip of a manifest or of any other source,
lists those that are broken, counts durations, sizes and tracks, and proposes
the sizes that depend on them.
"""

from trajvit.data.check.all_clips import check_source
from trajvit.data.check.clip import ClipCheck, Settings

__all__ = ["ClipCheck", "Settings", "check_source"]
