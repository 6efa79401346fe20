"""Which files a pipeline of diffusers consists of, in a folder or on the Hub."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open

from tigerdiff.training.stored import damage_named, read_json

# A part's weights: one file or numbered ones, perhaps in float16, and no other variant.
PART_FILE = re.compile(r"(?:model|diffusion_pytorch_model)(\.fp16)?(?:-\d+-of-\d+)?\.safetensors")
INDEX = "model_index.json"
REMEDY = "delete that file, and copy or download it anew"
OPTIONAL = {"safety_checker", "feature_extractor", "image_encoder"}  # a pipeline draws without


def pipeline_files(folder: Path, names: Sequence[str]) -> list[str]:
    """Choose from all files of a pipeline those to load: each part's settings and weights, once.

    Raise ValueError if that is no pipeline, or a part is missing or has no safetensors.
    """
    chosen = []
    for part in read_pipeline(folder)[1]:
        there = [name for name in names if name.rpartition("/")[0] == part]
        settings = [name for name in there if Path(name).suffix in {".json", ".txt", ".model"}]
        weights = {name: found for name in there if (found := PART_FILE.fullmatch(Path(name).name))}
        half = [name for name, found in weights.items() if found[1]]
        if not there and part in OPTIONAL:
            continue
        if not settings or (f"{part}/config.json" in settings and not weights):
            raise ValueError(
                f"{folder} lacks the safetensors of its {part}, and pickles are never loaded: name "
                "another model, or, if a download was cut short, load it again while online"
            )
        chosen += settings + (half or list(weights))
    return chosen


def read_pipeline(folder: Path) -> tuple[str, list[str]]:
    """Return the class of a pipeline and the names of its parts, which are those of its folders.

    Raise ValueError if its index is missing or damaged, or asks for code of the folder's.
    """
    path = folder / INDEX
    if not path.is_file():
        remedy = (
            "name a folder that save_pretrained of a pipeline wrote, or copy or install it anew"
        )
        raise ValueError(
            f"{folder} is no pipeline of diffusers, as {path.name} is missing: {remedy}"
        )
    index = read_json(path, REMEDY, {})
    pairs = {name: x for name, x in index.items() if isinstance(x, list) and len(x) == 2}
    parts = [name for name, x in pairs.items() if all(isinstance(y, str) for y in x)]
    own = any(list((folder / part).glob("*.py")) for part in parts)
    if own or not isinstance(index.get("_class_name"), str):
        raise ValueError(f"{folder} has code of its own, which is never run: name another model")
    return index["_class_name"], parts


def part_sizes(folder: Path, files: Sequence[str]) -> dict[str, int]:
    """Return the number of weights of each part, as the headers of its files say.

    Raise ValueError if a file is damaged; one that was cut short is noticed too.
    """
    sizes: dict[str, int] = {}
    for file in files:
        if PART_FILE.fullmatch(Path(file).name):
            path = folder / file
            with damage_named(path, REMEDY), safe_open(path, "pt") as opened:
                shapes = [opened.get_slice(key).get_shape() for key in opened.keys()]  # noqa: SIM118
            part = file.partition("/")[0]
            sizes[part] = sizes.get(part, 0) + sum(map(math.prod, shapes))
    return sizes
