"""Runs that are killed, and runs of two processes, all forked from one that has imported torch.

KILLS=50 kills one run as often.
"""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tigerdiff.data.tensors import seeded_generator
from tigerdiff.training import loop as training
from tigerdiff.training.config import TrainConfig
from tigerdiff.training.loop import stratified_times, train

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot fork")
KILLS = int(os.environ.get("KILLS", 8))
STEPS = 5 * KILLS
SCRIPT = """
import json, os, random, signal, socket, sys, time
from pathlib import Path
import accelerate, torch
from safetensors.torch import load_file, save_file
from tigerdiff.training import checkpoints, loop
from tigerdiff.training.config import TrainConfig
import tigerdiff.data.photos

torch.set_num_threads(1)
folder = Path(sys.argv[1])
images = load_file(folder / "images.safetensors")["images"]
common = dict(image_size=16, batch_size=4, channels=8, warmup_steps=3, learning_rate=1e-3,
              sample_every=0, device="cpu")

def fork(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid

def ended(pid, wait=True):
    there, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
    return None if there == 0 else os.waitstatus_to_exitcode(status)

def killed_run():
    out = folder / "killed"
    chance, moments = random.Random(0), []

    def work():
        if len(moments) < int(sys.argv[2]) and len(moments) % 4 == 0:
            save = checkpoints.save

            def dies(*arguments):  # within a checkpoint, however quick the disk is
                save(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)

            checkpoints.save = dies
        resume = bool(checkpoints.complete_checkpoints(out))
        for _ in loop.train(TrainConfig(images, out, steps=5 * int(sys.argv[2]), checkpoint_every=2,
                                        resume=resume, **common)):
            pass

    while True:
        log, before = out / "log.csv", len(moments)
        pid, rows = fork(work), 3 + chance.randrange(4)
        while (code := ended(pid, wait=False)) is None and len(moments) < int(sys.argv[2]):
            time.sleep(0.0005)
            saving = list(out.glob("checkpoints/.partial-*"))
            in_checkpoint = len(moments) % 2 == 0
            here = log.read_bytes().count(b"\\n") if log.exists() else 0
            if in_checkpoint and saving or not in_checkpoint and here % 7 == rows:
                time.sleep(chance.random() * 0.01)
                moments.append(bool(list(out.glob("checkpoints/.partial-*"))))
                os.kill(pid, signal.SIGKILL)
        code = ended(pid) if code is None else code
        if code == 0:
            return moments
        assert code == -signal.SIGKILL, code
        if len(moments) == before:  # it died by itself
            moments.append(bool(list(out.glob("checkpoints/.partial-*"))))

def two_processes(name, **options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def work(rank):
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2",
                          MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        original, seen = loop.diffusion_loss, {}

        def recording(model, schedule, x0, t, eps, condition):
            k = len(seen) // 4
            group = torch.distributed.group.WORLD._get_backend(torch.device("cpu"))
            seen[f"timeout {k}"] = torch.tensor(group.options._timeout.total_seconds())
            seen.update({f"x0 {k}": x0.clone(), f"t {k}": t.clone(), f"eps {k}": eps.clone()})
            return original(model, schedule, x0, t, eps, condition)

        loop.diffusion_loss = recording
        data = options.pop("data", images)
        config = TrainConfig(data, folder / name, steps=3, checkpoint_every=2, **common, **options)
        losses = [record.loss for record in loop.train(config)]
        save_file(seen | {"losses": torch.tensor(losses)}, folder / f"{name}.{rank}")

    pids = [fork(lambda: work(0)), fork(lambda: work(1))]
    assert [ended(pid) for pid in pids] == [0, 0]

two_processes("photos", dropout=0.3)
two_processes("painted", data="painted", conditional=True, condition_dropout=0.4)
print(json.dumps(killed_run()))
"""


