"""Arguments of the public functions at random: wrong ones are named, right ones agree.

Sixty examples of each property; ODD_ARGUMENTS=500 tries as many.
"""

import contextlib
import math
import os
import re
import tempfile
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import tigerdiff as td

EXAMPLES = int(os.environ.get("ODD_ARGUMENTS", 60))
often = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 60, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

SCHEDULE = td.make_schedule("cosine", 20)
X = torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)
BYTES = td.to_uint8(X)
MANY = BYTES.repeat(12, 1, 1, 1)
T = torch.tensor([3, 9])
NET = td.UNet(16, channels=8, multipliers=(1, 1), attention=(), classes={"fur": ["a", "b"]})
HALF = torch.full((2,), 0.5)
HELD = tempfile.TemporaryDirectory()
FOLDER = Path(HELD.name)
td.render_folder(FOLDER / "tigers", 2, 16, progress=False)
td.save_pretrained(NET, FOLDER / "net")
CHECKPOINT = {
    "out": FOLDER / "trained", "model": NET, "ema": td.EMA(NET), "step": 1, "images": 2,
    "optimizer": torch.optim.AdamW(NET.parameters()),
    "config": {"schedule": "cosine", "T": 20, "seed": 0},
}  # fmt: skip
td.save_checkpoint(**CHECKPOINT)
SHORT = td.TrainConfig(
    BYTES, FOLDER / "run", image_size=16, channels=8, multipliers=(1,), attention=(),
    batch_size=2, steps=1, sample_every=0, device="cpu",
)  # fmt: skip
NAMES = ["cpu", "mps", "cuda", "cuda:7"]
ABSENT = NAMES[2 if torch.mps.is_available() else 1 :: 2 if torch.cuda.is_available() else 1]

# What an argument might be given instead, by what it should be.
WRONG = {
    "whole": [None, "7", 2.5, math.nan, [], b"x", -1, True, torch.zeros(2), {}],
    "number": [None, "a", math.nan, [1.0], torch.zeros(2), {}],
    "images": [None, "x.png", 3, [1.0], np.zeros((2, 3, 16, 16)), X.to(torch.complex64), X[:0]],
    "times": [None, "7", 2.5, -1, 2**70, [3, 9], torch.tensor([3.0, 9.0]), torch.tensor([3])],
    "schedule": [None, "cosine", 1000, torch.linspace(1, 0.1, 9), {}],
    "word": [None, "nonsense", 3, "", []],
    "mapping": [None, "a", 3, [1], X],
    "tensor": [None, "a", 3, [1]],
    "sequence": [None, 3, object()],
    "path": [None, 3, 2.5, "", [], b"x", "~no such user/x"],
    "device": [3, 2.5, "", "tpu", "cpu:x", "cuda:7", "cuda:-1", [], *ABSENT],
    "function": [None, "a", 3, []],
    "picture": [None, "x.png", 3, [], X[0].to(torch.complex64), X[0, :2], 300 * X[0], X[0, :, :0]],
    "part": [None, "7", -0.1, 2, math.nan, [0.5], torch.tensor([3.0, 9.0]), torch.tensor([0.5])],
    "features": [None, "nonsense", 3, [], lambda images: images, lambda images: images[0, 0]],
    "object": [None, 3, "a", {}],
    "words": [3, object(), [1]],
    "classes": [
        "fur",
        [1],
        {"fur": "orange"},
        {"fur": 3},
        {"fur": []},
        {"fur": ["a", "a"]},
        {"fur": [1, 2]},
        {"fur": [["a"]]},
    ],
    "config": [None, "a", {}, {"T": 20}],
    "condition": [3, "fur", {3: "a"}],
    "places": [3, "a", {}, {"b": [0.0, 1.0]}],
    "generator": [3, "a", [], [torch.Generator()], [1, 2]],
}


def seeded_generator(key, device):
    return td.seeded_generator(key, device=device)


def log_probability(images, fur):
    return td.log_probability(images, fur=fur)


def train(config):
    with contextlib.closing(td.train(config)) as steps:
        return next(steps)


