"""What the mathematics says the code must do.

Each oracle takes ``core``, a namespace with the package's functions, and raises AssertionError if
they are wrong. test_oracles runs them on tigerdiff, test_mutants on copies with a mistake in them.
"""

import math
import re
import sys
import types
from fractions import Fraction
from itertools import count, pairwise, product
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch.testing import assert_close

import tigerdiff

PACKAGE = Path(tigerdiff.__file__).parent
MODULES = ("diffusion", "ema", "unet", "sampling")
EXACT = {"rtol": 1e-10, "atol": 1e-10}
SCHEDULES = ("linear", "cosine")
STEPS = (5, 7, 50, 64, 999, 1000)
ETAS = (0.0, 0.5, 1.0)
_fresh = count()


def load_core(module=None, old=None, new=None):
    """The package's core executed anew; with ``old`` replaced by ``new`` in one module's source."""
    name = f"core{next(_fresh)}"
    core = types.SimpleNamespace()
    for stem in MODULES:
        source = (PACKAGE / f"{stem}.py").read_text(encoding="utf-8")
        if stem == module:
            assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {stem}.py"
            source = source.replace(old, new)
        fresh = types.ModuleType(f"{name}_{stem}")
        sys.modules[fresh.__name__] = fresh
        source = re.sub(rf"from tigerdiff\.({'|'.join(MODULES)}) ", rf"from {name}_\1 ", source)
        code = compile(source, f"<{stem}>", "exec")
        exec(code, fresh.__dict__)
        for key, value in vars(fresh).items():
            setattr(core, key, value)
    return core


# --- tables written a second time, with numpy and plain Python -----------------------------------


def reference_beta(kind, T):
    """float64 (T,), from the formulas of the papers."""
    if kind == "linear":
        return np.linspace(1e-4, 0.02, T) * (1000 / T)

    def f(t):
        return math.cos((t / T + 0.008) / 1.008 * math.pi / 2) ** 2

    return np.array([min(1 - f(t) / f(t - 1), 0.999) for t in range(1, T + 1)])


def reference_alpha_bar(kind, T):
    return torch.tensor(np.concatenate([[1.0], np.cumprod(1 - reference_beta(kind, T))]))


def diffusers_scheduler(cls, kind, T, clip):
    """A diffusers scheduler with its float32 tables replaced by the same ones in double."""
    scheduler = cls(
        num_train_timesteps=T,
        beta_schedule={"linear": "linear", "cosine": "squaredcos_cap_v2"}[kind],
        beta_start=1e-4 * 1000 / T,
        beta_end=0.02 * 1000 / T,
        clip_sample=clip,
    )
    alphas_cumprod = reference_alpha_bar(kind, T)[1:]
    assert_close(scheduler.alphas_cumprod.double(), alphas_cumprod, rtol=2e-3, atol=2e-6)
    scheduler.betas = torch.tensor(reference_beta(kind, T))
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = alphas_cumprod
    return scheduler


