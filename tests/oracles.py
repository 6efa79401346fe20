"""What the mathematics says the code must do.

Each oracle takes ``core``, a namespace with the package's functions, and raises AssertionError if
they are wrong. test_oracles runs them on tigerdiff, test_mutants on copies with a mistake in them.
"""

import math
import re
import sys
import types
from fractions import Fraction
from itertools import accumulate, count, pairwise, product
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.models.embeddings import get_timestep_embedding
from torch.testing import assert_close

import tigerdiff

PACKAGE = Path(tigerdiff.__file__).parent
MODULES = (
    "checks",
    "diffusion",
    "training.ema",
    "unet",
    "sampling",
    "drawing",
)  # in the order of imports
EXACT = {"rtol": 1e-10, "atol": 1e-10}
SCHEDULES = ("linear", "cosine")
STEPS = (5, 7, 64, 999)
ETAS = (0.0, 0.5, 1.0)
_fresh = count()


def load_core(module=None, old=None, new=None):
    """The package's core executed anew; with ``old`` replaced by ``new`` in one module's source."""
    name = f"core{next(_fresh)}"
    core = types.SimpleNamespace()
    for stem in MODULES:
        path = PACKAGE / f"{stem.replace('.', '/')}.py"
        source = path.read_text(encoding="utf-8")
        if stem == module:
            assert source.count(old) == 1, f"{old!r} is {source.count(old)} times in {stem}"
            source = source.replace(old, new)
        fresh = types.ModuleType(f"{name}_{stem.replace('.', '_')}")
        sys.modules[fresh.__name__] = fresh
        source = re.sub(
            rf"from tigerdiff\.({'|'.join(map(re.escape, MODULES))}) ",
            lambda found: f"from {name}_{found[1].replace('.', '_')} ",
            source,
        )
        exec(compile(source, f"<{stem}>", "exec"), fresh.__dict__)
        vars(core).update(vars(fresh))
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


