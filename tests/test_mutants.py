"""Each classic mistake, seeded into a copy of the source, must be caught by an oracle."""

import pytest
from oracles import ORACLES, load_core

GATHER = "alpha_bar = schedule.alpha_bar[t]\n    return"

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
        "per_picture((1 - alpha_bar).sqrt(), x0) * eps",
        "per_picture(1 - alpha_bar, x0) * eps",
    ),
    "no square root on the signal": (
        "diffusion",
        "per_picture(alpha_bar.sqrt(), x0) * x0",
        "per_picture(alpha_bar, x0) * x0",
    ),
    "noise in bfloat16": (
        "diffusion",
        "per_picture((1 - alpha_bar).sqrt(), x0) * eps",
        "(per_picture((1 - alpha_bar).sqrt(), x0) * eps).bfloat16().to(x0.dtype)",
    ),
    "off by one in noise_step": (
        "diffusion",
        "beta = schedule.beta[t]\n",
        "beta = schedule.beta[t - 1]\n",
    ),
    # what the output means, and the posterior
    "v the other way round": (
        "diffusion",
        "per_picture(signal, x0) * eps - per_picture(noise, x0) * x0",
        "per_picture(noise, x0) * eps - per_picture(signal, x0) * x0",
    ),
    "x0 for eps as the target": (
        "diffusion",
        """    if prediction == "eps":
        return eps""",
        """    if prediction == "eps":
        return x0""",
    ),
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
        "per_picture(from_x0, xt) * x0 + per_picture(from_xt, xt) * xt",
        "per_picture(from_xt, xt) * x0 + per_picture(from_x0, xt) * xt",
    ),
    "one step's alpha in a posterior with a gap": (
        "diffusion",
        "alpha = alpha_bar / alpha_bar_prev",
        "alpha = schedule.alpha[t]",
    ),
    # sampling
    "integer stride for the times": (
        "sampling",
        "torch.linspace(schedule.T, 0, steps + 1, dtype=torch.float64).round().long().tolist()",
        "[schedule.T - k * (schedule.T // steps) for k in range(steps)] + [0]",
    ),
    "first time T - 1": (
        "sampling",
        "torch.linspace(schedule.T, 0,",
        "torch.linspace(schedule.T - 1, 0,",
    ),
    "the model gets t - 1": ("sampling", "(len(xt),), t, device", "(len(xt),), t - 1, device"),
    "eps not derived again after clipping": (
        "sampling",
        "        eps = (xt - sqrt(a) * x0) / sqrt(1 - a)\n",
        "",
    ),
    "eps derived with variances": (
        "sampling",
        "eps = (xt - sqrt(a) * x0) / sqrt(1 - a)\n",
        "eps = (xt - sqrt(a) * x0) / (1 - a)\n",
    ),
    "alpha_bar of the time before": (
        "sampling",
        "schedule.alpha_bar[t])",
        "schedule.alpha_bar[t - 1])",
    ),
    "never clipped": ("sampling", "    if clip:", "    if False:"),
    "always clipped": ("sampling", "    if clip:", "    if True:"),
    "ddpm: variance for sigma": ("sampling", "mean + sqrt(variance) *", "mean + variance *"),
    "ddpm: no noise": ("sampling", "mean + sqrt(variance) *", "mean + 0 *"),
    "ddpm: noise in the last step": (
        "sampling",
        "randn_like(xt, generator) if variance > 0 else mean",
        "randn_like(xt, generator) if variance > 0 else mean + 0.01 * randn_like(xt, generator)",
    ),
    "ddpm: beta for the posterior's variance": (
        "sampling",
        "variance = (1 - alpha) * (1 - a_prev) / (1 - a)",
        "variance = 1 - alpha",
    ),
    "ddpm: coefficients exchanged": (
        "sampling",
        "/ (1 - a) * x0\n                + sqrt(alpha) * (1 - a_prev) / (1 - a) * xt",
        "/ (1 - a) * xt\n                + sqrt(alpha) * (1 - a_prev) / (1 - a) * x0",
    ),
    "ddpm: one step's alpha across a gap": (
        "sampling",
        "alpha = a / a_prev",
        "alpha = float(schedule.alpha[t])",
    ),
    "ddim: product of the kept alphas": (
        "sampling",
        "            sigma = eta *",
        "            a_prev = min(1.0, a / float(schedule.alpha[t]))\n            sigma = eta *",
    ),
    "ddim: variance for sigma": (
        "sampling",
        "sigma = eta * sqrt((1 - a_prev) / (1 - a) * (1 - a / a_prev))",
        "sigma = eta * (1 - a_prev) / (1 - a) * (1 - a / a_prev)",
    ),
    "ddim: eta under the root": ("sampling", "eta * sqrt((1 - a_prev)", "sqrt(eta * (1 - a_prev)"),
    "ddim: sigma not taken off the direction": (
        "sampling",
        "1 - a_prev - sigma**2, 0",
        "1 - a_prev, 0",
    ),
    "ddim: beta for sigma": (
        "sampling",
        "sqrt((1 - a_prev) / (1 - a) * (1 - a / a_prev))",
        "sqrt(1 - a / a_prev)",
    ),
    "ddim: no fresh noise": ("sampling", "xt + sigma * randn_like", "xt + 0 * randn_like"),
    "ddim: xt for eps": (
        "sampling",
        "sqrt(max(1 - a_prev - sigma**2, 0)) * eps",
        "sqrt(max(1 - a_prev - sigma**2, 0)) * xt",
    ),
    # the solvers of second order
    "dpm: lambda with the wrong sign": (
        "sampling",
        "h = log(sqrt(a_prev) / sigma_prev) - log(sqrt(a) / sigma)",
        "h = log(sqrt(a) / sigma) - log(sqrt(a_prev) / sigma_prev)",
    ),
    "dpm: lambda from variances": (
        "sampling",
        "h = log(sqrt(a_prev) / sigma_prev) - log(sqrt(a) / sigma)",
        "h = 2 * (log(sqrt(a_prev) / sigma_prev) - log(sqrt(a) / sigma))",
    ),
    "dpm: ratio of the steps upside down": ("sampling", "r = h_before / h", "r = h / h_before"),
    "dpm: steps taken to be equal": ("sampling", "r = h_before / h", "r = 1"),
    "dpm: half the ratio of the steps": (
        "sampling",
        "(1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * x0_before",
        "(1 + 1 / r) * x0 - 1 / r * x0_before",
    ),
    "dpm: the earlier time's alpha": (
        "sampling",
        "sqrt(a_prev) * expm1(-h) * D",
        "sqrt(a) * expm1(-h) * D",
    ),
    "dpm: e^h": ("sampling", "- sqrt(a_prev) * expm1(-h)", "+ sqrt(a_prev) * expm1(h)"),
    "dpm: the correction the other way": (
        "sampling",
        "(1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * x0_before",
        "(1 - 1 / (2 * r)) * x0 + 1 / (2 * r) * x0_before",
    ),
    "dpm: correction by eps, not by the data": (
        "sampling",
        "x0_before, h_before = x0, h",
        "x0_before, h_before = eps, h",
    ),
    "dpm: no memory of the step before": (
        "sampling",
        "x0_before, h_before = x0, h",
        "h_before = h",
    ),
    "dpm: first order throughout": ("sampling", "if t < schedule.T and t_prev > 0:", "if False:"),
    "dpm: second order in the first step": (
        "sampling",
        "if t < schedule.T and t_prev > 0:\n                r = h_before / h",
        "if t_prev > 0:\n                r = min(h_before / h, 1)",
    ),
    "dpm: second order in the last step": (
        "sampling",
        "if t < schedule.T and t_prev > 0:\n                r = h_before / h",
        "if t < schedule.T:\n                r = h_before / min(h, 1)",
    ),
    "dpm: variances for the noise": (
        "sampling",
        "sigma_prev / sigma * xt",
        "sigma_prev**2 / sigma**2 * xt",
    ),
    "heun: no correction": ("sampling", "if end_prev - end == 2:", "if False:"),
    "heun: mean not halved": ("sampling", "(eps_prev - eps) / 2", "(eps_prev - eps)"),
    "heun: the other way": ("sampling", "(s_prev - s) * (eps_prev", "(s - s_prev) * (eps_prev"),
    "heun: in the scaled variable": (
        "sampling",
        "xt + sqrt(a_prev) * (s_prev - s)",
        "xt + (s_prev - s)",
    ),
    "heun: sigma for sigma / alpha": (
        "sampling",
        "sqrt(1 / a - 1), sqrt(1 / a_prev - 1)",
        "sqrt(1 - a), sqrt(1 - a_prev)",
    ),
    "heun: slope of x0": (
        "sampling",
        "_, eps_prev = predict(model, schedule, xt, t_prev, clip)",
        "eps_prev, _ = predict(model, schedule, xt, t_prev, clip)",
    ),
    "heun: second look at the old time": (
        "sampling",
        "_, eps_prev = predict(model, schedule, xt, t_prev, clip)",
        "_, eps_prev = predict(model, schedule, xt, t, clip)",
    ),
    "heun: corrects the first step": ("sampling", "sorted({0, 1, *", "sorted({0, *"),
    "guidance without the unconditional part": (
        "drawing",
        "without + guidance_scale * (with_condition - without)",
        "guidance_scale * with_condition",
    ),
    "guidance one too strong": (
        "drawing",
        "without + guidance_scale * (with_condition - without)",
        "with_condition + guidance_scale * (with_condition - without)",
    ),
    "guidance on the wrong branch": (
        "drawing",
        "without + guidance_scale * (with_condition - without)",
        "with_condition + guidance_scale * (without - with_condition)",
    ),
    "dropout on while sampling": ("drawing", "model.eval()", "model.train()"),
    # the average and the network
    "decay the wrong way round": (
        "training.ema",
        "lerp_(weights, 1 - decay)",
        "lerp_(weights, decay)",
    ),
    "no warm-up of the average": (
        "training.ema",
        "decay = min(self.decay, (1 + self.step) / (10 + self.step))",
        "decay = self.decay",
    ),
    "average shares its weights": ("training.ema", "copy.deepcopy(model)", "copy.copy(model)"),
    "dead time embedding": ("unet", "* (1 + scale) + shift", "* (1 + 0 * scale) + 0 * shift"),
    "time in [0, 1] to the embedding": (
        "unet",
        "t.float()[:, None] *",
        "t.float()[:, None] / 1000 *",
    ),
    "the condition never added": ("unet", "time = time + embedding(word + 1)", "time = time + 0"),
    "an open attribute takes the first word": (
        "unet",
        "embedding(word + 1)",
        "embedding(word.clamp(min=0) + 1)",
    ),
    "the same word for all": ("unet", "embedding(word + 1)", "embedding(word.clamp(max=0) + 1)"),
    "attention not scaled": ("unet", "q * q.shape[-1] ** -0.5 @", "q @"),
    "softmax over the queries": ("unet", ".softmax(dim=-1)", ".softmax(dim=-2)"),
    "other wavelengths of the time": ("unet", "math.log(10_000)", "math.log(1_000)"),
    "last layer not zero": (
        "unet",
        "zero(nn.Conv2d(width, 3, 3, padding=1))",
        "nn.Conv2d(width, 3, 3, padding=1)",
    ),
}