ELSEWHERE = {
    "load_pipeline": "imports diffusers, which takes seconds: tests/pretrained",
    **dict.fromkeys(("KernelDistance", "Neighbours", "PrecisionRecall"), "a function's result"),
    **dict.fromkeys(("Step", "TrainStep"), "what an iterator yields"),
}
FRAMES = {"a": [X[0], X[1]], "b": [X[1], X[0]]}
CALLS = {  # function: sound arguments, and what should be what
    td.batches: (
        {"images": BYTES, "batch_size": 2, "seed": 0, "start": 0, "rank": 0, "world_size": 1},
        {"images": "images", "batch_size": "whole", "seed": "whole", "start": "whole",
         "rank": "whole", "world_size": "whole", "device": "device"},
    ),
    td.painted_batches: (
        {"size": 16, "batch_size": 2, "seed": 0, "start": 0, "rank": 0, "world_size": 1},
        {"size": "whole", "batch_size": "whole", "seed": "whole", "start": "whole",
         "rank": "whole", "world_size": "whole", "attributes": "sequence", "device": "device"},
    ),
    td.to_float: ({"images": BYTES}, {"images": "images"}),
    td.to_uint8: ({"x": X}, {"x": "tensor"}),
    td.make_schedule: ({"name": "cosine", "T": 50}, {"T": "whole"}),
    td.NoiseSchedule.linear: ({"T": 50}, {"T": "whole"}),
    td.add_noise: (
        {"schedule": SCHEDULE, "x0": X, "t": T, "eps": X},
        {"schedule": "schedule", "x0": "images", "t": "times", "eps": "images"},
    ),
    td.noise_step: (
        {"schedule": SCHEDULE, "x_prev": X, "t": T, "eps": X},
        {"schedule": "schedule", "x_prev": "images", "t": "times", "eps": "images"},
    ),
    td.posterior: (
        {"schedule": SCHEDULE, "x0": X, "xt": X, "t": T, "t_prev": T - 1},
        {"schedule": "schedule", "x0": "images", "xt": "images", "t": "times", "t_prev": "times"},
    ),
    td.to_target: (
        {"schedule": SCHEDULE, "x0": X, "eps": X, "t": T, "prediction": "v"},
        {"schedule": "schedule", "x0": "images", "t": "times", "prediction": "word"},
    ),
    td.to_x0_eps: (
        {"schedule": SCHEDULE, "output": X, "xt": X, "t": T, "prediction": "v"},
        {"schedule": "schedule", "output": "images", "t": "times", "prediction": "word"},
    ),
    td.timesteps: (
        {"schedule": SCHEDULE, "steps": 5}, {"schedule": "schedule", "steps": "whole"},
    ),
    td.ddim: (
        {"model": NET, "schedule": SCHEDULE, "xT": X, "steps": 3, "eta": 0.5},
        {"model": "function", "schedule": "schedule", "xT": "images", "steps": "whole",
         "eta": "number", "generator": "generator"},
    ),
    td.dpm_solver: (
        {"model": NET, "schedule": SCHEDULE, "xT": X, "steps": 3},
        {"model": "function", "schedule": "schedule", "xT": "images", "steps": "whole"},
    ),
    td.sample: (
        {"model": NET, "schedule": SCHEDULE, "n": 1, "size": 16, "steps": 2, "progress": False},
        {"schedule": "schedule", "n": "whole", "size": "whole", "steps": "whole", "seed": "whole",
         "sampler": "word", "model": "tensor", "guidance_scale": "number",
         "condition": "condition"},
    ),
    td.diffusion_loss: (
        {"model": NET, "schedule": SCHEDULE, "x0": X, "t": T, "eps": X},
        {"model": "function", "schedule": "schedule", "x0": "images", "t": "times",
         "eps": "images"},
    ),
    NET.forward: (
        {"xt": X, "t": T, "condition": torch.zeros(2, 1, dtype=torch.long)},
        {"xt": "tensor", "t": "tensor"},
    ),
    td.straight_line: (
        {"x0": X, "t": HALF, "eps": X}, {"x0": "images", "t": "part", "eps": "images"},
    ),
    td.line_ends: ({"u": X, "xt": X, "t": HALF}, {"u": "images", "xt": "images", "t": "part"}),
    td.flow_loss: (
        {"model": NET, "x0": X, "t": HALF, "eps": X},
        {"model": "function", "x0": "images", "t": "part", "eps": "images"},
    ),
    td.as_flow: (
        {"model": NET, "schedule": SCHEDULE}, {"model": "function", "schedule": "schedule"},
    ),
    td.guided: (
        {"model": NET, "condition": torch.zeros(2, 1, dtype=torch.long), "guidance_scale": 2.0},
        {"model": "function", "condition": "tensor", "guidance_scale": "number"},
    ),
    td.flow_time: ({"schedule": SCHEDULE}, {"schedule": "schedule"}),
    td.integrate: (
        {"field": lambda x, t: x, "xt": X, "times": [1.0, 0.0], "method": "euler"},
        {"field": "function", "xt": "images", "times": "sequence", "method": "word"},
    ),
    td.UNet: (
        {"size": 16, "channels": 8, "multipliers": (1, 1), "attention": (), "dropout": 0.0},
        {"size": "whole", "channels": "whole", "blocks": "whole", "multipliers": "sequence",
         "attention": "sequence", "dropout": "number", "prediction": "word",
         "classes": "classes"},
    ),
    td.EMA: ({"model": NET, "decay": 0.9}, {"model": "tensor", "decay": "number"}),
    td.crops: (
        {"images": BYTES, "size": 8, "each": 2},
        {"images": "tensor", "size": "whole", "each": "whole", "seed": "whole"},
    ),
    td.frechet_distance: (
        {"images_a": MANY, "images_b": MANY},
        {"images_a": "images", "images_b": "images", "features": "features"},
    ),
    td.kernel_distance: (
        {"images_a": MANY, "images_b": MANY, "subsets": 2}, {"subsets": "whole", "seed": "whole"},
    ),
    td.ddpm: (
        {"model": NET, "schedule": SCHEDULE, "xT": X, "steps": 3},
        {"model": "function", "xT": "images", "generator": "generator"},
    ),
    td.heun: (
        {"model": NET, "schedule": SCHEDULE, "xT": X, "steps": 3},
        {"model": "function", "schedule": "schedule", "xT": "images", "steps": "whole"},
    ),
    td.nearest_neighbours: (
        {"images": BYTES, "references": BYTES}, {"images": "images", "references": "images"},
    ),
    td.procedural_tigers: (
        {"n": 1, "size": 16}, {"n": "whole", "size": "whole", "seed": "whole", "start": "whole"},
    ),
    td.image_features: ({"images": BYTES}, {"images": "images", "features": "features"}),
    td.precision_recall: (
        {"drawn": MANY, "real": MANY},
        {"drawn": "images", "real": "images", "k": "whole", "features": "features"},
    ),
    td.prompt_accuracy: (
        {"images": BYTES, "attributes": [{"fur": "white"}] * 2},
        {"images": "images", "attributes": "sequence"},
    ),
    log_probability: ({"images": X, "fur": "white"}, {"images": "images", "fur": "word"}),
    td.eye_difference: ({"images": BYTES}, {"images": "images"}),
    seeded_generator: ({"key": 1, "device": "cpu"}, {"key": "whole", "device": "device"}),
    td.has_bfloat16: ({}, {"device": "device"}),
    SCHEDULE.to: ({"device": "cpu"}, {"device": "device"}),
    td.NoiseSchedule: ({"alpha_bar": SCHEDULE.alpha_bar}, {"alpha_bar": "tensor"}),
    td.read_tigers: ({"folder": FOLDER / "tigers"}, {"folder": "path"}),
    td.render_folder: (
        {"out": FOLDER / "tigers", "n": 2, "size": 16, "resume": True, "progress": False},
        {"out": "path", "n": "whole", "size": "whole", "seed": "whole"},
    ),
    td.load_folder: (
        {"path": FOLDER / "tigers", "size": 16, "cache_dir": FOLDER / "cache", "progress": False},
        {"path": "path", "size": "whole", "cache_dir": "path"},
    ),
    td.load_photo: (
        {"source": FOLDER / "tigers" / "tiger-000000.png", "size": 16},
        {"source": "path", "size": "whole"},
    ),
    td.save_pretrained: (
        {"model": NET, "folder": FOLDER / "saved"},
        {"model": "object", "folder": "path", "schedule": "word", "T": "whole", "card": "words"},
    ),
    td.load_pretrained: ({"name": FOLDER / "net"}, {"name": "path"}),
    td.read_card: ({"name": FOLDER / "net"}, {"name": "path"}),
    td.save_checkpoint: (
        CHECKPOINT,
        {"out": "path", "step": "whole", "keep_last": "whole", "model": "object", "ema": "object",
         "config": "config"},
    ),
    td.load_checkpoint: ({"path": FOLDER / "trained"}, {"path": "path"}),
    td.export_run: (
        {"run": FOLDER / "trained", "folder": FOLDER / "exported"},
        {"run": "path", "folder": "path", "card": "words"},
    ),
    train: ({"config": SHORT}, {"config": "object"}),
    td.two_way_choice: (
        {"real": X, "drawn": X, "alt": (["a", "b"], ["c", "d"])},
        {"real": "picture", "drawn": "picture", "alt": "sequence", "width": "whole",
         "seed": "whole"},
    ),
    td.plot_points: ({"points": X[0, 0, :, :2]}, {"points": "tensor"}),
    td.wipe: (
        {"left": X[0], "right": X[1], "alt": "x"},
        {"left": "picture", "right": "picture", "alt": "sequence"},
    ),
    td.paint_tiger: ({"size": 16}, {"size": "whole"}),
    td.TrainConfig: (
        {"data": BYTES, "out": "nowhere"},
        {"out": "path",
         "steps": "whole", "batch_size": "whole", "T": "whole", "seed": "whole",
         "learning_rate": "number", "dropout": "number", "ema_decay": "number",
         "prediction": "word", "schedule": "word"},
    ),
    td.judge: ({"images": BYTES}, {"images": "images"}),
    td.paint: (
        {"attributes": td.Tiger(), "size": 16},
        {"attributes": "sequence", "size": "whole", "device": "device"},
    ),
    td.caption: ({"tiger": td.Tiger()}, {"tiger": "mapping", "seed": "whole"}),
    td.series: ({"n": 2}, {"n": "whole", "seed": "whole", "start": "whole"}),
    td.Tiger: ({}, {"fur": "word", "gaze_x": "number", "stripes": "whole"}),
    td.settings: ({"cpu": {"n": 1}, "gpu": {"n": 2}}, {"cpu": "mapping", "gpu": "mapping"}),
    td.timestep_slider: (
        {"frames": FRAMES["a"], "values": [0, 1], "alt": "x"},
        {"values": "sequence", "alt": "sequence", "width": "whole"},
    ),
    td.compare_slider: (
        {"tracks": FRAMES, "values": [0, 1], "alt": "x"},
        {"tracks": "mapping", "values": "sequence"},
    ),
    td.player: (
        {"films": FRAMES, "alt": "x", "interval": 0.1}, {"films": "mapping", "interval": "number"},
    ),
    td.show_images: (
        {"images": X, "alt": "x"}, {"alt": "sequence", "columns": "whole", "width": "whole"},
    ),
    td.table: ({"rows": [{"a": 1}]}, {"rows": "sequence", "digits": "whole"}),
    td.plot_curves: (
        {"curves": {"a": [1.0, 2.0]}, "x": [0.0, 1.0]}, {"curves": "mapping", "x": "places"},
    ),
    td.plot_histograms: ({"samples": {"a": HALF}}, {"samples": "mapping", "bins": "whole"}),
}  # fmt: skip
OPTIONAL = {  # arguments that may be None
    (td.timestep_slider, "width"), (td.show_images, "columns"), (td.show_images, "width"),
    (td.load_folder, "cache_dir"), (td.load_photo, "source"), (td.load_photo, "size"),
    (td.two_way_choice, "width"),
}  # fmt: skip
CASES = [
    (function, argument, value)
    for function, (_, kinds) in CALLS.items()
    for argument, kind in kinds.items()
    for value in WRONG[kind]
    if not (value is None and (function, argument) in OPTIONAL)
]


