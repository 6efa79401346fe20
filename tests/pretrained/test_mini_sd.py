"""The text-to-image model: its tokenizer, what its recipe holds out, and the shipped weights."""

import copy
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import measure_mini_sd
import pytest
import torch
import train_mini_sd
from mini_drawings import ASKED, COMBINATIONS, drawn, new, prompt, shown, spread
from mini_tokenizer import END, LENGTH, START, make_tokenizer, merges
from safetensors import safe_open
from safetensors.torch import load_file
from train_mini_sd import HELD_OUT, held_out

from tigerdiff import caption, load_pipeline, paint, to_float
from tigerdiff.pretrained.stable_diffusion import MINIATURES
from tigerdiff.tigers.captions import VOCABULARY
from tigerdiff.tigers.tiger import CHOICES, series

RESULTS = Path(__file__).parents[2] / "bench/results"
MAX_BYTES = 32_000_000
PLAIN = """
import sys
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
pipe = StableDiffusionPipeline.from_pretrained(sys.argv[1])
pipe.set_progress_bar_config(disable=True)
generator = torch.Generator().manual_seed(0)
x = pipe("a roaring white tiger cub in the snow at noon", guidance_scale=3.0, generator=generator,
         num_inference_steps=4, output_type="pt").images
assert not any(name.startswith("tigerdiff") for name in sys.modules)
save_file({"x": x}, sys.argv[2])
"""


@pytest.fixture(scope="module", params=MINIATURES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def folder(name):
    return MINIATURES[name]


@pytest.fixture(scope="module")
def weights(folder):
    return sorted(folder.rglob("*.safetensors"))


@pytest.fixture(scope="module")
def pipe(name):
    pipe = load_pipeline(name, "cpu")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def card(folder):
    return json.loads((folder / "card.json").read_text())


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_each_word_of_a_caption_is_one_token(tokenizer):
    for word in {part for words in VOCABULARY for part in words.split("-")}:
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(word).input_ids)
        assert tokens == [START, f"{word}</w>", END]


def test_captions_fit_and_come_back(tokenizer):
    tigers = series(500, seed=3)
    for seed, tiger in enumerate(tigers):
        told = caption(tiger, seed=seed)
        ids = tokenizer(told).input_ids
        assert len(ids) <= LENGTH
        said = tokenizer.decode(ids, skip_special_tokens=True)
        assert re.findall("[a-z]+", said) == re.findall("[a-z]+", told)


def test_unknown_words_are_spelled(tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("Majestic").input_ids)
    assert "".join(tokens[1:-1]) == "majestic</w>" and len(tokens) > 3


def test_the_most_frequent_pair_is_merged_first():
    assert merges(("aab", "aac"))[0] == ("a", "a")
    assert merges(("ab",)) == [("a", "b</w>")]
    assert merges(("a",)) == []


def test_what_is_held_out_is_a_small_part():
    tigers = series(2000, seed=1)
    kept = [tiger for tiger in tigers if not held_out(tiger)]
    assert 0.8 < len(kept) / len(tigers) < 1
    for combination in HELD_OUT:
        names = tuple(combination)
        assert tuple(combination.values()) not in {
            tuple(getattr(tiger, name) for name in names) for tiger in kept
        }
        for name, value in combination.items():  # each of its words is known from elsewhere
            assert any(getattr(tiger, name) == value for tiger in kept)


def test_each_combination_is_asked_for_in_words_that_say_it():
    assert len(COMBINATIONS) == 120
    assert {x: len(CHOICES[x]) for x in ASKED} == {"fur": 4, "backdrop": 5, "mouth": 3, "age": 2}
    for k, asked in enumerate(COMBINATIONS):
        assert asked["fur"] in prompt(asked, k)
    assert sum(map(new, COMBINATIONS)) == 6 + 8  # black in snow; roaring in water


def test_what_the_measures_count():
    tigers = series(8, seed=4)
    wanted = [vars(tiger) for tiger in tigers]
    right = shown(paint(tigers, 64), wanted)
    assert right["fur"] == right["backdrop"] == 1 and right["all"] <= min(right[x] for x in ASKED)
    features = torch.tensor([[0.0], [2.0], [10.0], [16.0]])
    assert spread(features, ["a", "a", "b", "b"]) == pytest.approx(4)


# The shipped weights


