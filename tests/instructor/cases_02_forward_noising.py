"""Submissions to assignment 2."""

RIGHT = {
    "with numbers and loops": {
        "make_alpha_bar": """
def make_alpha_bar(beta):
    left = [1.0]
    for b in beta.tolist():
        left.append(left[-1] * (1 - b))
    return torch.tensor(left, dtype=torch.float64)
""",
        "add_noise": """
def add_noise(schedule, x0, t, eps):
    times = [t] * len(x0) if isinstance(t, int) else torch.as_tensor(t).expand(len(x0)).tolist()
    rows = []
    for image, noise, time in zip(x0, eps, times):
        a = schedule.alpha_bar[time].item()
        rows.append(a**0.5 * image + (1 - a) ** 0.5 * noise)
    return torch.stack(rows)
""",
        "snr_db": """
import math

def snr_db(schedule):
    return torch.tensor(
        [10 * math.log10(a / (1 - a)) for a in schedule.alpha_bar.tolist()[1:]]
    ).double()
""",
        "t_half": "t_half = float((schedule.snr >= 1).sum())",
    },
    "with numpy and logarithms": {
        "make_alpha_bar": """
import numpy as np

def make_alpha_bar(beta):
    return torch.from_numpy(np.concatenate([[1.0], np.exp(np.cumsum(np.log1p(-np.asarray(beta))))]))
""",
        "noise_step": """
def noise_step(schedule, x_prev, t, eps):
    a, before = schedule.alpha_bar[t], schedule.alpha_bar[t - 1]
    return (a.sqrt() * x_prev + torch.sqrt(before - a) * eps) / before.sqrt()
""",
        "even_schedule": """
def even_schedule(T, high, low):
    table = [1.0]
    for k in range(T):
        ratio = 10 ** ((high + (low - high) * k / (T - 1)) / 10)
        table.append(ratio / (1 + ratio))
    return torch.tensor(table, dtype=torch.float64)
""",
    },
}

# name: cell, text in it, text put in its place, marks of 20, words of the report
WRONG = {
    "product of the betas": (
        "make_alpha_bar",
        "cumprod(1 - beta",
        "cumprod(beta",
        18,
        "runs over alpha = 1 - beta",
    ),
    "no product": (
        "make_alpha_bar",
        "torch.cumprod(1 - beta, dim=0)",
        "1 - beta",
        18,
        "single alphas",
    ),
    "sum for product": (
        "make_alpha_bar",
        "torch.cumprod(1 - beta, dim=0)",
        "1 - beta.cumsum(0)",
        18,
        "take the product",
    ),
    "no first entry": (
        "make_alpha_bar",
        "torch.ones(1, dtype=torch.float64), ",
        "",
        17,
        "three entries",
    ),
    "alpha for alpha_bar": (
        "add_noise",
        "schedule.alpha_bar[",
        "schedule.alpha[",
        16,
        "alpha of one step",
    ),
    "no square roots": ("add_noise", ".sqrt()", "", 16, "square roots are missing"),
    "exchanged": ("add_noise", "alpha_bar = schedule", "alpha_bar = 1 - schedule", 15, "exchanged"),
    "time of the column": (
        "add_noise",
        ".reshape(-1, 1, 1, 1)",
        "",
        15,
        "each pixel gets the time of its column",
    ),
    "jump for step": ("noise_step", " / schedule.alpha_bar[t - 1]", "", 17, "this is the jump"),
    "beta as deviation": ("noise_step", "(1 - alpha) ** 0.5", "(1 - alpha)", 17, "is its variance"),
    "20 log10": ("snr_db", "10 * torch", "20 * torch", 18, "is for amplitudes"),
    "time 0 too": ("snr_db", "alpha_bar[1:]", "alpha_bar", 17, "none for t = 0"),
    "half a time late": (
        "t_half",
        "if schedule",
        "if t > 150 and schedule",
        18,
        "not the right number",
    ),
    "natural exponential": (
        "even_schedule",
        "torch.log(torch.tensor(10.0, dtype=torch.float64))",
        "1.0",
        18,
        "natural exponential",
    ),
}
