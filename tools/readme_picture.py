"""Draw book/_static/tiger-noising.webp, the tiger at rising noise: for README and start page.

python tools/readme_picture.py
"""

from pathlib import Path

import torch
from PIL import Image

from tigerdiff.data import to_float, to_uint8
from tigerdiff.diffusion import NoiseSchedule, add_noise
from tigerdiff.tigers import paint_tiger

TARGET = Path(__file__).parent.parent / "book/_static/tiger-noising.webp"
TIMES = (0, 50, 150, 300, 500, 1000)
SIZE, GAP = 224, 8


def main() -> None:
    """Write the picture: one square per time, with transparent gaps for light and dark pages."""
    schedule = NoiseSchedule.linear()
    x0 = to_float(paint_tiger(SIZE)).expand(len(TIMES), -1, -1, -1)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    images = add_noise(schedule, x0, torch.tensor(TIMES), eps)
    pixels = to_uint8(images).permute(0, 2, 3, 1).numpy()
    strip = Image.new("RGBA", ((SIZE + GAP) * len(TIMES) - GAP, SIZE))
    for i, tile in enumerate(pixels):
        strip.paste(Image.fromarray(tile), (i * (SIZE + GAP), 0))
    strip.save(TARGET, quality=64, method=6)
    print(f"{TARGET.name}: {strip.width} x {strip.height}, {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
