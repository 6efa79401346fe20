"""Parts "add_noise" and "folder": noise on a batch, and photos from a folder."""

import tempfile
from argparse import Namespace
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from bench.networks import DIFFUSERS, LIBRARIES, LUCIDRAINS, OURS, network
from bench.timing import interleaved, rows
from tigerdiff import NoiseSchedule, add_noise, batches, load_folder, procedural_tigers
from tigerdiff.devices import find_device


def noise(options: Namespace) -> dict:
    """Time adding noise to (64, 3, 64, 64), each image at its own time."""
    from diffusers import DDPMScheduler

    x0 = torch.rand(64, 3, 64, 64, device=find_device()).mul(2).sub(1)
    eps, t = torch.randn_like(x0), torch.randint(1, 1000, (64,), device=find_device())
    schedule, scheduler = NoiseSchedule.linear().to(find_device()), DDPMScheduler()
    functions = {
        OURS: lambda: add_noise(schedule, x0, t, eps),
        DIFFUSERS: lambda: scheduler.add_noise(x0, eps, t),
    }
    if LUCIDRAINS in LIBRARIES:
        from denoising_diffusion_pytorch import GaussianDiffusion

        gaussian = GaussianDiffusion(network(LUCIDRAINS, 16), image_size=64).to(find_device())
        functions[LUCIDRAINS] = lambda: gaussian.q_sample(x0, t, eps)
    calls = 20
    repeated = {name: lambda f=f: [f() for _ in range(calls)] for name, f in functions.items()}
    seconds = interleaved(repeated, options.many)
    return {"shape": list(x0.shape), "rows": rows("add_noise", seconds, each=calls)}


def folder(options: Namespace) -> dict:
    """Time a pass through a folder of JPEGs, per photo: ours with and without its cache.

    Each pass ends in batches of 32 float images in [-1, 1], mirrored at random.
    """
    n, size, batch = options.photos, options.sizes[-1], 32
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "photos/tiger").mkdir(parents=True)
        painted, _ = procedural_tigers(n, 256, options.seed)
        for i, image in enumerate(painted.permute(0, 2, 3, 1).numpy()):
            Image.fromarray(image).save(root / f"photos/tiger/{i:04d}.jpg", quality=90)

        def ours(cache: str) -> None:
            images = load_folder(root / "photos", size, cache_dir=cache, progress=False)
            passing = batches(images, batch, seed=options.seed)
            for _ in range(-(-n // batch)):
                next(passing)

        def cold() -> None:
            with tempfile.TemporaryDirectory(dir=root) as cache:
                ours(cache)

        transform = transforms.Compose([
            transforms.Resize(size), transforms.CenterCrop(size),
            transforms.RandomHorizontalFlip(), transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ])  # fmt: skip
        photos = ImageFolder(str(root / "photos"), transform)
        loader = DataLoader(photos, batch, shuffle=True, num_workers=2)
        functions = {
            f"{OURS}, cached": lambda: ours(root / "cache"),
            f"{OURS}, cold": cold,
            "ImageFolder, DataLoader with 2 workers": lambda: list(loader),
        }
        table = rows(f"photo from a folder, {size} px", interleaved(functions, options.repeats), n)
    for row in table:
        row["images_per_second"] = 1 / row["seconds"]
    return {"photos": n, "photo_pixels": 256, "rows": table}