@pytest.fixture(scope="module")
def forked(images, tmp_path_factory):
    """The folder in which all the runs were, and at which kills a checkpoint was being written."""
    folder = tmp_path_factory.mktemp("forked")
    save_file({"images": images}, folder / "images.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder, str(KILLS)], capture_output=True, text=True,
        timeout=500, check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(
    forked, config, assert_equal_bits
):
    folder, moments = forked
    print(f"killed {len(moments)} times, {sum(moments)} of them within a checkpoint")
    assert len(moments) >= KILLS // 2
    assert any(moments)
    whole = replace(config, steps=STEPS, checkpoint_every=2)
    losses = [f"{record.loss:.6g}" for record in train(whole)]
    last = f"checkpoints/step-{STEPS:06d}"
    assert_equal_bits(folder / "killed" / last, whole.out / last)
    with (folder / "killed/log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, STEPS + 1))
    assert [row["loss"] for row in rows] == losses
    left = sorted(path.name for path in (folder / "killed/checkpoints").iterdir())
    assert left == [f"step-{step:06d}" for step in (STEPS - 4, STEPS - 2, STEPS)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["photos", "painted"])
def test_two_processes_are_one_with_the_whole_batch(forked, config, tmp_path, monkeypatch, name):
    folder, _ = forked
    first, second = load_file(folder / f"{name}.0"), load_file(folder / f"{name}.1")
    changes = {
        "photos": {"dropout": 0.3},
        "painted": {"data": "painted", "conditional": True, "condition_dropout": 0.4},
    }
    assert torch.equal(first["losses"], second["losses"])  # the mean over both
    assert first["timeout 0"] == second["timeout 0"] == 2 * 60 * 60
    alone = []

    def recording(model, schedule, x0, t, eps, condition):
        alone.append((x0, t, eps))
        return original(model, schedule, x0, t, eps, condition)

    original = training.diffusion_loss
    monkeypatch.setattr(training, "diffusion_loss", recording)
    one = replace(config, out=tmp_path / "one", steps=3, **changes[name])
    losses = [record.loss for record in train(one)]
    torch.testing.assert_close(first["losses"], torch.tensor(losses), rtol=1e-4, atol=0)
    for k, (x0, t, eps) in enumerate(alone):
        for part, whole in (("x0", x0), ("t", t), ("eps", eps)):
            assert torch.equal(torch.cat([first[f"{part} {k}"], second[f"{part} {k}"]]), whole)
        assert not torch.equal(first[f"eps {k}"], second[f"eps {k}"])
        assert torch.equal(t, stratified_times(1000, 4, seeded_generator(0, k + 1, 0, 0)))
    # One of them wrote, and what it wrote can be resumed by a single process.
    (record,) = train(replace(one, out=folder / name, steps=4, resume=True))
    (same,) = train(replace(one, steps=4, resume=True))
    assert record.loss == pytest.approx(same.loss, rel=1e-3)


@pytest.mark.slow
def test_torchrun_hands_a_run_to_one_process_and_takes_it_back(tmp_path):
    """As a reader starts it; the losses are those of one process all the way."""
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    options = "--image-size 16 --channels 8 --batch-size 4 --sample-every 0 --device cpu"

    def two_processes(steps, *resume):
        command = ["tigerdiff", "train", "--data", "painted", "--out", tmp_path / "handed"]
        command += ["--steps", str(steps), *options.split(), *resume]
        subprocess.run(
            [*launched, "--nproc-per-node", "2", "-m", *command],
            env=os.environ
            | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
            cwd=tmp_path, check=True, timeout=300, capture_output=True,
        )  # fmt: skip

    def one_process(steps, out, resume):
        defaults = TrainConfig("painted", tmp_path / out, 16, channels=8, batch_size=4)
        one = replace(defaults, steps=steps, sample_every=0, device="cpu", resume=resume)
        return [record.loss for record in train(one)]

    two_processes(2)
    one_process(4, "handed", resume=True)
    two_processes(6, "--resume")
    with (tmp_path / "handed/log.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses == pytest.approx(one_process(6, "alone", resume=False), rel=1e-3)
