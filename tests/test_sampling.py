"""The samplers' arguments and ``sample``; the formulas are in test_oracles."""

from functools import partial
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tqdm.auto import tqdm

from tigerdiff import (
    NoiseSchedule,
    UNet,
    ddim,
    ddpm,
    dpm_solver,
    heun,
    sample,
    seeded_generator,
    timesteps,
)

SCHEDULE = NoiseSchedule.linear(100)
WALKS = (ddpm, ddim, dpm_solver, heun)
SAMPLERS = ("ddpm", "ddim", "dpm_solver", "heun")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = UNet(size=8, channels=8, multipliers=(1,), blocks=1, attention=())
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("n", [0, -1, 101, 2.5, True, "50"])
def test_steps_out_of_range(n):
    for call in (
        lambda: timesteps(SCHEDULE, n),
        *(partial(w, lambda x, t: x, SCHEDULE, torch.zeros(1, 3, 2, 2), steps=n) for w in WALKS),
    ):
        with pytest.raises(ValueError, match="^steps must be a whole number from 1 to 100"):
            call()


@pytest.mark.parametrize("eta", [-0.1, 1.1, True, "0.5"])
def test_eta_out_of_range(eta):
    with pytest.raises(ValueError, match="^eta must be between 0 and 1"):
        ddim(lambda x, t: x, SCHEDULE, torch.zeros(1, 3, 2, 2), eta=eta)
    ddim(lambda x, t: x, SCHEDULE, torch.zeros(1, 3, 2, 2), eta=np.float32(0.5))


@pytest.mark.parametrize("walk", WALKS)
@pytest.mark.parametrize(
    "xT", [torch.zeros(1, 3, 2, 2).half(), torch.full((1, 3, 2, 2), 200.0), torch.zeros(0, 3, 2, 2)]
)
def test_a_start_that_is_no_noise(walk, xT):
    with pytest.raises(ValueError, match="^xT must"):
        walk(lambda x, t: x, SCHEDULE, xT)


def test_numpy_counts_as_whole():
    assert timesteps(SCHEDULE, np.int64(2)) == [100, 50, 0]


def test_ddpm_takes_every_time_by_default():
    steps = ddpm(lambda x, t: x * 0, SCHEDULE, torch.zeros(1, 3, 2, 2))
    assert [step.t for step in steps] == list(range(100, -1, -1))


def test_no_gradient_is_kept(model):
    last = list(ddim(model, SCHEDULE, torch.zeros(1, 3, 8, 8), steps=2))[-1]
    assert not last.xt.requires_grad
    with torch.enable_grad():
        for walk in WALKS:
            for step in walk(model, SCHEDULE, torch.zeros(1, 3, 8, 8), steps=4):
                assert torch.is_grad_enabled() and not step.x0.requires_grad


@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_the_model_says_what_it_predicts(prediction):
    class Knows:
        """The perfect model of one grey image, in the given parametrisation."""

        def __call__(self, xt, t):
            a = SCHEDULE.alpha_bar[t].reshape(-1, 1, 1, 1).float()
            x0 = torch.full_like(xt, 0.25)
            eps = (xt - a.sqrt() * x0) / (1 - a).sqrt()
            return x0 if prediction == "x0" else a.sqrt() * eps - (1 - a).sqrt() * x0

    model, wrapper = Knows(), Knows()
    model.prediction = prediction
    wrapper.module = model  # as DistributedDataParallel does
    for walk, m in product(WALKS, (model, wrapper)):
        *_, last = walk(m, SCHEDULE, torch.randn(2, 3, 4, 4), steps=10)
        torch.testing.assert_close(last.xt, torch.full((2, 3, 4, 4), 0.25), atol=1e-4, rtol=0)


def test_sample_is_seeded_and_bytes(model):
    options = dict(size=8, steps=4, progress=False)
    for sampler in SAMPLERS:
        first = sample(model, SCHEDULE, 3, sampler=sampler, seed=1, **options)
        again = sample(model, SCHEDULE, 3, sampler=sampler, seed=1, **options)
        other = sample(model, SCHEDULE, 3, sampler=sampler, seed=2, **options)
        assert first.shape == (3, 3, 8, 8) and first.dtype == torch.uint8
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert first.float().std() > 1


def test_sample_is_the_end_of_the_trajectory(model):
    xT = torch.cat([torch.randn(1, 3, 8, 8, generator=seeded_generator(3, i)) for i in range(2)])
    *_, last = ddim(model, SCHEDULE, xT, steps=6)
    expected = (last.xt.clamp(-1, 1) * 127.5 + 127.5).round().byte()
    assert torch.equal(
        sample(model, SCHEDULE, 2, size=8, steps=6, seed=3, progress=False), expected
    )


def test_a_picture_depends_on_the_seed_and_its_number_alone(model):
    """Picture i of few equals picture i of many, in a batch of another size too."""
    for sampler in SAMPLERS:
        options = dict(size=8, sampler=sampler, steps=4, seed=3, progress=False)
        many, few = sample(model, SCHEDULE, 18, **options), sample(model, SCHEDULE, 3, **options)
        assert (many[:3].int() - few.int()).abs().max() <= 1, "rounding in batches of other sizes"
        assert (many[16].int() - many[0].int()).abs().max() > 1


def test_noise_for_each_picture_comes_from_its_own_generator():
    xT = torch.zeros(3, 3, 2, 2)
    for walk in (ddpm, partial(ddim, eta=1.0)):
        both = [seeded_generator(1), seeded_generator(2), seeded_generator(3)]
        *_, together = walk(lambda x, t: x, SCHEDULE, xT, steps=5, generator=both)
        *_, alone = walk(
            lambda x, t: x, SCHEDULE, xT[1:2], steps=5, generator=[seeded_generator(2)]
        )
        torch.testing.assert_close(together.xt[1:2], alone.xt)