@pytest.mark.parametrize("function", CALLS, ids=lambda f: f.__name__)
def test_a_wrong_argument_is_named_in_one_sentence(function):
    sound = CALLS[function][0]
    function(**sound)
    for _, argument, value in (case for case in CASES if case[0] is function):
        try:
            function(**{**sound, argument: value})
        except (ValueError, TypeError) as error:
            said, frames = str(error), traceback.extract_tb(error.__traceback__)
            assert re.search(rf"\b{argument}\b", said) and "\n" not in said, (argument, value, said)
            assert "tigerdiff" in frames[-1].filename, (argument, value, said)
        else:
            pytest.fail(f"{argument}={value!r} was taken")


def test_a_processor_may_have_a_number():
    """As torchrun gives it."""
    assert td.has_bfloat16("cpu:0") == td.has_bfloat16("cpu")
    assert len(next(td.batches(BYTES, 2, device=torch.device("cpu", 0)))) == 2


def test_every_public_function_is_tried():
    named = {name for f in CALLS for name in (f.__name__, f.__qualname__.partition(".")[0])}
    public = {name for name in td.__all__ if callable(getattr(td, name))}
    assert public - named == ELSEWHERE.keys()


shapes = st.tuples(st.integers(1, 3), *[st.integers(1, 5)] * 3)
predictions = st.sampled_from(["eps", "x0", "v"])


