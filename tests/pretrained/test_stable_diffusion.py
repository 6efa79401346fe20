"""The pipeline: which weights, how precise, from where, and a sentence where there is none."""

import gc
import json
import logging
import os
import pickle
import shutil
import socket
import subprocess
import sys
import warnings
import weakref
from pathlib import Path
from types import SimpleNamespace

import diffusers
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from mini_tokenizer import make_tokenizer
from safetensors.torch import load_file, save_file
from test_pretrained import fetched, flip, git, sentence_of, serving
from transformers import CLIPTextConfig, CLIPTextModel

from tigerdiff import load_pipeline
from tigerdiff.pretrained import hub as _hub
from tigerdiff.pretrained import stable_diffusion
from tigerdiff.pretrained.hub import names_in
from tigerdiff.pretrained.pipeline_files import pipeline_files
from tigerdiff.pretrained.stable_diffusion import (
    FULL,
    FULL_DOWNLOAD,
    FULL_MEMORY,
    FULL_REVISION,
    OFFLOADED,
    TILED,
    WHOLE,
    memory_needed,
    precision,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
INDEX = "model_index.json"
PARTS = ("text_encoder", "unet", "vae")
SHA = "a" * 40
NO_BAR = {"disable": True}


def weights(name):
    return f"{name}/{'' if name == 'text_encoder' else 'diffusion_pytorch_'}model.safetensors"


@pytest.fixture(scope="session")
def pipe(tmp_path_factory):
    """Stable Diffusion with every size small and every weight random, in float32."""
    tokenizer = make_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text = CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
        unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), attention_head_dim=4,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=32,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, sample_size=16,
        )  # fmt: skip
        scheduler = DDIMScheduler(steps_offset=1, clip_sample=False)
        pipe = StableDiffusionPipeline(
            vae, CLIPTextModel(text), tokenizer, unet, scheduler, None, None,
            requires_safety_checker=False,
        )  # fmt: skip
    pipe.set_progress_bar_config(**NO_BAR)
    return pipe


@pytest.fixture(scope="session")
def tiny(pipe, tmp_path_factory):
    """Its folder, stored in float16 as the miniature is; to be read only."""
    folder = tmp_path_factory.mktemp("pipelines") / "tiny"
    pipe.save_pretrained(folder)
    halve(folder)
    config = json.loads((folder / "text_encoder/config.json").read_text())
    config = {k: "float16" if k in ("dtype", "torch_dtype") else x for k, x in config.items()}
    (folder / "text_encoder/config.json").write_text(json.dumps(config))
    return folder


def halve(folder):
    for part in PARTS:
        stored = load_file(folder / weights(part))
        half = {name: x.half() if x.is_floating_point() else x for name, x in stored.items()}
        save_file(half, folder / weights(part), {"format": "pt"})