def test_a_list_of_generators_has_one_for_each_picture():
    generators = [torch.Generator() for _ in range(3)]
    with pytest.raises(ValueError, match=r"a list of 2 \(got a list of 3\)"):
        list(ddpm(lambda x, t: x, SCHEDULE, torch.zeros(2, 3, 4, 4), generator=generators))


def test_conditions_in_words():
    torch.manual_seed(0)
    model = UNet(
        size=8, channels=8, multipliers=(1,), attention=(), classes={"fur": ["red", "white"]}
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    options = dict(size=8, steps=3, progress=False)
    free, red, white = (
        sample(model, SCHEDULE, 2, condition=c, **options)
        for c in (None, {"fur": "red"}, {"fur": "white"})
    )
    strong = sample(model, SCHEDULE, 2, condition={"fur": "red"}, guidance_scale=3, **options)
    assert not torch.equal(red, white) and not torch.equal(red, free)
    assert not torch.equal(red, strong)
    for condition, message in (
        ({"fur": "blue"}, "^fur must be one of red, white"),
        ({"hat": "red"}, "^'hat' is no attribute of this network: use fur"),
    ):
        with pytest.raises(ValueError, match=message):
            sample(model, SCHEDULE, 1, condition=condition, **options)
    with pytest.raises(ValueError, match="^guidance_scale must be a finite number"):
        sample(model, SCHEDULE, 1, guidance_scale=float("nan"), **options)
    with pytest.raises(ValueError, match="^guidance_scale has an effect only with a condition"):
        sample(model, SCHEDULE, 1, guidance_scale=2, **options)
    with pytest.raises(ValueError, match="^this network is unconditional"):
        sample(
            UNet(size=8, multipliers=(1,), attention=()),
            SCHEDULE,
            1,
            condition={"fur": "red"},
            size=8,
        )


def test_sample_restores_the_mode_when_it_fails(model):
    model.train()
    with pytest.raises(ValueError, match="^steps must be"):
        sample(model, SCHEDULE, 1, size=8, steps=500, progress=False)
    assert model.training


def test_sample_arguments(model):
    with pytest.raises(ValueError, match="^sampler must be one of ddpm, ddim, dpm_solver, heun "):
        sample(model, SCHEDULE, 1, size=8, sampler="euler")
    for n in (0, 2.5, "3"):
        with pytest.raises(ValueError, match="^n must be a whole number of at least 1"):
            sample(model, SCHEDULE, n, size=8)
    with pytest.raises(ValueError, match="^size must be a whole number of at least 1"):
        sample(model, SCHEDULE, 1, size=0)
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match="^seed must be a whole number from 0 to"):
            sample(model, SCHEDULE, 1, size=8, seed=seed)


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_leaves_what_it_was_given_and_has_yielded(walk):
    xT = torch.randn(2, 3, 4, 4)
    given, outputs, path, seen = xT.clone(), [], [], []

    def model(xt, t):
        outputs.append(xt.tanh())
        return outputs[-1]

    for step in walk(model, SCHEDULE, xT, steps=8):
        path.append(step)
        _, *tensors = step
        seen.append([x.clone() for x in tensors])
    assert torch.equal(xT, given)
    for step, clones in zip(path, seen):
        _, *tensors = step
        assert all(map(torch.equal, tensors, clones))


@pytest.mark.parametrize("walk", WALKS)
def test_an_output_of_another_shape_is_not_broadcast(walk):
    for wrong, got in (
        (lambda xt, t: xt[:, :1], r"\(2, 1, 4, 4\)"),
        (lambda xt, t: SimpleNamespace(sample=xt), "SimpleNamespace"),
    ):
        with pytest.raises(ValueError, match=rf"^model must return .* \(2, 3, 4, 4\) \(got {got}"):
            list(walk(wrong, SCHEDULE, torch.zeros(2, 3, 4, 4), steps=2))


@pytest.mark.parametrize("walk", WALKS)
def test_an_unknown_prediction(walk):
    def model(xt, t):
        return xt

    model.prediction = "score"
    with pytest.raises(ValueError, match="^prediction must be 'eps', 'x0' or 'v'"):
        next(walk(model, SCHEDULE, torch.zeros(1, 3, 2, 2), steps=2))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 6, 7])
def test_the_progress_bar_ends_full(model, sampler, steps, capsys, monkeypatch):
    monkeypatch.setattr("tqdm.auto.tqdm", partial(tqdm, mininterval=0, miniters=1))
    sample(model, SCHEDULE, 1, size=8, sampler=sampler, steps=steps)
    assert "100/100" in capsys.readouterr().err


def test_weights_stay_trainable_after_sample(model):
    sample(model, SCHEDULE, 1, size=8, steps=2, progress=False)
    model(torch.zeros(1, 3, 8, 8), torch.tensor([1])).sum().backward()
    assert all(p.is_contiguous() for p in model.parameters())


def test_sample_can_be_written_to(model):
    sample(model, SCHEDULE, 1, size=8, steps=1, progress=False).zero_()


def test_a_model_in_half_precision_leaves_the_path_in_float32():
    *_, last = ddim(lambda x, t: x.bfloat16(), SCHEDULE, torch.zeros(1, 3, 2, 2), steps=2)
    assert last.xt.dtype == torch.float32
