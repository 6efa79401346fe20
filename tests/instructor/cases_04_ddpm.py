"""Submissions to assignment 4."""

RIGHT = {
    "by Bayes": {
        "posterior": """
def posterior(schedule, x0, xt, t):
    alpha, beta, before = schedule.alpha[t], schedule.beta[t], 1 - schedule.alpha_bar[t - 1]
    if t == 1:
        return x0, 0.0
    precision = alpha / beta + 1 / before
    mean = xt * alpha.sqrt() / beta + x0 * schedule.alpha_bar[t - 1].sqrt() / before
    return mean / precision, 1 / precision
""",
        "ddpm_step": """
def ddpm_step(schedule, xt, t, eps, z):
    a = schedule.alpha_bar[t]
    x0 = (xt - (1 - a).sqrt() * eps) / a.sqrt()
    mean, variance = posterior(schedule, x0, xt, t)
    return mean + float(variance) ** 0.5 * z
""",
        "training_loss": """
def training_loss(model, schedule, x0, t, eps):
    return torch.nn.functional.mse_loss(model(td.add_noise(schedule, x0, t, eps), t), eps).item()
""",
    },
    "with loops": {
        "training_loss": """
def training_loss(model, schedule, x0, t, eps):
    a = schedule.alpha_bar[t].view(len(x0), 1, 1, 1)
    error = model(a**0.5 * x0 + (1 - a) ** 0.5 * eps, t) - eps
    return sum(e.square().mean() for e in error) / len(error)
""",
        "fixed_sample": """
def fixed_sample(model, schedule, xT, draw):
    x, t = xT.clone(), schedule.T
    while t:
        a, before = schedule.alpha_bar[t], schedule.alpha_bar[t - 1]
        x0 = (x - (1 - a).sqrt() * model(x, torch.tensor([t] * len(x)))) / a.sqrt()
        mean, variance = posterior(schedule, x0, x, t)
        x = mean if t == 1 else mean + variance**0.5 * draw(t)
        t -= 1
    return x
""",
        "bugs": "bugs = {12, 4, 7}",
    },
}

# name: cell, text in it, text put in its place, marks of 20, words of the report
WRONG = {
    "exchanged": (
        "posterior",
        "from_x0 * x0 + from_xt * xt",
        "from_x0 * xt + from_xt * x0",
        15,
        "exchanged",
    ),
    "alpha_bar of t": ("posterior", "from_x0 = a_prev**0.5", "from_x0 = a**0.5", 15, "of t - 1"),
    "beta for the variance": (
        "posterior",
        "variance = (1 - alpha) * (1 - a_prev) / (1 - a)",
        "variance = 1 - alpha",
        15,
        "this is beta",
    ),
    "sum": ("training_loss", ".mean()", ".sum()", 16, "not the sum"),
    "target x0": ("training_loss", "- eps)", "- x0)", 16, "the noise, not x0"),
    "clean input": (
        "training_loss",
        "model(xt, t)",
        "model(x0, t)",
        17,
        "must see the noised image",
    ),
    "absolute error": (
        "training_loss",
        " ** 2).mean()",
        ").abs().mean()",
        16,
        "not its absolute value",
    ),
    "beta eps": ("ddpm_step", " / (1 - a) ** 0.5 * eps", " * eps", 12, "must be divided"),
    "variance times z": (
        "ddpm_step",
        "max(variance, 0) ** 0.5",
        "max(variance, 0)",
        14,
        "not its variance",
    ),
    "noise at the end": (
        "ddpm_step",
        "(1 - alpha) * (1 - a / alpha) / (1 - a)",
        "1 - alpha",
        13,
        "larger variance beta",
    ),
    "straight to x0": (
        "ddpm_step",
        "a, alpha = schedule.alpha_bar[t].item(), schedule.alpha[t].item()",
        "a = alpha = schedule.alpha_bar[t].item()",
        14,
        "alpha_bar stands where alpha",
    ),
    "another's bugs": ("bugs", "[4, 7, 12]", "[3, 8, 10]", 17, "the bugs of variant 1, yours is 0"),
    "two of three": ("bugs", "[4, 7, 12]", "[4, 7, 11]", 17, "2 of your three lines"),
    "starts late": (
        "fixed_sample",
        "range(schedule.T,",
        "range(schedule.T - 1,",
        17,
        "the first call is at",
    ),
    "asked a step early": (
        "fixed_sample",
        "(len(xt),), t)",
        "(len(xt),), max(t - 1, 1))",
        17,
        "the first call is at",
    ),
}
