"""Each classic mistake, seeded into a copy of the source, must be caught by an oracle."""

import pytest
from oracles import ORACLES, load_core

GATHER = "alpha_bar = schedule.alpha_bar[t]\n    return"
SUBSAMPLED = """times = timesteps(schedule, steps)
        kept = torch.cumprod(schedule.alpha[list(reversed(times))], 0).flip(0)
        alpha_bar, alpha_bar_prev = kept[times.index(t)].item(), kept[times.index(t_prev)].item()"""

MUTANTS = {
    # the schedule
    "cosine without its offset": ("diffusion", "(t + 0.008) / 1.008 * ", "t * "),
    "cosine without the clamp of beta": ("diffusion", ".clamp(max=0.999)", ".clamp(max=0.9999)"),
    "linear not scaled by 1000 / T": ("diffusion", " * (1000 / T)", ""),
    "linear in float32": (
        "diffusion",
        "torch.linspace(1e-4, 0.02, T, dtype=torch.float64)",
        "torch.linspace(1e-4, 0.02, T).double()",
    ),
    # forward
    "beta for alpha_bar in add_noise": (
        "diffusion",
        GATHER,
        "alpha_bar = 1 - schedule.beta[t]\n    return",
    ),
    "alpha for alpha_bar in add_noise": (
        "diffusion",
        GATHER,
        "alpha_bar = schedule.alpha[t]\n    return",
    ),
    "off by one in add_noise": (
        "diffusion",
        GATHER,
        "alpha_bar = schedule.alpha_bar[(t - 1).clamp(min=0)]\n    return",
    ),
    "variance for sigma in add_noise": (
        "diffusion",
        "_like((1 - alpha_bar).sqrt(), x0) * eps",
        "_like(1 - alpha_bar, x0) * eps",
    ),
    "no square root on the signal": (
        "diffusion",
        "_like(alpha_bar.sqrt(), x0) * x0",
        "_like(alpha_bar, x0) * x0",
    ),
    "noise in bfloat16": (
        "diffusion",
        "_like((1 - alpha_bar).sqrt(), x0) * eps",
        "(_like((1 - alpha_bar).sqrt(), x0) * eps).bfloat16().to(x0.dtype)",
    ),
    "off by one in noise_step": (
        "diffusion",
        "beta = schedule.beta[t]\n",
        "beta = schedule.beta[t - 1]\n",
    ),
    # what the output means, and the posterior
    "x0 without the division by sqrt(alpha_bar)": (
        "diffusion",
        "return (xt - noise * output) / signal, output",
        "return (xt - noise * output), output",
    ),
    "v with the wrong sign": (
        "diffusion",
        "signal * xt - noise * output, noise * xt + signal * output",
        "signal * xt + noise * output, noise * xt - signal * output",
    ),
    "eps from x0 with variances": (
        "diffusion",
        "(xt - signal * output) / noise",
        "(xt - signal * output) / noise**2",
    ),
    "beta for the posterior's variance": (
        "diffusion",
        "variance = (1 - alpha) * (1 - alpha_bar_prev) / (1 - alpha_bar)",
        "variance = 1 - alpha",
    ),
    "posterior's coefficients exchanged": (
        "diffusion",
        "_like(from_x0, xt) * x0 + _like(from_xt, xt) * xt",
        "_like(from_xt, xt) * x0 + _like(from_x0, xt) * xt",
    ),
    "one step's alpha in a posterior with a gap": (
        "diffusion",
        "alpha = alpha_bar / alpha_bar_prev",
        "alpha = schedule.alpha[t]",
    ),
    # sampling
    "integer stride for the times": (
        "sampling",
        "torch.linspace(schedule.T, 0, n + 1, dtype=torch.float64).round().long().tolist()",
        "[schedule.T - k * (schedule.T // n) for k in range(n)] + [0]",
    ),
    "first time T - 1": (
        "sampling",
        "torch.linspace(schedule.T, 0,",
        "torch.linspace(schedule.T - 1, 0,",
    ),
    "model told t - 1": ("sampling", "(len(xt),), t, device", "(len(xt),), t - 1, device"),
    "variance for sigma in ddpm": ("sampling", "variance.sqrt() * _randn", "variance * _randn"),
    "no noise in ddpm": ("sampling", "mean + variance.sqrt() *", "mean + 0 *"),
    "noise in the last step": (
        "sampling",
        "variance.sqrt() * _randn_like(xt, generator) if t_prev > 0 else mean",
        "variance.clamp(min=1e-3).sqrt() * _randn_like(xt, generator)",
    ),
    "no eps anew after clipping": (
        "sampling",
        'x0, eps = to_x0_eps(schedule, x0.clamp(-1, 1), xt, t, "x0")',
        "x0 = x0.clamp(-1, 1)",
    ),
    "never clipped": ("sampling", "        if clip:", "        if False:"),
    "cumprod over subsampled alphas in ddim": (
        "sampling",
        "alpha_bar, alpha_bar_prev = schedule.alpha_bar[[t, t_prev]].tolist()",
        SUBSAMPLED,
    ),
    "variance for sigma in ddim": ("sampling", "eta * variance**0.5", "eta * variance"),
    "sigma not taken off the direction": (
        "sampling",
        "max(1 - alpha_bar_prev - sigma**2, 0.0)",
        "(1 - alpha_bar_prev)",
    ),
    "beta for sigma in ddim": (
        "sampling",
        "(1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)",
        "(1 - alpha_bar / alpha_bar_prev)",
    ),
    "dropout on while sampling": ("sampling", "model.eval()", "model.train()"),
    # the average and the network
    "decay the wrong way round": ("ema", "average, weights, 1 - decay", "average, weights, decay"),
    "no warm-up of the average": (
        "ema",
        "decay = min(self.decay, (1 + self.step) / (10 + self.step))",
        "decay = self.decay",
    ),
    "average shares its weights": ("ema", "copy.deepcopy(model)", "copy.copy(model)"),
    "dead time embedding": ("unet", "* (1 + scale) + shift", "* (1 + 0 * scale) + 0 * shift"),
    "time in [0, 1] to the embedding": (
        "unet",
        "t.float()[:, None] *",
        "t.float()[:, None] / 1000 *",
    ),
    "last layer not zero": (
        "unet",
        "zero(nn.Conv2d(width, 3, 3, padding=1))",
        "nn.Conv2d(width, 3, 3, padding=1)",
    ),
}

FEW = {"steps": (7, 50), "etas": (0.0, 0.5)}


def verdicts(core):
    """Names of the oracles that object."""
    for oracle in ORACLES:
        wanted = oracle.__code__.co_varnames[: oracle.__code__.co_argcount]
        try:
            oracle(core, **{key: value for key, value in FEW.items() if key in wanted})
        except (AssertionError, ValueError):  # a schedule or a time that the code itself refuses
            yield oracle.__name__


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_killed(mutant):
    assert next(verdicts(load_core(*MUTANTS[mutant])), None), f"no oracle caught: {mutant}"


def test_the_unchanged_copy_lives():
    assert list(verdicts(load_core())) == []
