"""Draw the strips of pictures for README and start page, into book/_static.

python tools/readme_picture.py

painted-tigers.webp is six painted tigers, drawn-tigers.webp what mini-sd-tiger draws from their
captions, seeds 0 to 5 in this order, and tiger-noising.webp the course's tiger at rising noise.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from tigerdiff.data.tensors import to_float, to_uint8
from tigerdiff.diffusion import NoiseSchedule, add_noise
from tigerdiff.pretrained.stable_diffusion import load_pipeline
from tigerdiff.tigers.captions import caption
from tigerdiff.tigers.paint import paint, paint_tiger
from tigerdiff.tigers.tiger import Tiger

FOLDER = Path(__file__).parent.parent / "book/_static"
TIMES = (0, 50, 150, 300, 500, 1000)
SIZE, GAP = 224, 8
STEPS, GUIDANCE_SCALE = 20, 3.0
TIGERS = (
    Tiger(backdrop="savanna", daytime="dusk", turn=-0.5, tilt=3, stripes=3, scene=4, gaze_x=-0.5),
    Tiger(fur="white", backdrop="snow", mouth="roaring", daytime="noon", stripes=5, scene=5),
    Tiger(fur="golden", backdrop="water", age="cub", ears="sideways", turn=0.6, stripes=8),
    Tiger(fur="black", backdrop="night", daytime="night", turn=-0.2, tilt=0, light=65, stripes=2),
    Tiger(mouth="roaring", age="cub", daytime="noon", turn=0.0, tilt=6, stripes=11, scene=3),
    Tiger(fur="white", backdrop="water", daytime="dusk", ears="back", mouth="open", stripes=9),
)


def main() -> None:
    """Write the three strips."""
    schedule = NoiseSchedule.linear()
    x0 = to_float(paint_tiger(SIZE)).expand(len(TIMES), -1, -1, -1)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    noised = to_uint8(add_noise(schedule, x0, torch.tensor(TIMES), eps))
    write("tiger-noising.webp", noised, quality=64)
    write("painted-tigers.webp", paint(TIGERS, SIZE), quality=82)
    write("drawn-tigers.webp", drawn_tigers(), quality=82)


def drawn_tigers() -> Tensor:
    """Draw what the captions of the painted tigers say, seeds 0, 1, ...; uint8 (N, 3, 256, 256)."""
    pipe = load_pipeline("mini", "cpu")
    pipe.set_progress_bar_config(disable=True)
    images = pipe(
        [caption(tiger) for tiger in TIGERS],
        generator=[torch.Generator().manual_seed(k) for k in range(len(TIGERS))],
        guidance_scale=GUIDANCE_SCALE, num_inference_steps=STEPS, output_type="pt",
    ).images  # fmt: skip
    return to_uint8(images * 2 - 1)


def write(name: str, images: Iterable[Tensor], quality: int) -> None:
    """Put the pictures side by side, with transparent gaps for light and dark pages."""
    tiles = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    tiles = [tile.resize((SIZE, SIZE), Image.Resampling.LANCZOS) for tile in tiles]
    strip = Image.new("RGBA", ((SIZE + GAP) * len(tiles) - GAP, SIZE))
    for i, tile in enumerate(tiles):
        strip.paste(tile, (i * (SIZE + GAP), 0))
    path = FOLDER / name
    strip.save(path, quality=quality, method=6)
    print(f"{name}: {strip.width} x {strip.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
