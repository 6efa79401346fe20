"""Trained networks: what is exported is what is loaded, from wherever, and never a pickle."""

import functools
import hashlib
import http.server
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch._dynamo  # now, as it has a kind of Unpickler: no_pickles takes pickle's away
from huggingface_hub import HfApi, constants, hf_hub_download
from PIL import Image
from safetensors.torch import load_file, save_file
from setuptools import Distribution

import tigerdiff
from tigerdiff import UNet, export_run, load_pretrained, read_card, save_pretrained
from tigerdiff.diffusion import NoiseSchedule
from tigerdiff.drawing import sample
from tigerdiff.pretrained import hub as _hub
from tigerdiff.pretrained import load as pretrained
from tigerdiff.pretrained.load import FILES, WEIGHTS
from tigerdiff.training.checkpoints import load_checkpoint
from tigerdiff.training.config import TrainConfig
from tigerdiff.training.loop import train

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(
    {"ddpm-tiger-64", *(path.name for path in WEIGHTS.glob("*") if pretrained.is_exported(path))}
)
MAX_BYTES = 16_000_000
CARD = {"data": "painted", "seed": 3, "images": 24}


def tiny(seed=0):
    """A network whose every weight is random: fresh ones answer zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = UNet(size=16, channels=8, multipliers=(1, 2), blocks=1, attention=(8,))
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.1)
    return model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An exported folder; to be read only."""
    return save_pretrained(tiny(), tmp_path_factory.mktemp("a") / "tiny", T=50, card=CARD)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two steps on painted tigers of seed 4."""
    out = tmp_path_factory.mktemp("runs") / "painted"
    config = TrainConfig(
        "painted", out, image_size=16, steps=2, batch_size=4, channels=8, blocks=1, T=40,
        sample_every=0, seed=4, schedule="linear",
    )  # fmt: skip
    list(train(config))
    return out


@pytest.fixture
def copy(folder, tmp_path):
    """An exported folder to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture
