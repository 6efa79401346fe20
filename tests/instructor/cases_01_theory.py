"""Submissions to assignment 1."""

RIGHT = {
    "with precisions": {
        "guess_x0": """
def guess_x0(xt, m, v, a):
    precision = 1 / v + a / (1 - a)
    return (m / v + a**0.5 * xt / (1 - a)) / precision, 1 / precision
""",
        "gaussian_kl": """
import numpy as np

def gaussian_kl(m1, v1, m2, v2):
    return np.log(v2**0.5 / v1**0.5) + (v1 + (m1 - m2) ** 2) / (2 * v2) - 1 / 2
""",
        "tweedie": """
def tweedie(xt, a, score):
    eps = -((1 - a) ** 0.5) * score
    return (xt - (1 - a) ** 0.5 * eps) / a**0.5
""",
    },
    "with autograd and distributions": {
        "noised": """
def noised(m, v, a):
    a, v = torch.tensor(a).double(), torch.tensor(v).double()
    return torch.sqrt(a) * m, (torch.sqrt(a) * v.sqrt()) ** 2 + torch.sqrt(1 - a) ** 2
""",
        "mixture_score": """
from torch.distributions import Categorical, MixtureSameFamily, Normal

def mixture_score(x, a, weights, means, variances):
    x = x.clone().requires_grad_(True)
    parts = Normal(a**0.5 * means, (a * variances + 1 - a).sqrt())
    p = MixtureSameFamily(Categorical(weights), parts)
    return torch.autograd.grad(p.log_prob(x).sum(), x)[0]
""",
        "end_kl": """
m, v = 0.5 * a_end**0.5, 1 - 0.64 * a_end
end_kl = (v + m * m - 1 - torch.tensor(v).double().log()) / 2
""",
    },
}

# name: cell, text in it, text put in its place, marks of 20, words of the report
WRONG = {
    "a for its root": ("noised", "a**0.5 * m", "a * m", 16, "not by a"),
    "variance squared": ("noised", "a * v + 1 - a", "a * v**2 + 1 - a", 16, "do not square it"),
    "mean kept": ("noised", "a**0.5 * m", "m", 16, "the mean shrinks too"),
    "only undone": ("guess_x0", "m + gain * (xt - a**0.5 * m)", "xt / a**0.5", 15, "towards m"),
    "wrong centre": ("guess_x0", "(xt - a**0.5 * m)", "(xt - m)", 16, "not with m"),
    "prior kept": ("guess_x0", "v * (1 - a) / (a * v + 1 - a)", "v", 16, "more certain"),
    "deviation for variance": (
        "guess_x0",
        "v * (1 - a) / (a * v + 1 - a)",
        "(v * (1 - a) / (a * v + 1 - a)) ** 0.5",
        15,
        "not its root",
    ),
    "kl exchanged": (
        "gaussian_kl",
        "import math",
        "import math; m1, v1, m2, v2 = m2, v2, m1, v1",
        16,
        "exchanged",
    ),
    "kl doubled": ("gaussian_kl", "0.5 * (math", "1.0 * (math", 16, "1/2 is missing"),
    "against the data": (
        "mixture_score",
        "(centres - x[:, None])",
        "(x[:, None] - centres)",
        15,
        "the sign",
    ),
    "weights alone": (
        "mixture_score",
        "log_density.softmax(dim=1)",
        "weights",
        16,
        "by weights alone",
    ),
    "clean score": (
        "mixture_score",
        "a**0.5 * means, a * variances + 1 - a",
        "means, variances",
        16,
        "the clean mixture",
    ),
    "no normalisation": ("mixture_score", " - 0.5 * spread.log()", "", 16, "narrow part is higher"),
    "densities underflow": (
        "mixture_score",
        "log_density.softmax(dim=1)",
        "log_density.exp() / log_density.exp().sum(dim=1, keepdim=True)",
        16,
        "underflow",
    ),
    "score subtracted": ("tweedie", "xt + (1", "xt - (1", 18, "it points to where data is"),
    "root for variance": ("tweedie", "(1 - a) * score", "(1 - a) ** 0.5 * score", 18, "a variance"),
    "end with variance squared": ("end_kl", "0.36", "0.36**2", 18, "not the right number"),
    "end with the deviation": ("end_kl", "0.36", "0.6", 18, "not the right number"),
    "other end": ("end_kl", "a_end", "float(schedule.alpha_bar[-1])", 18, "not the right number"),
}
