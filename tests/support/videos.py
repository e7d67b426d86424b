"""Small videos, drawn."""

import cv2
import numpy as np


def write_video(path, frames, rate=10.0, codec="mp4v"):
    """RGB frames uint8 [height, width, 3] into a file; its path."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), rate, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()
    return path


def plain(colour, width=64, height=48):
    """A frame of one RGB colour."""
    return np.full((height, width, 3), colour, np.uint8)


def blocks(seed, width=320, height=240):
    """A frame that does not compress away."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)
