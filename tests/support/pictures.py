"""Real pictures in awkward encodings, for parity tests."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_odd_pictures(real_data: Path, folder: Path) -> list[Path]:
    """Ten pictures of real scenes: plain JPEGs and PNG, WebP, BMP, alpha, 16 bits, CMYK, EXIF, palette."""
    sources = sorted((real_data / "aquarium" / "test").glob("*.jpg"))[:10]
    images = [Image.open(path).convert("RGB") for path in sources]
    grey = np.asarray(images[3].convert("L"), dtype=np.uint16) * 257
    rotated = Image.Exif()
    rotated[0x0112] = 6
    images[0].save(folder / "plain.jpg", quality=95)
    images[1].save(folder / "plain.png")
    _with_alpha(images[2]).save(folder / "alpha.png")
    Image.fromarray(grey).save(folder / "grey16.png")
    images[4].convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    images[5].save(folder / "rotated.jpg", quality=95, exif=rotated)
    images[6].quantize(64).save(folder / "palette.png")
    images[7].convert("L").save(folder / "grey.jpg", quality=95)
    images[8].save(folder / "plain.webp", quality=95)
    images[9].save(folder / "plain.bmp")
    return sorted(folder.iterdir())


def _with_alpha(image: Image.Image) -> Image.Image:
    ramp = np.linspace(0, 255, image.width, dtype=np.uint8)
    alpha = Image.fromarray(np.tile(ramp, (image.height, 1)))
    image = image.copy()
    image.putalpha(alpha)
    return image
