"""Masklets: objects that SAM 2 and its like have followed, made into sidecars.

A masklet is the masks of one object in the frames of a video. They come as run
lengths in JSON or as PNG images, often of fewer frames than the video has.
"""