def images(*shape, seed=0):
    """Random images in [-1, 1], float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, dtype=torch.float64, generator=generator) * 2 - 1


def noise(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


# --- the schedule and the forward process --------------------------------------------------------


def schedule_tables(core):
    for kind in SCHEDULES:
        for T in (50, 100, 1000):
            schedule = getattr(core.NoiseSchedule, kind)(T)
            assert schedule.T == T
            assert schedule.alpha_bar.dtype == torch.float64
            assert schedule.alpha_bar.shape == (T + 1,)
            assert schedule.alpha_bar[0] == 1
            assert_close(schedule.alpha_bar, reference_alpha_bar(kind, T), rtol=1e-12, atol=0)
            assert_close(schedule.beta[1:], torch.tensor(reference_beta(kind, T)), **EXACT)
            assert_close(schedule.alpha, 1 - schedule.beta, **EXACT)
            assert_close(schedule.snr[1:] * (1 - schedule.alpha_bar[1:]), schedule.alpha_bar[1:])


def add_noise_is_diffusers(core):
    for kind in SCHEDULES:
        schedule = getattr(core.NoiseSchedule, kind)()
        t = torch.arange(1, schedule.T + 1)
        x0, eps = images(len(t), 3, 2, 2), noise(len(t), 3, 2, 2)
        expected = diffusers_scheduler(DDPMScheduler, kind, 1000, True).add_noise(x0, eps, t - 1)
        assert_close(core.add_noise(schedule, x0, t, eps), expected, **EXACT)
        assert_close(core.add_noise(schedule, x0, 0, eps), x0, rtol=0, atol=0)


def noise_steps_compose(core):
    """Signal and variance after t single steps are sqrt(alpha_bar_t) and 1 - alpha_bar_t."""
    one, nothing = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for kind in SCHEDULES:
        schedule = getattr(core.NoiseSchedule, kind)()
        alpha_bar = reference_alpha_bar(kind, schedule.T)
        signal, variance = one, nothing
        for t in range(1, schedule.T + 1):
            signal = core.noise_step(schedule, signal, t, nothing)
            kept = core.noise_step(schedule, one, t, nothing)
            added = core.noise_step(schedule, nothing, t, one)
            variance = kept**2 * variance + added**2
            assert_close(signal, alpha_bar[t].sqrt().reshape(1), **EXACT)
            assert_close(variance, (1 - alpha_bar[t]).reshape(1), **EXACT)


def small_noise_survives_float32(core):
    """The standard deviation of the added noise at each t, in the dtype of training."""
    for kind in SCHEDULES:
        schedule = getattr(core.NoiseSchedule, kind)()
        x0, eps = torch.ones(1000, 1), torch.ones(1000, 1)
        t = torch.arange(1, 1001)
        added = core.add_noise(schedule, x0, t, eps) - core.add_noise(schedule, x0, t, 0 * eps)
        expected = (1 - reference_alpha_bar(kind, 1000)[1:]).sqrt().float()[:, None]
        assert_close(added, expected, rtol=1e-4, atol=1e-7)


# --- what the network's output means, and the posterior ------------------------------------------


def predictions_agree(core):
    for kind in SCHEDULES:
        schedule = getattr(core.NoiseSchedule, kind)()
        t = torch.arange(1, 1001)
        alpha_bar = reference_alpha_bar(kind, 1000)[1:].reshape(-1, 1, 1, 1)
        x0, eps = images(1000, 3, 2, 2), noise(1000, 3, 2, 2)
        xt = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
        v = alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x0
        for prediction, output in {"eps": eps, "x0": x0, "v": v}.items():
            got = core.to_x0_eps(schedule, output, xt, t, prediction)
            assert_close(got[0], x0, rtol=1e-9, atol=1e-9)
            assert_close(got[1], eps, rtol=1e-9, atol=1e-9)


def posterior_is_bayes(core):
    """Multiply the two Gaussians q(x_s | x_0) and q(x_t | x_s), by their precisions."""
    for kind in SCHEDULES:
        schedule = getattr(core.NoiseSchedule, kind)()
        alpha_bar = reference_alpha_bar(kind, 1000)
        for gap in (1, 7, 100):
            t = torch.arange(gap + 1, 1001)
            s = t - gap
            x0, xt = images(len(t), 3, 2, 2), noise(len(t), 3, 2, 2)
            mean, variance = core.posterior(schedule, x0, xt, t, s)
            a_s, kept = alpha_bar[s], alpha_bar[t] / alpha_bar[s]
            precision = 1 / (1 - a_s) + kept / (1 - kept)
            a_s, kept, precision = (c.reshape(-1, 1, 1, 1) for c in (a_s, kept, precision))
            bayes = (a_s.sqrt() * x0 / (1 - a_s) + kept.sqrt() * xt / (1 - kept)) / precision
            assert_close(variance, 1 / precision, **EXACT)
            assert_close(mean, bayes, rtol=1e-9, atol=1e-9)
        mean, variance = core.posterior(schedule, x0, xt, t, 0)
        assert_close(mean, x0, **EXACT)
        assert not variance.any()


# --- sampling ------------------------------------------------------------------------------------


def x_dependent(xt, t):
    """A made-up noise prediction that depends on every argument."""
    return xt.tanh() + 0.3 * torch.cos(t.double() / 90).reshape(-1, 1, 1, 1)


def contract(core, steps=STEPS):
    """The first step has t = T, the last t = 0, x0 = xt and eps = 0; one item more than calls."""
    for kind, n in product(SCHEDULES, steps):
        schedule = getattr(core.NoiseSchedule, kind)()
        for walk in (core.ddpm, core.ddim):
            model = mock.Mock(side_effect=x_dependent, spec=[])
            xT = noise(2, 3, 2, 2)
            trajectory = list(walk(model, schedule, xT, steps=n))
            assert len(trajectory) == n + 1 and model.call_count == n
            assert trajectory[0].t == schedule.T and trajectory[0].xt is xT
            assert trajectory[-1].t == 0 and not trajectory[-1].eps.any()
            assert torch.equal(trajectory[-1].x0, trajectory[-1].xt)
            gaps = {a.t - b.t for a, b in pairwise(trajectory)}
            assert max(gaps) - min(gaps) <= 1 and min(gaps) >= 1
            for (xt, t), step in zip((call.args for call in model.call_args_list), trajectory):
                assert t.tolist() == [step.t] * 2 and torch.equal(xt, step.xt)


def ddpm_is_diffusers(core, steps=STEPS):
    for kind in SCHEDULES:
        schedule = getattr(core.NoiseSchedule, kind)()
        for clip in (True, False):
            scheduler = diffusers_scheduler(DDPMScheduler, kind, 1000, clip)
            for n in steps:
                ours, theirs = (torch.Generator().manual_seed(n) for _ in range(2))
                walk = core.ddpm(
                    x_dependent,
                    schedule,
                    noise(2, 3, 2, 2),
                    steps=None if n == schedule.T else n,
                    clip=clip,
                    generator=ours,
                )
                walk = list(walk)
                times = reference_times(n)
                scheduler.set_timesteps(timesteps=[t - 1 for t in times[:-1]])
                for t, now, after in zip(times, walk, walk[1:]):
                    output = x_dependent(now.xt, torch.tensor([t, t]))
                    expected = scheduler.step(output, t - 1, now.xt, generator=theirs)
                    # Theirs clamps the last variance to 1e-20, which leaves noise of 1e-10.
                    exact = EXACT if after.t > 0 else {"rtol": 1e-9, "atol": 1e-9}
                    assert_close(after.xt, expected.prev_sample, **exact)
                    assert_close(now.x0, expected.pred_original_sample, **EXACT)


def ddim_is_diffusers(core, steps=STEPS, etas=ETAS):
    for kind in SCHEDULES:
        schedule = getattr(core.NoiseSchedule, kind)()
        for clip in (True, False):
            scheduler = diffusers_scheduler(DDIMScheduler, kind, 1000, clip)
            for n in steps:
                for eta in etas:
                    ours, theirs = (torch.Generator().manual_seed(n) for _ in range(2))
                    xT = noise(2, 3, 2, 2)
                    walk = core.ddim(
                        x_dependent, schedule, xT, steps=n, eta=eta, clip=clip, generator=ours
                    )
                    walk, times = list(walk), reference_times(n)
                    for (t, t_prev), now, after in zip(pairwise(times), walk, walk[1:]):
                        # Their gap is T // num_inference_steps; this makes it ours.
                        scheduler.num_inference_steps = Fraction(1000, t - t_prev)
                        output = x_dependent(now.xt, torch.tensor([t, t]))
                        z = None
                        if eta > 0 and t_prev > 0:
                            z = torch.randn(xT.shape, dtype=xT.dtype, generator=theirs)
                        expected = scheduler.step(
                            output,
                            t - 1,
                            now.xt,
                            eta=eta if t_prev > 0 else 0.0,
                            use_clipped_model_output=True,
                            variance_noise=z,
                        )
                        assert_close(after.xt, expected.prev_sample, **EXACT)
                        assert_close(now.x0, expected.pred_original_sample, **EXACT)


def moments_of_one_tiger(core, steps=STEPS, etas=ETAS):
    """If only one image exists, each xt on the way is N(sqrt(alpha_bar) x0, 1 - alpha_bar).

    The samplers are linear in their noise here, so mean, variance and covariance of neighbours are
    exact sums over the response to each single draw: row 0 of the batch gets no noise, row k + 1
    only draw k.
    """
    for kind in SCHEDULES:
        schedule = getattr(core.NoiseSchedule, kind)()
        table = reference_alpha_bar(kind, schedule.T)
        tiger = 0.3

        def knows_the_tiger(xt, t, table=table, tiger=tiger):
            a = table[t].reshape(-1, 1, 1, 1)
            return (xt - a.sqrt() * tiger) / (1 - a).sqrt()

        for n in steps:
            for eta in (*etas, "ddpm"):
                rows = torch.zeros(n + 1, 1, 1, 1, dtype=torch.float64)
                rows[1] = (1 - table[-1]).sqrt()
                draws = count(2)

                def one_draw(*shape, draws=draws, rows=rows, **options):
                    z, k = torch.zeros_like(rows), next(draws)
                    assert k < len(z), "the last step must not draw noise"
                    z[k] = 1
                    return z

                xT = table[-1].sqrt() * tiger + rows
                with mock.patch("torch.randn", one_draw):
                    if eta == "ddpm":
                        walk = list(core.ddpm(knows_the_tiger, schedule, xT, steps=n))
                    else:
                        walk = list(core.ddim(knows_the_tiger, schedule, xT, steps=n, eta=eta))
                times = reference_times(n)
                xt = torch.stack([step.xt.flatten() for step in walk])
                mean, response = xt[:, 0], xt[:, 1:] - xt[:, :1]
                a = table[times]
                assert_close(mean, a.sqrt() * tiger, rtol=0, atol=1e-9)
                assert_close(response.square().sum(1), 1 - a, rtol=0, atol=1e-9)
                covariance = (response[1:] * response[:-1]).sum(1)
                sigma = 1.0 if eta == "ddpm" else eta
                a, a_prev = a[:-1], a[1:]
                variance = sigma**2 * (1 - a_prev) / (1 - a) * (1 - a / a_prev)
                expected = ((1 - a_prev - variance).clamp(min=0) * (1 - a)).sqrt()
                assert_close(covariance, expected, rtol=0, atol=1e-8)


def lands_on_a_training_image(core, steps=(5, 7, 20, 50), etas=ETAS):
    """The optimal denoiser of a finite set is a softmax; sampling with it must end in the set."""
    tigers = 0.9 * images(6, 3, 16, 16).sign()  # far apart, so that no path ends between two
    for kind in SCHEDULES:
        schedule = getattr(core.NoiseSchedule, kind)()
        table = reference_alpha_bar(kind, schedule.T)

        def optimal(xt, t, table=table):
            a = table[t].reshape(-1, 1, 1, 1)
            distance = (xt[:, None] - a.sqrt()[:, None] * tigers).square().sum((2, 3, 4))
            weight = (-distance / (2 * (1 - a.reshape(-1, 1)))).softmax(dim=1)
            x0 = torch.einsum("bn,nchw->bchw", weight, tigers)
            return (xt - a.sqrt() * x0) / (1 - a).sqrt()

        for n in steps:
            xT, fresh = noise(16, 3, 16, 16), lambda: torch.Generator().manual_seed(2)
            walks = [
                core.ddim(optimal, schedule, xT, steps=n, eta=e, generator=fresh()) for e in etas
            ]
            walks.append(core.ddpm(optimal, schedule, xT, steps=n, generator=fresh()))
            for walk in walks:
                *_, last = walk
                nearest = (last.xt[:, None] - tigers).abs().amax((2, 3, 4)).amin(1)
                assert nearest.max() < 1e-5, f"{kind}, {n} steps: {nearest.max():.1e} away"


def sampling_ignores_dropout(core):
    """Two samples of one seed are equal, and dropout is on again afterwards."""

    class Dropping(torch.nn.Dropout):
        def forward(self, xt, t):
            return super().forward(xt)

    model = Dropping(0.5).train()
    schedule = core.NoiseSchedule.cosine(100)
    for sampler in ("ddpm", "ddim"):
        options = dict(size=8, sampler=sampler, steps=5, progress=False)
        first, second = (core.sample(model, schedule, 3, seed=4, **options) for _ in range(2))
        assert torch.equal(first, second) and model.training
        assert first.shape == (3, 3, 8, 8) and first.dtype == torch.uint8
        assert not torch.equal(first, core.sample(model, schedule, 3, seed=5, **options))


def reference_times(n, T=1000):
    """n + 1 times from T to 0, by exact rational arithmetic, halves to even."""
    return [round(Fraction(T * (n - k), n)) for k in range(n + 1)]


# --- the average and the network -----------------------------------------------------------------


def average_in_closed_form(core):
    """One weight, set to 1, 2, 3, ...: the average is the sum that the definition gives."""
    layer = torch.nn.Linear(1, 1, bias=False).double()
    layer.weight.data.fill_(0.0)
    ema = core.EMA(layer, decay=0.7)
    decays, values = [], []
    for k in range(1, 41):
        layer.weight.data.fill_(float(k))
        ema.update(layer)
        decays.append(min(0.7, (1 + k) / (10 + k)))
        values.append(float(k))
        expected = sum(
            (1 - d) * v * math.prod(decays[i + 1 :]) for i, (d, v) in enumerate(zip(decays, values))
        )
        assert abs(ema.model.weight.item() - expected) < 1e-9
    assert ema.step == 40 and not ema.model.training
    assert not ema.model.weight.requires_grad and layer.weight.item() == 40


def network_hears_the_time(core):
    """The output depends on t, at neighbouring times too; the embedding tells all times apart."""
    torch.manual_seed(0)
    model = core.UNet(size=8, channels=16, multipliers=(1, 2), blocks=1, attention=(4,))
    assert not model(torch.randn(2, 3, 8, 8), torch.tensor([1, 2])).any(), "starts at zero"
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    xt = torch.randn(1, 3, 8, 8).expand(1000, -1, -1, -1)
    t = torch.arange(1, 1001)
    with torch.no_grad():
        out = model(xt, t)
    assert (out[1:] - out[:-1]).abs().amax((1, 2, 3)).min() > 1e-6
    embedding = core.time_embedding(t, 64)
    assert embedding.var(dim=0).median() > 0.1
    assert torch.cdist(embedding, embedding).fill_diagonal_(1).min() > 1e-2


ORACLES = (
    schedule_tables,
    add_noise_is_diffusers,
    noise_steps_compose,
    small_noise_survives_float32,
    predictions_agree,
    posterior_is_bayes,
    contract,
    ddpm_is_diffusers,
    ddim_is_diffusers,
    moments_of_one_tiger,
    lands_on_a_training_image,
    sampling_ignores_dropout,
    average_in_closed_form,
    network_hears_the_time,
)