def no_pickles(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("something is unpickled")

    for owner, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(owner, name, refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)


def assert_same(model, other):
    """Equal in every weight once rounded to float16, as those that are stored."""
    ours, others = model.state_dict(), other.state_dict()
    assert ours.keys() == others.keys()
    for name, x in ours.items():
        assert x.dtype == torch.float32 and x.device.type == "cpu"
        assert torch.equal(x, others[name].half().float())


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def sentence_of(call, *arguments, **options):
    with pytest.raises((OSError, ValueError)) as raised:
        call(*arguments, **options)
    said = str(raised.value)
    assert "\n" not in said
    return type(raised.value), said


# What ships


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_is_whole_small_and_finite(name, no_pickles):
    there = {path.name for path in (WEIGHTS / name).glob("*")}
    there -= {"flow_matching.json", "photos.json"}  # of other networks, for chapters 8 and 4
    assert there == set(FILES), "tigerdiff/weights must hold the exported folder"
    data = (WEIGHTS / name / "model.safetensors").read_bytes()
    assert len(data) <= MAX_BYTES
    card = read_card(name)
    assert card == read_card(WEIGHTS / name)
    assert card["sha256"] == hashlib.sha256(data).hexdigest()
    assert card["data"] == "painted" and card["seed"] >= 0 and card["images"] > 0
    for x in load_file(WEIGHTS / name / "model.safetensors").values():
        assert x.dtype == torch.float16 and x.isfinite().all()
    model, schedule = load_pretrained(name)
    size = model.config["size"]
    images = sample(model, schedule, 2, size=size, steps=2, progress=False)
    assert images.shape == (2, 3, size, size)
    assert images.float().std() > 10  # no plain grey


# A process that has just begun, and that no network is open to.
ALONE = """
import socket, sys
from pathlib import Path

def refuse(*arguments):
    raise OSError("no network in this test")

socket.getaddrinfo = socket.socket.connect = refuse
from tigerdiff import cli
from tigerdiff.pretrained import load as pretrained
pretrained.WEIGHTS = Path(sys.argv.pop(1))
try:
    cli.main()
finally:
    print("loaded:", *(name for name in ("huggingface_hub", "requests") if name in sys.modules))
"""


def alone(weights, *words, cwd):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", ALONE, weights, *map(str, words)], cwd=cwd, env=environment,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_a_shipped_model_draws_in_a_fresh_process_without_network_or_hub(folder, tmp_path):
    words = ["sample", "--checkpoint", "tiny", "--sampler", "ddim", "--steps", "5", "-n", "4"]
    done = alone(folder.parent, *words, "--seed", "0", "--out", "grid.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "grid.png: 4 images of 16 x 16 pixels\nloaded:\n"
    model, schedule = load_pretrained(folder)
    first = sample(model, schedule, 4, size=16, steps=5, progress=False)[0]
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (2 * 18 + 2, 2 * 18 + 2)
        drawn = torch.from_numpy(np.array(grid.convert("RGB")))[2:18, 2:18].permute(2, 0, 1)
    assert (drawn.int() - first.int()).abs().max() <= 1


def test_what_exists_here_wins_over_what_ships(folder, run, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS", folder.parent)
    monkeypatch.chdir(tmp_path)
    assert load_pretrained("tiny")[1].T == 50
    shutil.copytree(run, tmp_path / "tiny")
    assert load_pretrained("tiny")[1].T == 40


def test_the_wheel_takes_every_file_of_every_shipped_model(tmp_path, monkeypatch):
    """What setuptools makes of pyproject.toml, without building."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    wanted = {f"weights/{name}/{file}" for name in SHIPPED for file in FILES}
    package = tmp_path / "tigerdiff/pretrained"
    for path in wanted:
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).touch()
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    distribution = Distribution({"script_name": "setup.py"})
    distribution.parse_config_files()
    build = distribution.get_command_obj("build_py")
    build.ensure_finalized()
    taken = {name: files for name, *_, files in build.data_files}["tigerdiff.pretrained"]
    assert wanted == {path.replace(os.sep, "/") for path in taken}


# Folders


def test_what_is_exported_is_loaded(folder, no_pickles):
    before = torch.random.get_rng_state()
    model, schedule = load_pretrained(folder)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_same(model, tiny())
    assert model.config == tiny().config
    assert not model.training and all(x.requires_grad for x in model.parameters())
    assert torch.equal(schedule.alpha_bar, NoiseSchedule.cosine(50).alpha_bar)
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3, 50])
    with torch.no_grad():
        torch.testing.assert_close(model(x, t), tiny()(x, t), atol=0.02, rtol=0.02)


def test_an_exported_folder_is_what_its_card_says(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    data = (folder / "model.safetensors").read_bytes()
    card = json.loads((folder / "card.json").read_text())
    assert card["sha256"] == hashlib.sha256(data).hexdigest()
    assert card | CARD == card
    assert card["parameters"] == sum(x.numel() for x in tiny().parameters())
    assert len(data) < 2.5 * card["parameters"]
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1  # readable for all alike
    config = json.loads((folder / "config.json").read_text())
    wanted = {"format": 1, "network": tiny().config, "schedule": "cosine", "T": 50}
    assert config == wanted


def test_a_card_that_cannot_be_written_leaves_what_was_there(folder, tmp_path):
    there = shutil.copytree(folder, tmp_path / "there")
    with pytest.raises(ValueError, match="^card must hold numbers, words, lists and dicts"):
        save_pretrained(tiny(), there, card={"loss": torch.tensor(0.1)})
    assert_same(load_pretrained(there)[0], load_pretrained(folder)[0])
    save_pretrained(tiny(), there, T=np.int64(50))
    assert load_pretrained(there)[1].T == 50


def test_a_run_is_loaded_and_exported(run, tmp_path):
    model, schedule = load_pretrained(run)
    wanted, _ = load_checkpoint(run)
    for name, x in wanted.state_dict().items():
        assert torch.equal(model.state_dict()[name], x)
    card = {"hardware": "none", "seed": 4}
    out = export_run(run, tmp_path / "new" / "tigers", card)
    exported, its_schedule = load_pretrained(str(out))
    assert_same(exported, wanted)
    for each in (schedule, its_schedule):
        assert torch.equal(each.alpha_bar, NoiseSchedule.linear(40).alpha_bar)
    card = read_card(out)
    assert (card["data"], card["seed"], card["steps"], card["images"]) == ("painted", 4, 2, 8)
    assert card["hardware"] == "none"
    assert card["recipe"]["batch_size"] == 4
    assert str(run.parent) not in (out / "card.json").read_text()


def test_a_folder_is_written_whole_or_not_at_all(copy, monkeypatch):
    def full(*arguments):
        raise OSError("No space left on device")

    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    monkeypatch.setattr(tigerdiff.data.files.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(tiny(1), copy, T=50)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_weights_that_float16_cannot_hold_are_refused(tmp_path):
    for value in (1e5, float("nan")):
        model = tiny()
        model.stem.weight.data[0] = value
        kind, said = sentence_of(save_pretrained, model, tmp_path / "no")
        assert (kind, said[:19]) == (ValueError, "model: stem.weight ")
    kind, said = sentence_of(save_pretrained, tiny(), tmp_path / "no", schedule="bar")
    assert "schedule must be" in said
    assert not (tmp_path / "no").exists()


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def other_network(copy):
    save_file({"a": torch.zeros(1)}, copy / "model.safetensors")
    digest = hashlib.sha256((copy / "model.safetensors").read_bytes()).hexdigest()
    change(copy / "card.json", sha256=digest)


def no_safetensors(copy):
    (copy / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    digest = hashlib.sha256(pickle.dumps({"a": 1})).hexdigest()
    change(copy / "card.json", sha256=digest)


def with_network(copy, **values):
    change(copy / "config.json", network=tiny().config | values)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda copy: flip(copy / "model.safetensors"), r"model\.safetensors is damaged \(its SHA"),
        (other_network, r"model\.safetensors is damaged \(its weights do not fit the network"),
        (no_safetensors, r"model\.safetensors is damaged \(.*header"),
        (lambda copy: (copy / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda copy: (copy / "config.json").unlink(), "config.json is missing"),
        (lambda copy: (copy / "card.json").unlink(), "card.json is missing"),
        (lambda copy: (copy / "config.json").write_text("{"), r"config\.json is damaged \(Expect"),
        (lambda copy: (copy / "config.json").write_bytes(b"\xff"), r"config\.json is damaged"),
        (lambda copy: (copy / "card.json").write_text("[]"), r"card\.json is damaged \(it is no"),
        (lambda copy: change(copy / "config.json", T="x"), r"its T is missing or not what"),
        (lambda copy: change(copy / "config.json", network=3), r"its network is missing or not"),
        (lambda copy: change(copy / "config.json", format=2), "has format 2 and .* --upgrade"),
        (lambda copy: change(copy / "config.json", schedule="new"), "not know .* --upgrade tiger"),
        (lambda copy: change(copy / "config.json", T=-1), "not know .* --upgrade tigerdiff"),
        (lambda copy: with_network(copy, experts=4), "not know .*experts.* --upgrade tigerdiff"),
        (lambda copy: with_network(copy, prediction="z"), "not know .*'z'.* --upgrade tigerdiff"),
    ],
)  # fmt: skip
def test_a_spoilt_folder_is_one_sentence(copy, spoil, sentence, no_pickles):
    spoil(copy)
    kind, said = sentence_of(load_pretrained, copy)
    assert kind is ValueError
    assert re.search(sentence, said), said
    assert "copy" in said


def test_names_that_are_nothing_are_one_sentence(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS", folder.parent)
    monkeypatch.setattr(_hub, "fetch", None)  # nobody is asked
    for name in ("ddpm-lion-64", "./runs/no", "/no/such", tmp_path / "no", Path("owner/name"), ""):
        if str(name):
            kind, said = sentence_of(load_pretrained, name)
            assert kind is FileNotFoundError
            assert said.startswith(f"{name} does not exist: name a run's folder")
            assert "a shipped model (tiny)" in said
    kind, said = sentence_of(load_pretrained, "tiny", revision="v1")
    assert said == "revision is only for a model of the Hub (owner/name), not for tiny"
    assert "no complete checkpoint" in sentence_of(load_pretrained, tmp_path)[1]


# The Hub


DRIP = threading.Event()  # is waited for instead of time.sleep, which the tests replace


class FakeHub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as answers for one repository, cats/tigers; its ``state`` says how."""

    def log_message(self, *arguments):
        pass

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.server.state.drip and len(body) > 10_000:
            for byte in body:
                self.wfile.write(bytes([byte]))
                DRIP.wait(self.server.state.drip)
        else:
            self.wfile.write(body)

    def do_HEAD(self):
        state, path = self.server.state, self.path.partition("?")[0]
        state.asked.append(path)
        DRIP.wait(state.delay)
        if state.error:
            code, name = state.error
            return self.answer(code, X_Error_Code=name, X_Error_Message=name)
        if path.startswith("/api/models/cats/tigers"):
            siblings = [
                {"rfilename": name, "size": state.sizes.get(name, len(data)), "blobId": git(data)}
                for name, data in state.stated.items()
            ]
            for sibling in siblings:
                if sibling["rfilename"].endswith((".safetensors", ".bin")):
                    digest = hashlib.sha256(state.stated[sibling["rfilename"]]).hexdigest()
                    sibling["lfs"] = {"sha256": digest, "size": sibling["size"], "pointerSize": 1}
            if "/tree/" in path:
                siblings = [
                    {"type": "file", "path": x["rfilename"], "size": x["size"], "oid": x["blobId"]}
                    | ({"lfs": x["lfs"] | {"oid": x["lfs"]["sha256"]}} if "lfs" in x else {})
                    for x in siblings
                ]
                return self.answer(200, json.dumps(siblings).encode())
            about = {"private": False, "downloads": 0, "likes": 0, "tags": []}
            about |= {"id": "cats/tigers", "sha": "a" * 40, "siblings": siblings}
            about["cardData"] = {"license": "mit"}
            body = json.dumps(about)
            return self.answer(200, body.encode(), Content_Type="application/json")
        name = path.partition("/resolve/")[2].partition("/")[2]
        if name not in state.stated:
            return self.answer(404)
        etag = hashlib.sha256(state.stated[name]).hexdigest()
        return self.answer(200, state.sent[name], ETag=f'"{etag}"', X_Repo_Commit="a" * 40)

    do_GET = do_HEAD


def git(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def serving(files, tmp_path, monkeypatch):
    """The Hub with these files as cats/tigers, asked by this process and by the download's."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeHub) as server:
        server.state = state = SimpleNamespace(
            sent=dict(files), stated=dict(files), sizes={}, error=None, delay=0, drip=0, asked=[]
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def at(url):
            api = functools.partial(HfApi, endpoint=url)
            monkeypatch.setattr(_hub, "HfApi", api)
            monkeypatch.setattr(
                _hub, "hf_hub_download", functools.partial(hf_hub_download, endpoint=url)
            )
            monkeypatch.setenv("HF_ENDPOINT", url)

        state.at, state.cache = at, tmp_path / "cache"
        at(f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(state.cache))
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between attempts
        yield state
        server.shutdown()


@pytest.fixture
def fake_hub(folder, tmp_path, monkeypatch):
    """The Hub with the exported folder and a pickle."""
    files = {name: (folder / name).read_bytes() for name in FILES}
    files["pytorch_model.bin"] = pickle.dumps({"a": 1})
    monkeypatch.chdir(tmp_path)
    with serving(files, tmp_path, monkeypatch) as state:
        yield state


def from_hub(revision=None):
    return load_pretrained("cats/tigers", revision=revision)[0]


def fetched(hub):
    return {path.partition("/resolve/")[2].partition("/")[2] for path in hub.asked} - {""}


def test_a_model_of_the_hub_is_downloaded_once_and_no_other_file(
    fake_hub, no_pickles, caplog, monkeypatch
):
    assert_same(from_hub(), tiny())
    assert read_card("cats/tigers")["seed"] == 3
    assert fetched(fake_hub) == set(FILES)
    fake_hub.error = (503, "Unavailable")
    assert_same(from_hub(), tiny())
    assert "the Hub does not answer: cats/tigers is taken from its cache" in caplog.text
    fake_hub.at("http://127.0.0.1:9")
    assert_same(from_hub(), tiny())
    fake_hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert_same(from_hub(), tiny())
    assert not fake_hub.asked


def test_an_export_does_not_go_into_a_runs_folder(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(FileExistsError, match="holds a run: choose another folder"):
        save_pretrained(tiny(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_an_answer_that_is_an_error_is_one_sentence(fake_hub, monkeypatch):
    not_reached = "there is no folder cats/tigers here, and the Hugging Face Hub could not be"
    for error, kind, sentence in (
        ((401, "RepoNotFound"), FileNotFoundError, "no folder here and no model on the Hub, unles"),
        ((404, "RepoNotFound"), FileNotFoundError, "cats/tigers is no folder here and no model on"),
        ((403, "GatedRepo"), PermissionError, "is gated: accept its terms on its page of the Hub"),
        ((401, "GatedRepo"), PermissionError, "and log in with hf auth login"),
        ((401, "Invalid token"), PermissionError, "the Hub does not let you have cats/tigers: log"),
        ((404, "RevisionNotFound"), ValueError, "cats/tigers has no revision 'v9': name one of"),
        ((503, "Unavailable"), ConnectionError, not_reached),
    ):
        fake_hub.error = error
        raised, said = sentence_of(from_hub, "v9")
        assert issubclass(raised, kind)
        assert sentence in said
    fake_hub.at("http://127.0.0.1:9")
    assert not_reached in sentence_of(from_hub, "v9")[1]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not_reached in sentence_of(from_hub, "v9")[1]
    assert "no name of a model" in sentence_of(load_pretrained, "cats/tigers--and--lions..x")[1]


posix = pytest.mark.skipif(os.name == "nt", reason="Windows has neither ps nor signals of threads")


def running_programs():
    """Every program on this machine, with its arguments."""
    return subprocess.check_output(["ps", "-eo", "args"], text=True)


@posix
def test_a_hub_that_hangs_or_drips_is_one_sentence_and_nothing_runs_on(fake_hub, monkeypatch):
    fake_hub.delay = 5
    with monkeypatch.context() as patch:
        patch.setattr(_hub, "ANSWER_SECONDS", 0.3)
        assert "could not be asked for a model" in sentence_of(from_hub)[1]
    fake_hub.delay = 0
    fake_hub.drip = 0.2  # seconds a byte
    with monkeypatch.context() as patch:
        patch.setattr(_hub, "DOWNLOAD_SECONDS", 4.0)
        said = sentence_of(from_hub)[1]
    assert said.startswith("the download of cats/tigers took longer than")
    assert constants.HF_HUB_CACHE not in running_programs(), "its process has ended"
    fake_hub.drip = 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert sentence_of(from_hub)[0] is ConnectionError, "half a download is not taken"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert_same(from_hub(), tiny())


@posix
def test_ctrl_c_ends_the_download(fake_hub, monkeypatch):
    fake_hub.drip = 0.2
    run = subprocess.run

    def interrupted(command, **options):
        options.pop("timeout")
        threading.Thread(target=interrupt_until_it_ends, daemon=True).start()
        try:
            return run(command, **options)
        finally:
            ended.set()

    def interrupt_until_it_ends():  # Python drops an interrupt that comes within a callback
        while not ended.wait(2):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    ended = threading.Event()

    monkeypatch.setattr(_hub.subprocess, "run", interrupted)
    # A shell starts what runs in its background with SIGINT ignored, and nothing would end this.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            from_hub()
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.setattr(_hub.subprocess, "run", run)
    assert constants.HF_HUB_CACHE not in running_programs()


def test_what_is_too_large_or_no_model_is_not_downloaded(fake_hub, monkeypatch):
    fake_hub.sizes["model.safetensors"] = 3 * 2**30
    kind, said = sentence_of(from_hub)
    assert kind is ValueError
    assert "cats/tigers on the Hub has 3.0 GiB, and more than 2 GiB are not downloaded" in said
    fake_hub.sizes["model.safetensors"] = 2**30
    monkeypatch.setattr(_hub.shutil, "disk_usage", lambda path: SimpleNamespace(free=8e8))
    assert "has 1.1 GB to download and" in sentence_of(from_hub)[1]
    del fake_hub.stated["model.safetensors"]
    assert "on the Hub lacks model.safetensors: name another" in sentence_of(from_hub)[1]
    assert fetched(fake_hub) == {"config.json"}


@pytest.mark.parametrize("name", FILES)
def test_what_differs_from_the_stated_hash_is_deleted(fake_hub, name):
    sound = fake_hub.sent[name]
    fake_hub.sent[name] = sound[:-2] + bytes([sound[-2] ^ 1]) + sound[-1:]
    kind, said = sentence_of(from_hub)
    assert kind is ValueError
    assert said.startswith(f"{name} of cats/tigers is damaged, as its hash is not the one that")
    fake_hub.sent[name] = sound
    assert_same(from_hub(), tiny())


def as_cache(folder, cache):
    """The exported folder in the layout of the Hub's cache, as main of cats/tigers."""
    repo = cache / "models--cats--tigers"
    shutil.copytree(folder, repo / "snapshots" / "abc")
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text("abc")
    return cache


def test_the_environment_of_the_hub_is_heeded(folder, tmp_path, monkeypatch):
    as_cache(folder, tmp_path / "hub")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = ["sample", "--checkpoint", "cats/tigers", "-n", "1", "--steps", "2"]
    done = alone(tmp_path, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "grid.png: 1 images of 16 x 16 pixels\nloaded: huggingface_hub" in done.stdout
    words[2] = "cats/lions"
    done = alone(tmp_path, *words, "--out", "lions.png", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("tigerdiff: there is no folder cats/lions here, and the Hugging")


def test_names_that_are_gone_are_unknown():
    for name in ("HubUNet", "cifar100_tigers", "HubNet"):
        with pytest.raises(AttributeError, match=name):
            getattr(tigerdiff, name)
