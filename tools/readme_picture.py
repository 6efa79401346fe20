"""Draw the pictures for README, start page and model page, into book/_static.

python tools/readme_picture.py

painted-tigers.webp is six painted tigers, drawn-tigers.webp what mini-sd-tiger draws from their
captions, seeds 0 to 5 in this order, and tiger-noising.webp the course's tiger at rising noise.
painted-256.webp and drawn-256.webp are for the model page: the first 16 painted tigers of a seed at
full size, and what the model draws from their captions, with the seeds 0 to 15.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from tigerdiff.data.tensors import to_float, to_uint8
from tigerdiff.diffusion import NoiseSchedule, add_noise
from tigerdiff.pretrained.stable_diffusion import load_pipeline
from tigerdiff.tigers.captions import caption
from tigerdiff.tigers.paint import paint, paint_tiger, procedural_tigers
from tigerdiff.tigers.tiger import Tiger

FOLDER = Path(__file__).parent.parent / "book/_static"
TIMES = (0, 50, 150, 300, 500, 1000)
SIZE, GAP = 224, 8
STEPS, GUIDANCE_SCALE = 20, 3.0
GRID_SEED = 7_000_000  # of tigers that no training has seen
TIGERS = (
    Tiger(backdrop="savanna", daytime="dusk", turn=-0.5, tilt=3, stripes=3, scene=4, gaze_x=-0.5),
    Tiger(fur="white", backdrop="snow", mouth="roaring", daytime="noon", stripes=5, scene=5),
    Tiger(fur="golden", backdrop="water", age="cub", ears="sideways", turn=0.6, stripes=8),
    Tiger(fur="black", backdrop="night", daytime="night", turn=-0.2, tilt=0, light=65, stripes=2),
    Tiger(mouth="roaring", age="cub", daytime="noon", turn=0.0, tilt=6, stripes=11, scene=3),
    Tiger(fur="white", backdrop="water", daytime="dusk", ears="back", mouth="open", stripes=9),
)


def main() -> None:
    """Write the three strips and the two grids."""
    schedule = NoiseSchedule.linear()
    x0 = to_float(paint_tiger(SIZE)).expand(len(TIMES), -1, -1, -1)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    noised = to_uint8(add_noise(schedule, x0, torch.tensor(TIMES), eps))
    write("tiger-noising.webp", noised, quality=64)
    write("painted-tigers.webp", paint(TIGERS, SIZE), quality=82)
    write("drawn-tigers.webp", drawn_tigers(), quality=82)
    painted, tigers = procedural_tigers(16, 256, GRID_SEED)
    write("painted-256.webp", painted, quality=82, size=256, columns=4)
    write("drawn-256.webp", drawn_tigers(tigers), quality=82, size=256, columns=4)


def drawn_tigers(tigers: Sequence[Tiger] = TIGERS) -> Tensor:
    """Draw what the captions of the painted tigers say, seeds 0, 1, ...; uint8 (N, 3, 256, 256)."""
    pipe = load_pipeline("mini", "cpu")
    pipe.set_progress_bar_config(disable=True)
    images = pipe(
        [caption(tiger) for tiger in tigers],
        generator=[torch.Generator().manual_seed(k) for k in range(len(tigers))],
        guidance_scale=GUIDANCE_SCALE, num_inference_steps=STEPS, output_type="pt",
    ).images  # fmt: skip
    return to_uint8(images * 2 - 1)


def write(
    name: str, images: Iterable[Tensor], quality: int, size: int = SIZE, columns: int = 6
) -> None:
    """Put the pictures in rows, with transparent gaps for light and dark pages."""
    tiles = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    step, rows = size + GAP, -(-len(tiles) // columns)
    grid = Image.new("RGBA", (step * columns - GAP, step * rows - GAP))
    for i, tile in enumerate(tiles):
        small = tile.resize((size, size), Image.Resampling.LANCZOS)
        grid.paste(small, (i % columns * step, i // columns * step))
    path = FOLDER / name
    grid.save(path, quality=quality, method=6)
    print(f"{name}: {grid.width} x {grid.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