@pytest.fixture
def copy(tiny, tmp_path):
    """The folder, to be damaged."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


@pytest.fixture(autouse=True)
def mini(tiny, monkeypatch):
    monkeypatch.setitem(stable_diffusion.MINIATURES, "mini", tiny)


@pytest.fixture(autouse=True)
def no_network_and_no_pickles(monkeypatch):
    """Only this machine is reached, and no weights are unpickled."""
    connect = socket.socket.connect

    def local(self, address):
        assert address[0] == "127.0.0.1", f"{address} is asked"
        return connect(self, address)

    def refuse(*arguments, **options):
        raise AssertionError("something is unpickled")

    monkeypatch.setattr(socket.socket, "connect", local)
    for owner, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(owner, name, refuse)


def assert_same(pipe, other, dtype=torch.float32):
    """Equal in every weight once rounded to float16, as those that are stored."""
    for part in PARTS:
        ours, others = (getattr(x, part).state_dict() for x in (pipe, other))
        assert ours.keys() == others.keys()
        for name, x in ours.items():
            if x.is_floating_point():
                assert x.dtype == dtype
                assert torch.equal(x, others[name].half().to(dtype))


def draw(pipe):
    pipe.set_progress_bar_config(**NO_BAR)
    generator = torch.Generator().manual_seed(0)
    options = {"num_inference_steps": 2, "output_type": "pt", "generator": generator}
    return pipe("a tiger in a jungle", **options).images


# From a folder


@pytest.mark.parametrize("how", ["mini", "folder", "path"])
def test_a_folder_is_loaded_as_diffusers_loads_it_in_one_precision(tiny, pipe, how, capfd):
    name = {"mini": "mini", "folder": str(tiny), "path": tiny}[how]
    ours = load_pipeline(name, "cpu")
    out, err = capfd.readouterr()
    assert out == f"tiny loaded to the CPU: {size_of(pipe, 4)} in float32, no memory savers\n"
    assert err == ""
    assert type(ours) is StableDiffusionPipeline
    assert_same(ours, pipe)
    plain = StableDiffusionPipeline.from_pretrained(tiny).to(torch.float32)
    image = draw(ours)
    assert image.shape == (1, 3, 16, 16) and image.std() > 0.01
    assert torch.equal(image, draw(plain))


def test_a_pipeline_that_is_deleted_leaves_nothing_in_memory(tiny):
    loaded = load_pipeline(tiny, "cpu")
    draw(loaded)
    parts = [weakref.ref(getattr(loaded, part)) for part in PARTS]
    del loaded
    gc.collect()
    assert [part() for part in parts] == [None] * 3


def size_of(pipe, each):
    n = sum(x.numel() for part in PARTS for x in getattr(pipe, part).parameters())
    buffers = sum(x.numel() for part in PARTS for x in getattr(pipe, part).state_dict().values())
    assert n == buffers
    return f"{n * each / 1e6:.1f} MB"


def test_without_a_gpu_auto_is_the_miniature_and_says_why_in_one_line(pipe, capfd, monkeypatch):
    monkeypatch.setattr(stable_diffusion, "find_device", lambda device: CPU)
    monkeypatch.setattr(_hub, "fetch", None)  # nobody is asked
    assert_same(load_pipeline(), pipe)
    out, err = capfd.readouterr()
    assert out.count("\n") == 1 and err == ""
    assert out.startswith("tiny loaded to the CPU: ")
    assert "slow without a GPU: choose one (in Colab, Runtime > Change runtime type > T4)" in out
    assert f'load_pipeline("{FULL}"), 2.7 GB, licence {stable_diffusion.FULL_LICENCE}\n' in out


def test_the_half_precision_variant_is_taken_where_there_is_one(copy, pipe, capfd):
    sound = copy / weights("unet")
    half = sound.with_name("diffusion_pytorch_model.fp16.safetensors")
    sound.rename(half)
    save_file({"a": torch.zeros(1)}, sound)  # what would fail
    other = sound.with_name("diffusion_pytorch_model.non_ema.safetensors")
    shutil.copy(sound, other)
    assert_same(load_pipeline(copy, "cpu"), pipe)
    files = pipeline_files(copy, names_in(copy))
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in files
    assert not {weights("unet"), other.relative_to(copy).as_posix()} & set(files)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_weights_in_numbered_files_are_found(pipe, tmp_path, variant, capfd):
    """As diffusers and transformers themselves name them."""
    pipe.save_pretrained(tmp_path, variant=variant, max_shard_size="40KB")
    capfd.readouterr()
    loaded = load_pipeline(tmp_path, "cpu")
    assert size_of(pipe, 4) in capfd.readouterr().out
    for part in PARTS:
        assert len(list((tmp_path / part).glob("*-of-*.safetensors"))) > 1
        for name, x in getattr(pipe, part).state_dict().items():
            assert torch.equal(getattr(loaded, part).state_dict()[name], x)


def test_what_the_libraries_log_is_as_before(tiny, capfd):
    for log in (diffusers.utils.logging, sys.modules["transformers.utils.logging"]):
        level = log.get_verbosity()
        log.set_verbosity(logging.INFO)
        log.disable_progress_bar()
        load_pipeline(tiny, "cpu")
        assert log.get_verbosity() == logging.INFO
        assert not log.is_progress_bar_enabled()
        log.set_verbosity(level)
        log.enable_progress_bar()
        load_pipeline(tiny, "cpu")
        assert log.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        pipe = load_pipeline(tiny, "cpu")
        assert warnings.filters == filters
    capfd.readouterr()
    pipe("a tiger", num_inference_steps=1)
    assert "1/1" in capfd.readouterr().err  # the caller's bar


def test_what_the_libraries_warn_of_is_not_shown(copy, caplog, request):
    change_index(copy, requires_safety_checker=True)
    diffusers.utils.logging.enable_propagation()
    request.addfinalizer(diffusers.utils.logging.disable_propagation)
    load_pipeline(copy, "cpu")
    assert caplog.text == ""
    StableDiffusionPipeline.from_pretrained(copy)
    assert "disabled the safety checker" in caplog.text


def change_index(folder, **values):
    path = folder / INDEX
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def cut_short(folder):
    path = folder / weights("vae")
    path.write_bytes(path.read_bytes()[:-100])


def flip_exponents(folder):
    path = folder / weights("unet")
    data = bytearray(path.read_bytes())
    data[-64:] = bytes(byte | 0x7C for byte in data[-64:])  # exponents of all ones: not finite
    path.write_bytes(data)


def flip_one_exponent(folder):
    """A flipped bit makes a float32 huge but finite: the pictures would be NaN."""
    path = folder / weights("unet")
    tensors = load_file(path)
    tensor = next(iter(tensors.values()))
    tensor.view(-1)[0] = 1e30
    save_file(tensors, path)


def test_a_pipeline_without_its_safety_checker_loads_and_says_so(copy, pipe, capfd):
    change_index(copy, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    assert_same(load_pipeline(copy, "cpu"), pipe)
    assert capfd.readouterr().out.endswith("no memory savers, without its safety checker\n")


def test_a_picture_that_the_safety_checker_blackens_is_announced(tiny, monkeypatch, capfd):
    class Checker(torch.nn.Module):
        def forward(self, clip_input, images):
            return images * 0, [False, True, True][: len(images)]

    checker = Checker()
    checker.register_forward_hook(stable_diffusion._announce_black)
    checker(clip_input=None, images=torch.ones(1, 3))
    assert capfd.readouterr().out == ""
    checker(clip_input=None, images=torch.ones(3, 3))
    assert capfd.readouterr().out.startswith("picture 1, 2 is black: the model's safety checker")


def as_pickle(folder):
    (folder / weights("unet")).rename(folder / "unet/diffusion_pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda copy: (copy / INDEX).unlink(), "is no pipeline of diffusers, as model_index.json"),
        (lambda copy: (copy / INDEX).write_text("{"), "model_index.json is damaged (Expecting"),
        (lambda copy: (copy / INDEX).write_text("[]"), "model_index.json is damaged ("),
        (lambda copy: (copy / INDEX).write_bytes(b"\xff\xff"), "model_index.json is damaged ("),
        (cut_short, "vae/diffusion_pytorch_model.safetensors is damaged ("),
        (lambda copy: (copy / weights("unet")).write_bytes(pickle.dumps(1)), ".safetensors is dam"),
        (as_pickle, "lacks the safetensors of its unet, and pickles are never loaded: name"),
        (lambda copy: shutil.rmtree(copy / "tokenizer"), "lacks the safetensors of its tokenizer"),
        (lambda copy: (copy / "unet/own.py").write_text("1/0"), "has code of its own, which is"),
        (lambda copy: change_index(copy, _class_name=["own", "Pipe"]), "has code of its own"),
        (lambda copy: change_index(copy, _class_name="NoPipe"), "cannot be loaded by diffusers"),
        (lambda copy: change_index(copy, unet=["own", "Net"]), "cannot be loaded by diffusers"),
        (lambda copy: (copy / "unet/config.json").write_text("{"), "cannot be loaded by diffuse"),
        (lambda copy: save_file({}, copy / weights("vae")), "cannot be loaded by diffusers"),
        (flip_exponents, "unet is damaged (it has weights that are not finite in float16)"),
        (flip_one_exponent, "unet is damaged (it has weights that are not finite in float16)"),
    ],
)  # fmt: skip
def test_a_spoilt_folder_is_one_sentence(copy, spoil, sentence, capfd):
    spoil(copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    kind, said = sentence_of(load_pipeline, copy, "cpu")
    assert kind is ValueError
    assert str(copy) in said or said.startswith("copy cannot")
    assert sentence in said
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    assert capfd.readouterr().out == ""


def test_names_that_are_nothing_are_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(_hub, "fetch", None)  # nobody is asked
    for name in ("lion", "./runs/no", "/no/such", tmp_path / "no", Path("owner/name"), "a/b/c"):
        kind, said = sentence_of(load_pipeline, name, "cpu")
        assert kind is FileNotFoundError
        assert said.startswith(f"{name} does not exist: name a folder that save_pretrained wrote")


def test_a_device_that_is_not_there_is_one_sentence():
    for device in ("no such device", "cuda:7", 3):
        kind, said = sentence_of(load_pipeline, "mini", device)
        assert kind is ValueError
        assert said.startswith("device must be one that this machine has: cpu")
    for name in (None, 3, "", []):
        kind, said = sentence_of(load_pipeline, name, "cpu")
        assert kind is ValueError
        assert said.startswith("name must be a path")


@pytest.mark.parametrize("missing", ["diffusers", "transformers", "accelerate"])
def test_what_is_not_installed_is_one_sentence(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError) as raised:
        load_pipeline("mini", "cpu")
    assert str(raised.value).endswith('): pip install "tigerdiff[course]"')
    assert missing in str(raised.value)


# Memory and precision


@pytest.mark.parametrize(
    ("free", "parts", "saver"),
    [
        (15.6, "sd", WHOLE), (15.6, "xl", WHOLE), (5.9, "sd", TILED), (12, "xl", TILED),
        (4.5, "sd", OFFLOADED), (10, "xl", OFFLOADED), (3.2, "sd", OFFLOADED), (8, "xl", OFFLOADED),
        (2.8, "sd", None), (7.5, "xl", None), (15.6, "flux", None), (84, "flux", WHOLE),
        (40, "flux", OFFLOADED),
    ],
)  # fmt: skip
def test_memory_savers_are_those_that_a_card_needs(free, parts, saver, monkeypatch):
    """Sizes in float16 of Stable Diffusion 1.5, SDXL and FLUX.1, from their published counts."""
    billions = {
        "sd": {"unet": 0.860, "text_encoder": 0.123, "vae": 0.084, "safety_checker": 0.304},
        "xl": {"unet": 2.567, "text_encoder": 0.123, "text_encoder_2": 0.695, "vae": 0.084},
        "flux": {"transformer": 11.9, "text_encoder_2": 4.76, "text_encoder": 0.123, "vae": 0.084},
    }
    sizes = {part: n * 2e9 for part, n in billions[parts].items()}
    monkeypatch.setattr(stable_diffusion, "_place", lambda device: ("Tesla T4", free * 1e9))
    if saver is None:
        with pytest.raises(MemoryError, match=r"^no/tiger needs .* GB of memory on Tesla T4, and"):
            stable_diffusion._saver("no/tiger", CUDA, sizes)
    else:
        assert stable_diffusion._saver("no/tiger", CUDA, sizes) == saver


def test_more_memory_never_needs_more_savers():
    for weights, largest in ((1e7, 5e6), (3e9, 1.8e9), (7e9, 5e9), (34e9, 24e9), (1e9, 1e9)):
        needed = memory_needed(weights, largest, "cuda")
        assert list(needed) == [WHOLE, TILED, OFFLOADED]
        assert sorted(needed.values(), reverse=True) == list(needed.values())
        assert min(needed.values()) > largest
        assert needed[TILED] > weights
    assert memory_needed(4e9, 2e9, "cpu")[WHOLE] == pytest.approx(5.3e9)


def test_the_full_model_needs_the_memory_that_is_stated():
    least = min(memory_needed(FULL_DOWNLOAD, 0.860 * 2e9, "cuda").values())
    assert least <= FULL_MEMORY < 1.2 * least


def test_precision():
    for name in ("StableDiffusionPipeline", "FluxPipeline"):
        for bfloat16 in (False, True):
            assert precision(name, "cpu", bfloat16) == torch.float32
            assert precision(name, "mps", bfloat16) == torch.float32
        assert precision(name, "cuda", False) == torch.float16
    assert precision("StableDiffusionPipeline", "cuda", True) == torch.float16
    assert precision("FluxPipeline", "cuda", True) == torch.bfloat16
    assert precision("StableDiffusionXLPipeline", "cuda", True) == torch.bfloat16


class Recorded(StableDiffusionPipeline):
    """A pipeline that notes where it was to go, as there is no GPU to go to."""

    gone: tuple = ()

    def to(self, *arguments, **options):
        self.gone = ("to", *arguments)
        return self

    def enable_model_cpu_offload(self, gpu_id=None, device=None):
        self.gone = ("offload", device)


@pytest.fixture
def card(monkeypatch):
    """A GPU as far as this module asks for one; its ``free`` memory may be changed."""
    card = SimpleNamespace(free=15e9, pipe=None, raises=None)

    def from_pretrained(folder, **options):
        if card.raises:
            raise card.raises
        assert options["use_safetensors"] is True
        card.pipe = Recorded.from_pretrained(folder, **options)
        return card.pipe

    monkeypatch.setattr(stable_diffusion, "find_device", lambda device: CUDA)
    monkeypatch.setattr(stable_diffusion, "_place", lambda device: ("Tesla T4", card.free))
    monkeypatch.setattr(stable_diffusion, "has_bfloat16", lambda: True)
    fake = SimpleNamespace(from_pretrained=from_pretrained)
    monkeypatch.setattr(diffusers, "AutoPipelineForText2Image", fake)
    return card


@pytest.mark.parametrize("saver", [WHOLE, TILED, OFFLOADED])
def test_a_saver_is_set_and_reported(card, tiny, pipe, saver, capfd, monkeypatch):
    needed = {x: 15e9 if x == saver else 16e9 for x in (WHOLE, TILED, OFFLOADED)}
    monkeypatch.setattr(stable_diffusion, "memory_needed", lambda *arguments: needed)
    loaded = load_pipeline(tiny)
    assert (
        capfd.readouterr().out
        == f"tiny loaded to Tesla T4: {size_of(pipe, 2)} in float16, {saver}\n"
    )
    assert_same(loaded, pipe, torch.float16)
    assert loaded.gone == (("offload", CUDA) if saver == OFFLOADED else ("to", CUDA))
    assert loaded.vae.use_tiling == loaded.vae.use_slicing == (saver != WHOLE)


def test_all_parts_are_of_one_type(card, tiny, pipe, monkeypatch):
    """Also where transformers gives what is stored, whatever is asked for."""

    def from_pretrained(folder, torch_dtype, **options):
        mixed = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch_dtype)
        mixed.text_encoder.half()
        return mixed

    fake = SimpleNamespace(from_pretrained=from_pretrained)
    monkeypatch.setattr(diffusers, "AutoPipelineForText2Image", fake)
    monkeypatch.setattr(stable_diffusion, "find_device", lambda device: CPU)
    assert_same(load_pipeline(tiny), pipe)


def test_memory_that_runs_out_is_one_sentence(card, tiny, monkeypatch):
    card.raises = torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")
    card.free = 6e8
    with pytest.raises(MemoryError) as raised:
        load_pipeline(tiny)
    said = str(raised.value)
    assert "of memory on Tesla T4, and 0.6 GB are free: close other programs that use it" in said
    assert "\n" not in said
    monkeypatch.undo()
    monkeypatch.setattr(stable_diffusion, "_place", lambda device: ("the CPU", 4e8))
    with pytest.raises(MemoryError, match=r"needs 0\.5 GB of memory on the CPU, and 0\.4 GB"):
        load_pipeline(tiny, "cpu")


# "auto", with a GPU


def test_auto_takes_the_full_model_that_is_here_and_downloads_nothing(
    card, tiny, pipe, capfd, monkeypatch
):
    missing = {"unet/a.safetensors": 2_000_000_000, "vae/a.safetensors": 700_000_000}
    for sizes, free, reason in (
        ({}, 15e9, None),
        (missing, 15e9, f'load_pipeline("{FULL}"), a download of 2.7 GB, licence creative'),
        ({}, 3e9, f"{FULL} needs 3.2 GB of memory on Tesla T4, and 3.0 GB are free: c"),
        (None, 15e9, "not reached: go online"),
    ):

        def fetch(repo_id, first, choose, *, revision, before, sizes=sizes, **options):
            assert (repo_id, revision) == (FULL, FULL_REVISION)
            if sizes is None:
                raise ConnectionError("the Hub was not reached: go online")
            if sizes:
                before(sizes, "creativeml-openrail-m")
            return tiny

        card.free = free
        monkeypatch.setattr(_hub, "fetch", fetch)
        assert load_pipeline("auto") is card.pipe
        out = capfd.readouterr().out
        name = "tiny" if reason else FULL
        assert out.count("\n") == 1
        assert out.startswith(
            f"{name} loaded to Tesla T4: {size_of(pipe, 2)} in float16, no memory savers"
        )
        assert (reason or "") in out


def test_a_full_model_that_is_named_is_the_one_that_auto_takes(monkeypatch, tiny):
    asked = []

    def fetch(repo_id, first, choose, *, revision, **options):
        asked.append(revision)
        return tiny

    monkeypatch.setattr(_hub, "fetch", fetch)
    for name in (FULL, f"{FULL}@main", "cats/tigers", "cats/tigers@v1"):
        load_pipeline(name, "cpu")
    assert asked == [FULL_REVISION, "main", "main", "v1"]


# The Hub


@pytest.fixture
def hub(tiny, tmp_path, monkeypatch):
    """The Hub with the pipeline, and with much else that its repository has."""
    files = {name: (tiny / name).read_bytes() for name in names_in(tiny)}
    needed = set(files)
    sound = files[weights("unet")]
    half = "unet/diffusion_pytorch_model.fp16.safetensors"
    files |= {half: sound, "v1-5-pruned.safetensors": b"1", "vae_1_0/model.safetensors": b"1"}
    files |= {"unet/diffusion_pytorch_model.bin": pickle.dumps(1), "README.md": b"# Tigers"}
    files |= {"unet/model.onnx": b"1", "handler.py": b"1/0", "tigers.png": b"1"}
    files |= {"unet/diffusion_pytorch_model.non_ema.safetensors": b"1"}
    monkeypatch.chdir(tmp_path)
    with serving(files, tmp_path, monkeypatch) as state:
        state.needed = needed - {weights("unet")} | {half}
        yield state


def load(name="cats/tigers"):
    return load_pipeline(name, "cpu")


def test_a_pipeline_of_the_hub_is_named_then_downloaded_once_and_nothing_else(hub, pipe, capfd):
    assert_same(load(), pipe)
    first, second = capfd.readouterr().out.splitlines()
    size = sum(len(hub.stated[name]) for name in hub.needed - {"model_index.json"})
    assert first == f"cats/tigers: a download of {size / 1e6:.1f} MB, licence mit"
    assert (
        second == f"cats/tigers loaded to the CPU: {size_of(pipe, 4)} in float32, no memory savers"
    )
    assert fetched(hub) == hub.needed
    load()
    load("cats/tigers@v1")  # the same commit
    assert capfd.readouterr().out == f"{second}\n" * 2
    assert {path.name for path in hub.cache.rglob("*") if path.suffix in {".py", ".bin"}} == set()


def test_without_an_answer_or_offline_the_cache_is_taken(hub, pipe, monkeypatch, caplog, capfd):
    for _ in range(2):
        load("cats/tigers@v1")
    assert capfd.readouterr().out.count("a download of") == 1
    hub.error = (503, "Unavailable")
    assert_same(load("cats/tigers@v1"), pipe)
    assert "the Hub does not answer: cats/tigers is taken from its cache" in caplog.text
    monkeypatch.setattr(_hub.constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert_same(load("cats/tigers@v1"), pipe)
    kind, said = sentence_of(load, "cats/tigers@v2")
    assert kind is ConnectionError
    assert "could not be asked for a model of that name (revision 'v2')" in said
    assert not hub.asked


def test_what_is_no_pipeline_or_has_only_pickles_is_not_downloaded(hub):
    for name in (weights("vae"), "model_index.json"):
        del hub.stated[name]
        kind, said = sentence_of(load)
        assert kind is ValueError
        assert not [name for name in fetched(hub) if name != "model_index.json"]
        wanted = {weights("vae"): "lacks the safetensors of its vae, and pickles are never loaded"}
        assert (
            wanted.get(name, "cats/tigers on the Hub lacks model_index.json: name another model")
            in said
        )


def test_what_is_too_large_is_not_downloaded(hub, monkeypatch):
    unet = "unet/diffusion_pytorch_model.fp16.safetensors"
    for size, kind, sentence in (
        (65 * 2**30, ValueError, "cats/tigers on the Hub has 65.0 GiB, and more than 64 GiB"),
        (9_000_000_000, ValueError, "has 9.0 GB to download and"),
        (2_000_000_000, MemoryError, "cats/tigers needs 2.9 GB of memory on the CPU, and 2.0 GB"),
    ):
        hub.sizes[unet] = size
        monkeypatch.setattr(_hub.shutil, "disk_usage", lambda path: SimpleNamespace(free=8e9))
        monkeypatch.setattr(stable_diffusion, "_place", lambda device: ("the CPU", 2e9))
        with pytest.raises(kind) as raised:
            load()
        assert sentence in str(raised.value) and "\n" not in str(raised.value)
    assert fetched(hub) == {"model_index.json"}


@pytest.mark.parametrize("name", [weights("vae"), "scheduler/scheduler_config.json"])
def test_a_file_that_differs_from_its_hash_is_deleted_and_no_other(hub, pipe, name):
    hub.sent[name] = hub.sent[name][:-2] + bytes([hub.sent[name][-2] ^ 1]) + hub.sent[name][-1:]
    kind, said = sentence_of(load)
    assert kind is ValueError
    assert said.startswith(f"{name} of cats/tigers is damaged, as its hash is not the one that the")
    kept = set(names_in(hub.cache / f"models--cats--tigers/snapshots/{SHA}"))
    assert name not in kept
    hub.sent = dict(hub.stated)
    hub.asked.clear()
    assert_same(load(), pipe)
    assert kept <= hub.needed
    assert len(list((hub.cache / "models--cats--tigers/blobs").iterdir())) == len(
        {git(hub.stated[name]) for name in hub.needed}
    )


def test_a_file_that_was_damaged_in_the_cache_is_downloaded_anew(hub, pipe, monkeypatch):
    load()
    (vae,) = hub.cache.rglob(weights("vae"))
    sound = vae.read_bytes()
    flip(vae)
    with monkeypatch.context() as patch:  # what is large is not hashed again, it takes too long
        patch.setattr(_hub, "REHASHED_BYTES", len(sound))
        load()
    assert vae.read_bytes() != sound
    assert "is damaged, as its hash is not the one" in sentence_of(load)[1]
    assert_same(load(), pipe)
    assert vae.read_bytes() == sound


# Without the Hub: its cache, as a folder that is laid out by hand


def as_cache(folder, cache, revision=None):
    """The folder in the layout of the Hub's cache: main of cats/tigers, or only a commit."""
    repo = cache / "models--cats--tigers"
    shutil.copytree(folder, repo / "snapshots" / (revision or SHA))
    (repo / "refs").mkdir()
    if revision is None:
        (repo / "refs/main").write_text(SHA)
    return repo / "snapshots" / (revision or SHA)