def diffusers_scheduler(cls, kind, T, **options):
    """A diffusers scheduler with its float32 tables replaced by the same ones in double."""
    scheduler = cls(
        num_train_timesteps=T,
        beta_schedule={"linear": "linear", "cosine": "squaredcos_cap_v2"}[kind],
        beta_start=1e-4 * 1000 / T,
        beta_end=0.02 * 1000 / T,
        **options,
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
            assert_close(schedule.alpha[1:], 1 - torch.tensor(reference_beta(kind, T)), **EXACT)
            assert (schedule.alpha[0], schedule.beta[0], schedule.snr[0]) == (1, 0, math.inf)
            assert_close(schedule.snr[1:] * (1 - schedule.alpha_bar[1:]), schedule.alpha_bar[1:])


def add_noise_is_diffusers(core):
    for kind in SCHEDULES:
        schedule = getattr(core.NoiseSchedule, kind)()
        t = torch.arange(1, schedule.T + 1)
        x0, eps = images(len(t), 3, 2, 2), noise(len(t), 3, 2, 2)
        expected = diffusers_scheduler(DDPMScheduler, kind, 1000).add_noise(x0, eps, t - 1)
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


def targets_are_inverted(core):
    """to_x0_eps takes back what to_target made, for all three predictions."""
    for kind in SCHEDULES:
        schedule = getattr(core.NoiseSchedule, kind)()
        t = torch.arange(1, 1001)
        alpha_bar = reference_alpha_bar(kind, 1000)[1:].reshape(-1, 1, 1, 1)
        x0, eps = images(1000, 3, 2, 2), noise(1000, 3, 2, 2)
        xt = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
        v = alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x0
        assert_close(core.to_target(schedule, x0, eps, t, "v"), v, **EXACT)
        for prediction in ("eps", "x0", "v"):
            target = core.to_target(schedule, x0, eps, t, prediction)
            got = core.to_x0_eps(schedule, target, xt, t, prediction)
            assert_close(got, (x0, eps), rtol=1e-9, atol=1e-9)


def guidance_is_linear(core):
    """Scale 0 is the unconditional prediction, 1 the conditional one, others lie on their line."""

    def model(xt, t, condition=None):
        return xt.tanh() if condition is None else xt.tanh() + condition.double()[:, :1, None, None]

    model.prediction = "v"
    xt, t, condition = (
        noise(3, 1, 2, 2),
        torch.tensor([1, 500, 1000]),
        torch.tensor([[1], [2], [3]]),
    )
    none, given = model(xt, t), model(xt, t, condition)
    for scale in (0, 1, 2.5, -1):
        guided = core.guided(model, condition, scale)
        assert guided.prediction == "v"
        assert_close(guided(xt, t), (1 - scale) * none + scale * given, **EXACT)


def guidance_is_bayes(core):
    """Two Gaussian classes: the guided noise is the plain one minus the classifier's gradient."""
    centres, width = torch.tensor([-0.8, 0.5], dtype=torch.float64), 0.3
    t = torch.arange(1, 1001)
    x0, eps = images(1000, 1), noise(1000, 1)
    a = reference_alpha_bar("cosine", 1000)[t, None]
    xt = (a.sqrt() * x0 + (1 - a).sqrt() * eps).requires_grad_()

    def log_p(x):  # of each class, up to a constant
        return -((x - a.sqrt() * centres) ** 2) / (2 * (a * width**2 + 1 - a))

    def model(xt, t, condition=None):
        share = log_p(xt).softmax(1) if condition is None else (condition == torch.arange(2)) * 1.0
        mean = a.sqrt() * (share * centres).sum(1, keepdim=True)
        return (1 - a).sqrt() * (xt - mean) / (a * width**2 + 1 - a)

    for y, scale in product((0, 1), (0, 1, 2.5)):
        (slope,) = torch.autograd.grad(log_p(xt).log_softmax(1)[:, y].sum(), xt)
        guided = core.guided(model, torch.full((1000, 1), y), scale)
        assert_close(guided(xt, t), model(xt, t) - scale * (1 - a).sqrt() * slope, **EXACT)


def guided_flow_of_a_gaussian(core):
    """If p(x) is N(0, 2) and p(x | y) is N(0, 1), guided samples are N(0, 2^(1 - g)).

    Bradley & Nakkiran 2025: the guided flow is linear there, and can be integrated by hand. With
    the noise of small DDPM steps the variance is (2 - 2^(2 - 2g)) / (2g - 1).
    """
    schedule = core.NoiseSchedule.cosine()
    table = reference_alpha_bar("cosine", 1000)

    def model(xt, t, condition=None):
        a, variance = table[t][:, None], 2 if condition is None else 1
        return (1 - a).sqrt() * xt / (a * variance + 1 - a)

    xT = noise(4000, 1)
    for scale in (0, 1, 2, 3.5):
        guided = core.guided(model, torch.zeros(4000, 1), scale)
        *_, end = core.heun(guided, schedule, xT, steps=500, clip=False)
        assert_close(end.xt, 2 ** ((1 - scale) / 2) * xT, rtol=1e-3, atol=1e-4)
        generator = torch.Generator().manual_seed(2)
        *_, end = core.ddpm(guided, schedule, xT, generator=generator, clip=False)
        expected = (2 - 2 ** (2 - 2 * scale)) / (2 * scale - 1)
        assert abs(end.xt.var().item() / expected - 1) < 0.1


def contract(core, steps=(1, 2, 3, 4, 7, 64)):
    """The first step has t = T, the last t = 0, x0 = xt and eps = 0; n calls, at those times."""
    for kind, n in product(SCHEDULES, steps):
        schedule = getattr(core.NoiseSchedule, kind)()
        for walk in (core.ddpm, core.ddim, core.dpm_solver, core.heun):
            model = mock.Mock(side_effect=x_dependent, spec=[])
            xT = noise(2, 3, 2, 2)
            trajectory = list(walk(model, schedule, xT, steps=n))
            assert trajectory[0].t == schedule.T and trajectory[0].xt is xT
            assert trajectory[-1].t == 0 and not trajectory[-1].eps.any()
            assert torch.equal(trajectory[-1].x0, trajectory[-1].xt)
            for step in trajectory[:-1]:
                a = schedule.alpha_bar[step.t]
                assert_close(a.sqrt() * step.x0 + (1 - a).sqrt() * step.eps, step.xt, **EXACT)
            ends = heun_ends(n) if walk is core.heun else range(n + 1)
            times = [reference_times(n)[end] for end in ends]
            assert [step.t for step in trajectory] == times
            calls = [call.args for call in model.call_args_list]
            assert len(calls) == n
            for end, step in zip(ends, trajectory[:-1]):
                xt, t = calls[end]
                assert t.tolist() == [step.t] * 2 and torch.equal(xt, step.xt)
            for now, end, after in zip(ends, ends[1:], times[1:]):
                assert all(t.tolist() == [after] * 2 for _, t in calls[now + 1 : end])


def heun_ends(n):
    """Which of n calls begin a step: two calls a step, but one in the first, last and odd one."""
    alone = 1 + n % 2 if n > 1 else 0
    return [0, *accumulate([1] * alone + [2] * ((n - alone - 1) // 2) + [1])]


def ddpm_is_diffusers(core, steps=STEPS):
    for kind in SCHEDULES:
        schedule = getattr(core.NoiseSchedule, kind)()
        for clip in (True, False):
            scheduler = diffusers_scheduler(DDPMScheduler, kind, 1000, clip_sample=clip)
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
            scheduler = diffusers_scheduler(DDIMScheduler, kind, 1000, clip_sample=clip)
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


def dpm_solver_is_diffusers(core, steps=STEPS):
    """Theirs casts to float32 in ``step``, so its two updates are called directly.

    It cannot clip: it is given the noise that belongs to the clipped x0.
    """
    for kind in SCHEDULES:
        schedule, table = getattr(core.NoiseSchedule, kind)(), reference_alpha_bar(kind, 1000)
        scheduler = diffusers_scheduler(
            DPMSolverMultistepScheduler, kind, 1000, final_sigmas_type="zero"
        )
        for n, clip in product(steps, (True, False)):
            walk = list(
                core.dpm_solver(x_dependent, schedule, noise(2, 3, 2, 2), steps=n, clip=clip)
            )
            times = reference_times(n)
            scheduler.set_timesteps(timesteps=[t - 1 for t in times[:-1]])
            scheduler.sigmas = (1 / table[times] - 1).sqrt()
            predictions = []
            for k, (now, after) in enumerate(pairwise(walk)):
                scheduler._step_index = k
                a = table[times[k]]
                output = x_dependent(now.xt, torch.tensor([times[k]] * 2))
                if clip:
                    x0 = ((now.xt - (1 - a).sqrt() * output) / a.sqrt()).clamp(-1, 1)
                    output = (now.xt - a.sqrt() * x0) / (1 - a).sqrt()
                predictions.append(scheduler.convert_model_output(output, sample=now.xt))
                if 0 < k < n - 1:
                    expected = scheduler.multistep_dpm_solver_second_order_update(
                        predictions, sample=now.xt
                    )
                else:
                    expected = scheduler.dpm_solver_first_order_update(
                        predictions[-1], sample=now.xt
                    )
                assert_close(after.xt, expected, **EXACT)
                assert_close(now.x0, predictions[-1], **EXACT)


def heun_is_karras(core, steps=STEPS):
    """Algorithm 1 word for word: the denoiser D, the slopes d and their mean, x not scaled."""
    for kind in SCHEDULES:
        schedule, table = getattr(core.NoiseSchedule, kind)(), reference_alpha_bar(kind, 1000)
        for n, clip in product(steps, (True, False)):

            def slope(x, t, table=table, clip=clip):
                a, sigma = table[t], (1 / table[t] - 1).sqrt()
                D = x - sigma * x_dependent(a.sqrt() * x, torch.tensor([t, t]))
                return (x - (D.clamp(-1, 1) if clip else D)) / sigma

            walk = list(core.heun(x_dependent, schedule, noise(2, 3, 2, 2), steps=n, clip=clip))
            ends = heun_ends(n)
            for now, after, calls in zip(walk, walk[1:], (b - a for a, b in pairwise(ends))):
                x = now.xt / table[now.t].sqrt()
                step = (1 / table[after.t] - 1).sqrt() - (1 / table[now.t] - 1).sqrt()
                d = slope(x, now.t)
                if calls == 2:
                    d = (d + slope(x + step * d, after.t)) / 2
                expected = (x + step * d) * table[after.t].sqrt()
                assert_close(after.xt, expected, rtol=1e-9, atol=1e-9)


def orders_of_convergence(core, calls=(80, 160, 320)):
    """The flow of a Gaussian N(mu, s^2) is known: (y - mu) / sqrt(s^2 + sigma^2) stays the same.

    Here y = xt / sqrt(alpha_bar), and sigma is 3 (t / T)^2: smooth, and with a short step to 0, the
    one that is always of first order. So the largest error on the way falls with the number of
    steps by the order of the method.
    """
    mu, s, sigma = 0.2, 0.5, 3 * torch.linspace(0, 1, 1921, dtype=torch.float64) ** 2
    schedule = core.NoiseSchedule(1 / (1 + sigma**2))
    signal = schedule.alpha_bar.sqrt()
    spread = (s**2 + sigma**2).sqrt()

    def best(xt, t):
        y, v = xt / signal[t].reshape(-1, 1, 1, 1), sigma[t].reshape(-1, 1, 1, 1) ** 2
        return (y - mu) * v.sqrt() / (s**2 + v)

    xT = noise(4, 3, 2, 2)
    z = (xT / signal[-1] - mu) / spread[-1]
    for walk, order in ((core.ddim, 1), (core.dpm_solver, 2), (core.heun, 2)):
        errors = []
        for n in calls:
            path = walk(best, schedule, xT, steps=n, clip=False)
            off = [step.xt - signal[step.t] * (mu + spread[step.t] * z) for step in path]
            errors.append(torch.stack(off).abs().max().item())
        slope = -np.polyfit(np.log(calls), np.log(errors), 1)[0]
        assert abs(slope - order) < 0.15, f"{walk.__name__} has order {slope:.3f}"


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
            for eta in (*etas, "ddpm", "dpm_solver", "heun"):
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
                    if isinstance(eta, str):
                        walk = list(getattr(core, eta)(knows_the_tiger, schedule, xT, steps=n))
                    else:
                        walk = list(core.ddim(knows_the_tiger, schedule, xT, steps=n, eta=eta))
                times = [step.t for step in walk]
                xt = torch.stack([step.xt.flatten() for step in walk])
                mean, response = xt[:, 0], xt[:, 1:] - xt[:, :1]
                a = table[times]
                assert_close(mean, a.sqrt() * tiger, rtol=0, atol=1e-9)
                assert_close(response.square().sum(1), 1 - a, rtol=0, atol=1e-9)
                covariance = (response[1:] * response[:-1]).sum(1)
                sigma = {"ddpm": 1.0, "dpm_solver": 0.0, "heun": 0.0}.get(eta, eta)
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
            walks += [core.dpm_solver(optimal, schedule, xT, steps=n)]
            walks += [core.heun(optimal, schedule, xT, steps=n)]
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
    for sampler in ("ddpm", "ddim", "dpm_solver", "heun"):
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
    """The output depends on t, at neighbouring times too; the embedding differs at all times."""
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


def attention_is_torchs(core):
    """The time's sines are diffusers', and attention is torch's, for one head and for several."""
    t = torch.tensor([1, 2, 500, 1000])
    expected = get_timestep_embedding(t, 64, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert_close(core.time_embedding(t, 64), expected, rtol=1e-4, atol=1e-4)
    for channels, heads in ((24, 1), (32, 1), (96, 3), (160, 5)):
        torch.manual_seed(0)
        layer = core.Attention(channels).double()
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        x = noise(2, channels, 3, 5)
        groups = math.gcd(32, channels // 4)
        h = F.group_norm(x, groups, layer.norm.weight, layer.norm.bias)
        q, k, v = (
            part.reshape(2, heads, channels // heads, 15).mT
            for part in F.conv2d(h, layer.qkv.weight, layer.qkv.bias).chunk(3, dim=1)
        )
        attended = F.scaled_dot_product_attention(q, k, v).mT.reshape(x.shape)
        assert layer.heads == heads
        assert_close(layer(x), x + F.conv2d(attended, layer.leave.weight, layer.leave.bias))


def network_obeys_its_condition(core):
    """Open attributes change nothing; each word of each attribute changes the output."""
    classes = {"fur": ["orange", "white"], "age": ["cub", "adult", "old"]}
    torch.manual_seed(0)
    options = dict(size=8, channels=16, multipliers=(1, 2), attention=(4,))
    model, plain = core.UNet(**options, classes=classes), core.UNet(**options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    xt, t = torch.randn(1, 3, 8, 8), torch.tensor([400])
    words = [{}, *({name: word} for name, known in classes.items() for word in known)]
    with torch.no_grad():
        out = [model(xt, t, model.condition(**some)) for some in words]
        assert torch.equal(out[0], model(xt, t))
        assert all((a - b).abs().max() > 1e-4 for i, a in enumerate(out) for b in out[:i])
        for embedding in model.attributes:
            embedding.weight.zero_()
        plain.load_state_dict(
            {k: w for k, w in model.state_dict().items() if not k.startswith("attributes")}
        )
        assert torch.equal(model(xt, t, model.condition(fur="white")), plain(xt, t))


ORACLES = (
    schedule_tables,
    add_noise_is_diffusers,
    noise_steps_compose,
    small_noise_survives_float32,
    predictions_agree,
    targets_are_inverted,
    posterior_is_bayes,
    guidance_is_linear,
    guidance_is_bayes,
    guided_flow_of_a_gaussian,
    contract,
    ddpm_is_diffusers,
    ddim_is_diffusers,
    dpm_solver_is_diffusers,
    heun_is_karras,
    orders_of_convergence,
    moments_of_one_tiger,
    lands_on_a_training_image,
    sampling_ignores_dropout,
    average_in_closed_form,
    network_hears_the_time,
    attention_is_torchs,
    network_obeys_its_condition,
)