def test_plain_diffusers_draws_with_the_folder_and_nothing_of_ours(pipe, folder, tmp_path):
    """In a process of its own, without network, without a warning: as our loader's pipeline."""
    command = [sys.executable, "-W", "error::FutureWarning", "-c", PLAIN, folder, "x"]
    environment = {"HF_HUB_OFFLINE": "1", "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "expected" not in done.stderr and "deprecated" not in done.stderr
    x = load_file(tmp_path / "x")["x"]
    size = pipe.vae.config.sample_size
    assert x.shape == (1, 3, size, size) and x.std() > 0.1
    ours = pipe(
        "a roaring white tiger cub in the snow at noon", guidance_scale=3.0, output_type="pt",
        num_inference_steps=4, generator=torch.Generator().manual_seed(0),
    ).images  # fmt: skip
    assert torch.allclose(ours, x, atol=1e-4)


def test_the_folder_is_small_and_half_precision(folder, weights):
    there = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in there) <= MAX_BYTES
    assert {path.parent.name for path in weights} == {"text_encoder", "unet", "vae"}
    assert not [path.name for path in there if path.suffix in (".bin", ".ckpt", ".pt", ".pkl")]
    for path in weights:
        with safe_open(path, "pt") as file:
            tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
        assert all(x.isfinite().all() for x in tensors)
        assert {x.dtype for x in tensors if x.is_floating_point()} == {torch.float16}


def test_old_versions_of_transformers_can_read_it(folder, tokenizer):
    """Up to 5.5 they look for these names, and up to 4 for these files."""
    with safe_open(folder / "text_encoder/model.safetensors", "pt") as file:
        assert {name.partition(".")[0] for name in file.keys()} == {"text_model"}  # noqa: SIM118
    vocabulary = json.loads((folder / "tokenizer/vocab.json").read_text())
    assert vocabulary == tokenizer.get_vocab()
    made = json.loads((folder / "tokenizer/tokenizer.json").read_text())["model"]["merges"]
    pairs = (folder / "tokenizer/merges.txt").read_text().splitlines()[1:]
    assert pairs == [" ".join(pair) for pair in made]


def test_the_recipe_writes_what_is_shipped(pipe, folder, weights, tmp_path, monkeypatch):
    """Saved once more, the shipped pipeline gives the same files and the same weights."""
    monkeypatch.setattr(train_mini_sd, "TARGET", tmp_path)
    train_mini_sd.export(copy.deepcopy(pipe), {"a": 1})
    there = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    there.discard(Path("fine_tuning.json"))  # what chapter 10 measured
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()} == there
    for path in weights:
        written = load_file(tmp_path / path.relative_to(folder))
        for name, x in load_file(path).items():
            assert torch.equal(written.pop(name), x)
        assert not written


def test_its_measures_are_of_these_weights(folder, weights, card):
    """What the card and bench/results say was measured with what is shipped."""
    sha256 = hashlib.sha256(b"".join(path.read_bytes() for path in weights)).hexdigest()
    result = json.loads((RESULTS / f"{folder.name}.json").read_text())
    assert card["measured"]["sha256"] == result["sha256"] == sha256
    for part in ("autoencoder", "guidance", "together", "floor"):
        assert card[part] == result[part]
    assert tuple(card["held_out"]) == HELD_OUT


def test_what_is_measured_of_any_size(pipe):
    """Reconstructions of this size are near the paintings; drawings of one prompt differ."""
    size = pipe.vae.config.sample_size
    whole, details, floor = measure_mini_sd.references(130, size)  # in two unequal parts
    assert whole.shape == details.shape == (130, 128)
    assert floor["fur"] == floor["backdrop"] == 1 and 0.9 < floor["all"] <= 1
    assert 0.01 < floor["eyes"] < 0.12
    kept = measure_mini_sd.autoencoder(pipe, 32)
    assert kept["psnr"] > 25 and kept["frechet_to_the_same"] < 60 and kept["eyes"] < 0.12
    found = measure_mini_sd.one_prompt(pipe, seed=0, count=4)
    assert 2 < found["spread"] < 2 * found["spread_of_painted"]
    asked = [COMBINATIONS[0]] * 2
    a, b = (drawn(pipe, asked, 1.0, seed=0, same_words=words) for words in (True, False))
    assert torch.equal(a[0], b[0]) and not torch.equal(a[1], b[1])


def test_latents_have_standard_deviation_1_and_come_back(pipe, card):
    config = pipe.unet.config
    x0 = to_float(paint(series(4, seed=6), pipe.vae.config.sample_size))
    latents = pipe.vae.encode(x0).latent_dist.mean * pipe.vae.config.scaling_factor
    assert latents.shape == (4, config.in_channels, config.sample_size, config.sample_size)
    assert 0.7 < latents.std() < 1.3
    back = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    assert (back - x0).square().mean() < 4 / 10 ** (card["autoencoder"]["psnr"] / 10 - 0.5)


def test_it_draws_what_is_asked_for(pipe, card):
    best = max(card["together"], key=lambda row: row["all"])
    every = 5 if pipe.vae.config.sample_size == 64 else 15  # larger ones take longer
    wanted = [asked for asked in COMBINATIONS if not new(asked)][::every]
    images = drawn(pipe, wanted, best["guidance_scale"], seed=1)
    right = shown(images, wanted)
    assert all(right[name] > best[name] - 0.2 for name in ASKED)
    assert right["all"] > best["all"] - 0.3 > 0.2
    assert shown(images, wanted[::-1])["all"] < 0.1  # the same, told apart from what was not asked