@pytest.fixture
def offline(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(_hub, "HfApi", None)
    monkeypatch.setattr(_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return as_cache(tiny, tmp_path / "hub")


def test_offline_the_cache_of_the_hub_is_read(offline, pipe, capfd):
    assert_same(load(), pipe)
    assert_same(load(f"cats/tigers@{SHA}"), pipe)
    assert capfd.readouterr().out.count("\n") == 2
    kind, said = sentence_of(load, "cats/tigers@v9")
    assert (
        kind is ConnectionError
        and "could not be asked for a model of that name (revision 'v9')" in said
    )
    assert sentence_of(load, "cats/lions")[0] is ConnectionError
    for name in (weights("unet"), "unet/config.json"):
        (offline / name).unlink()
        kind, said = sentence_of(load)
        assert kind is ValueError
        assert "its unet" in said and "if a download was cut short, load it again while onl" in said


def test_offline_what_is_damaged_is_named_and_stays(offline):
    cut_short(offline)
    kind, said = sentence_of(load)
    assert kind is ValueError
    assert said.startswith(f"{offline / weights('vae')} is damaged (")
    assert said.endswith("): delete that file, and copy or download it anew")
    assert (offline / weights("vae")).is_file()


# A process that has just begun, and that no network is open to.
ALONE = """
import socket, sys

def refuse(*arguments):
    raise OSError("no network in this test")

socket.getaddrinfo = socket.socket.connect = refuse
import tigerdiff
try:
    tigerdiff.load_pipeline, tigerdiff.MINI_PATH
    assert not {"diffusers", "transformers", "accelerate"} & set(sys.modules)
    pipe = tigerdiff.load_pipeline(sys.argv[1], "cpu")
    print(pipe("a tiger", num_inference_steps=1).images[0].size)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def test_the_environment_of_the_hub_is_heeded(tiny, pipe, tmp_path):
    as_cache(tiny, tmp_path / "hub")
    environment = os.environ | {"HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, "cats/tigers"], env=environment, cwd=tmp_path,
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    line = f"cats/tigers loaded to the CPU: {size_of(pipe, 4)} in float32, no memory savers"
    assert done.stdout.splitlines() == [line, "(16, 16)"]