@st.composite
def schedules(draw):
    T = draw(st.integers(1, 1200))
    return td.make_schedule("linear" if T > 20 and draw(st.booleans()) else "cosine", T)


@often
@given(schedules(), shapes, predictions, st.integers(0, 99), st.data())
def test_formulas_in_float32_are_those_in_float64(schedule, shape, prediction, seed, data):
    """And the target leads back to the image and the noise. The bound is that of rounding."""
    draw = td.seeded_generator(seed)
    x0, eps = torch.rand(shape, generator=draw).double() * 2 - 1, torch.randn(shape, generator=draw)
    t = torch.tensor([data.draw(st.integers(1, schedule.T)) for _ in x0])
    t_prev = torch.tensor([data.draw(st.integers(0, k - 1)) for k in t.tolist()])
    signal = schedule.alpha_bar[t].sqrt().min().item()
    noise = (1 - schedule.alpha_bar[t]).sqrt().min().item()
    results = {}
    for dtype in (torch.float32, torch.float64):
        a, b = x0.to(dtype), eps.to(dtype)
        xt = td.add_noise(schedule, a, t, b)
        target = td.to_target(schedule, a, b, t, prediction)
        back = td.to_x0_eps(schedule, target, xt, t, prediction)
        mean, variance = td.posterior(schedule, a, xt, t, t_prev)
        results[dtype] = [xt, target, td.noise_step(schedule, a, t, b), mean, variance, *back]
        assert {x.dtype for x in results[dtype]} == {dtype}
        scale = torch.finfo(dtype).eps * 50 / min(signal, noise)
        torch.testing.assert_close(back, (a, b), rtol=scale, atol=scale)
    scale = torch.finfo(torch.float32).eps * 50 / min(signal, noise)
    for ours, exact in zip(*results.values(), strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=scale, atol=scale)


