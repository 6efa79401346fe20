"""Submissions to assignment 5."""

RIGHT = {
    "with tensors": {
        "sub_schedule": """
def sub_schedule(T, n):
    return torch.linspace(T, 0, n + 1, dtype=torch.float64).round().long().tolist()
""",
        "ddim_step": """
def ddim_step(schedule, xt, t, t_prev, eps):
    a, b = schedule.alpha_bar[[t, t_prev]]
    return (b / a).sqrt() * xt + ((1 - b).sqrt() - (b * (1 - a) / a).sqrt()) * eps
""",
        "ddim_sigma": """
def ddim_sigma(schedule, t, t_prev, eta):
    x = torch.zeros(1, 1, 1, 1).double()
    return eta * td.posterior(schedule, x, x, t, t_prev)[1].sqrt().item()
""",
    },
    "in terms of the flow": {
        "predict_x0": """
def predict_x0(schedule, xt, t, eps):
    snr = schedule.snr[t]
    return xt * (1 + 1 / snr).sqrt() - eps / snr.sqrt()
""",
        "ddim_sample": """
def ddim_sample(model, schedule, xT, n):
    times = sub_schedule(schedule.T, n)
    s = (1 / schedule.alpha_bar - 1).sqrt()
    y = xT / schedule.alpha_bar[-1].sqrt()
    for k in range(n):
        t = torch.tensor([times[k]] * len(xT))
        y = y + (s[times[k + 1]] - s[times[k]]) * model(y / (1 + s[times[k]] ** 2).sqrt(), t)
    return y
""",
        "landing": """
level = [float(schedule.alpha_bar[t]) for t in sub_schedule(T, 5)]
landing = start
for a, b in zip(level, level[1:]):
    e = (1 - a) ** 0.5 * landing / (0.25 * a + 1 - a)
    landing = b**0.5 * (landing - (1 - a) ** 0.5 * e) / a**0.5 + (1 - b) ** 0.5 * e
""",
    },
}

# name: cell, text in it, text put in its place, marks of 20, words of the report
WRONG = {
    "strides of T // n": (
        "sub_schedule", "[round(T * (n - k) / n) for k in range(n + 1)]",
        "list(range(T, 0, -(T // n))) + [0]", 15, "7 steps have 8 ends",
    ),
    "ends at 1": (
        "sub_schedule", "round(T * (n - k) / n)", "round(1 + (T - 1) * (n - k) / n)", 12,
        "it ends at 1",
    ),
    "not divided": ("predict_x0", " / a**0.5", "", 6, "division by sqrt(alpha_bar)"),
    "always t - 1": ("ddim_step", "alpha_bar[t_prev]", "alpha_bar[t - 1]", 9, "use t_prev"),
    "alpha for alpha_bar": (
        "ddim_step", "x0 = predict_x0(schedule, xt, t, eps)",
        "a, a_prev = schedule.alpha[[t, t_prev]]; x0 = (xt - (1 - a) ** 0.5 * eps) / a**0.5",
        9, "alpha of one step",
    ),
    "noise of time t": (
        "ddim_step", "(1 - a_prev)", "(1 - schedule.alpha_bar[t].item())", 9, "the level of t_prev"
    ),
    "no direction": ("ddim_step", " + (1 - a_prev) ** 0.5 * eps", "", 11, "direction back"),
    "variance for sigma": ("ddim_sigma", ") ** 0.5", ")", 16, "sigma is its root"),
    "beta": ("ddim_sigma", "(1 - a_prev) / (1 - a) * ", "", 16, "the larger variance"),
    "noise too loud": ("eta_step", " - sigma**2, 0", ", 0", 18, "must shrink"),
    "no fresh noise": ("eta_step", " + sigma * z", "", 18, "fresh noise is missing"),
    "asked at t_prev": (
        "ddim_sample", "torch.full((len(xt),), t)", "torch.full((len(xt),), max(t_prev, 1))", 14,
        "the first call is at",
    ),
    "t as a number": ("ddim_sample", "torch.full((len(xt),), t)", "t", 17, "int64 tensor"),
    "asked twice": (
        "ddim_sample", "eps = model", "model(xt, torch.full((len(xt),), t)); eps = model", 17,
        "calls of the model",
    ),
    "six steps": ("landing", ", 5).item()", ", 6).item()", 18, "not the right number"),
}  # fmt: skip
