"""Each classic mistake, seeded into a copy of the source, must be caught by an oracle."""

import pytest
from oracles import ORACLES, load_core

GATHER = "alpha_bar = schedule.alpha_bar[t]\n    return"
IN_DDIM = """alpha_bar = schedule.alpha_bar[list(times)].cpu()
    now, prev ="""
SUBSAMPLED = """alpha_bar = torch.cumprod(schedule.alpha[list(times[::-1])], 0).flip(0)
    now, prev ="""

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
    "model told t - 1": ("_walk", "told[k]", "told[k] - 1"),
    "variance for sigma in ddpm": (
        "sampling",
        "std = posterior(schedule, nothing, nothing, t, t_prev)[1].sqrt()",
        "std = posterior(schedule, nothing, nothing, t, t_prev)[1]",
    ),
    "no noise in ddpm": ("sampling", "alpha=std[k])", "alpha=0)"),
    "noise in the last step": (
        "sampling",
        "t_prev)[1].sqrt()",
        "t_prev)[1].clamp(min=1e-3).sqrt()",
    ),
    "eps of another step": ("_walk", "xt, x0, to_eps[k])", "xt, x0, to_eps[k - 1])"),
    "eps in the direction without x0": ("_walk", "[of_x0 + of_eps * x0,", "[of_x0,"),
    "xt for eps in the direction": ("_walk", "of_eps * xt]", "of_eps]"),
    "never clipped": ("_walk", "        if clip:", "        if False:"),
    "always clipped": ("_walk", "        if clip:", "        if True:"),
    "cumprod over subsampled alphas in ddim": ("sampling", IN_DDIM, SUBSAMPLED),
    "variance for sigma in ddim": ("sampling", "variance.sqrt().tolist()", "variance.tolist()"),
    "eta not squared in the variance": ("sampling", "eta**2 * (1", "eta * (1"),
    "sigma not taken off the direction": ("sampling", "(1 - prev - variance)", "(1 - prev)"),
    "beta for sigma in ddim": (
        "sampling",
        "(1 - prev) / (1 - now) * (1 - now / prev)",
        "(1 - now / prev)",
    ),
    # the solvers of second order
    "lambda with the wrong sign": ("sampling", "(alpha / sigma).log()", "(sigma / alpha).log()"),
    "lambda from variances": ("sampling", "(alpha / sigma).log()", "2 * (alpha / sigma).log()"),
    "ratio of the steps upside down": ("sampling", "h[:-2] / h[1:-1]", "h[1:-1] / h[:-2]"),
    "steps taken to be equal": ("sampling", "h[:-2] / h[1:-1]", "torch.ones_like(h[1:-1])"),
    "half the ratio of the steps": ("sampling", "/ (2 * r)", "/ r"),
    "correction at the earlier time's alpha": ("sampling", "alpha[2:-1] * -", "alpha[1:-2] * -"),
    "correction with e^h": ("sampling", "-torch.expm1(-h[1:-1])", "torch.expm1(h[1:-1])"),
    "correction the other way": ("sampling", "step.x0 - x0_before,", "x0_before - step.x0,"),
    "correction by eps, not by the data": (
        "sampling",
        "x0_before = step.x0\n",
        "x0_before = step.eps\n",
    ),
    "no memory of the step before": ("sampling", "        x0_before = step.x0\n", ""),
    "first order throughout": ("sampling", "if correction[k] != 0:", "if False:"),
    "second order in the first step": ("sampling", "[0.0, *(alpha", "[0.5, *(alpha"),
    "second order in the last step": (
        "sampling",
        "(2 * r)).tolist(), 0.0]",
        "(2 * r)).tolist(), 0.5]",
    ),
    "Heun without his correction": ("sampling", "if corrected[k]:", "if False:"),
    "Heun's mean not halved": ("sampling", ".diff() / 2)", ".diff())"),
    "Heun the other way": ("sampling", "slope, alpha", "-slope, alpha"),
    "Heun in the scaled variable": ("sampling", "(alpha[1:] * (sigma / alpha)", "((sigma / alpha)"),
    "Heun with sigma for sigma / alpha": ("sampling", "(sigma / alpha).diff()", "sigma.diff()"),
    "Heun's slope of x0": ("sampling", ").eps - step.eps", ").x0 - step.x0"),
    "Heun's second look at the old image": (
        "sampling",
        "believe(k + 1, x_prev)",
        "believe(k + 1, step.xt)",
    ),
    "Heun's second look at the old time": (
        "sampling",
        "believe(k + 1, x_prev)",
        "believe(k, x_prev)",
    ),
    "Heun corrects the first step": ("sampling", "sorted({0, 1, *", "sorted({0, *"),
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