FEW = {"steps": (7, 20), "etas": (0.0, 0.5), "calls": (80, 160)}
# The quick ones and those nearest to the changed module come first: most mutants die at once.
FIRST = {
    "diffusion": (
        "schedule_tables add_noise_is_diffusers noise_steps_compose small_noise_survives_float32 "
        "predictions_agree targets_are_inverted posterior_is_bayes"
    ),
    "sampling": "ddim_is_diffusers ddpm_is_diffusers dpm_solver_is_diffusers heun_is_karras",
    "drawing": "guidance_is_linear guidance_is_bayes sampling_ignores_dropout",
    "training.ema": "average_in_closed_form",
    "unet": "network_obeys_its_condition network_hears_the_time attention_is_torchs",
}


def verdicts(core, module=None):
    """Names of the oracles that object."""
    first = FIRST.get(module, "").split()
    for oracle in sorted(ORACLES, key=lambda oracle: oracle.__name__ not in first):
        wanted = oracle.__code__.co_varnames[: oracle.__code__.co_argcount]
        try:
            oracle(core, **{key: value for key, value in FEW.items() if key in wanted})
        except (AssertionError, ValueError):  # a schedule or a time that the code itself refuses
            yield oracle.__name__


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_killed(mutant):
    module = MUTANTS[mutant][0]
    killer = next(verdicts(load_core(*MUTANTS[mutant]), module), None)
    assert killer, f"no oracle caught: {mutant}"


def test_the_unchanged_copy_lives():
    assert list(verdicts(load_core())) == []