@often
@given(schedules(), shapes, st.sampled_from(["ddpm", "ddim", "dpm_solver", "heun"]), predictions,
       st.booleans(), st.data())  # fmt: skip
def test_samplers_end_for_any_schedule_steps_and_shape(
    schedule, shape, name, prediction, clip, data
):
    steps = data.draw(st.integers(1, min(schedule.T, 60)))

    def model(xt, t):
        assert t.shape == xt.shape[:1] and 1 <= int(t.min()) <= int(t.max()) <= schedule.T
        asked.append(int(t[0]))
        return 0.3 * xt.tanh()

    model.prediction = prediction
    ends = {}
    for dtype in (torch.float32, torch.float64):
        asked = []
        z = torch.randn(shape, generator=td.seeded_generator(1)).to(dtype)
        given = {"generator": td.seeded_generator(2)} if name == "ddpm" else {}
        path = list(getattr(td, name)(model, schedule, z, steps=steps, clip=clip, **given))
        assert len(asked) == steps and asked[0] == schedule.T and path[-1].t == 0
        assert [step.t for step in path] == sorted({step.t for step in path}, reverse=True)
        for step in path:
            assert step.xt.shape == z.shape and step.xt.dtype == step.x0.dtype == dtype
        ends[dtype] = path[-1].xt.double()
        assert ends[dtype].isfinite().all()
    assume(name != "ddpm")  # its noise is drawn in the dtype of the path
    size = 1 + ends[torch.float64].abs().max().item()
    assert (ends[torch.float32] - ends[torch.float64]).abs().max() < 1e-3 * size
