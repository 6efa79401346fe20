"""Submissions to assignment 3."""

RIGHT = {
    "with loops": {
        "best_constant": """
def best_constant(images):
    picture = sum(images) / len(images)
    return picture, sum((x - picture).square().mean() for x in images) / len(images)
""",
        "weights": """
def weights(xt, images, a):
    rows = []
    for x in xt:
        power = torch.stack([-((x - a**0.5 * y).norm() ** 2) / (2 - 2 * a) for y in images])
        chance = torch.exp(power - power.max())
        rows.append(chance / chance.sum())
    return torch.stack(rows)
""",
        "left": """
left = 1.0
for p in weights(hazy, images, 0.004)[0].tolist():
    left *= p**-p
""",
    },
    "with matrices": {
        "weights": """
def weights(xt, images, a):
    x, y = xt.flatten(1), images.flatten(1)
    power = (a**0.5 * x @ y.T - a / 2 * (y * y).sum(1)) / (1 - a)
    return (power - power.logsumexp(dim=1, keepdim=True)).exp()
""",
        "best_x0": """
def best_x0(w, images):
    return (w @ images.flatten(1)).unflatten(1, images.shape[1:])
""",
        "linear_x0": """
def linear_x0(xt, mean, v, a):
    precision = 1 / v + a / (1 - a)
    return (mean / v + a**0.5 * xt / (1 - a)) / precision
""",
    },
}

# name: cell, text in it, text put in its place, marks of 20, words of the report
WRONG = {
    "median": (
        "best_constant",
        "images.mean(dim=0)",
        "images.median(dim=0).values",
        18,
        "the median",
    ),
    "summed": ("best_constant", ").mean().item()", ").sum().item() / len(images)", 18, "per pixel"),
    "absolute": (
        "best_constant",
        ") ** 2).mean()",
        ") ** 2).mean().sqrt()",
        18,
        "no root is taken",
    ),
    "a for its root": ("weights", "a**0.5 * images", "a * images", 14, "multiplied by sqrt(a)"),
    "not shrunk": ("weights", "a**0.5 * images", "images", 14, "sqrt(a) is missing"),
    "without the 2": ("weights", "(2 * (1 - a))", "(1 - a)", 14, "2 in 2 (1 - a)"),
    "averaged": ("weights", ".sum(2)", ".mean(2)", 14, "not averaged"),
    "distance, no square": ("weights", ".sum(2) /", ".sum(2).sqrt() /", 14, "is squared"),
    "over the batch": (
        "weights",
        "softmax(dim=1)",
        "softmax(dim=0)",
        13,
        "normalise over the images",
    ),
    "underflow": (
        "weights",
        "return (-(gap**2).flatten(2).sum(2) / (2 * (1 - a))).softmax(dim=1)",
        "p = (-(gap**2).flatten(2).sum(2) / (2 * (1 - a))).exp(); return p / p.sum(1)[:, None]",
        16,
        "no numbers (nan)",
    ),
    "likeliest": (
        "best_x0",
        'return torch.einsum("bn,nchw->bchw", w, images)',
        "return images[w.argmax(dim=1)]",
        17,
        "the likeliest picture",
    ),
    "alike": (
        "best_x0",
        'bchw", w, images',
        'bchw", torch.full_like(w, 1 / len(images)), images',
        16,
        "weighted alike",
    ),
    "not divided": ("best_eps", " / (1 - a) ** 0.5", "", 17, "division by sqrt(1 - a)"),
    "x0 not shrunk": ("best_eps", "a**0.5 * x0", "x0", 17, "shrunk by sqrt(a)"),
    "centre not shrunk": ("linear_x0", "(xt - a**0.5 * mean)", "(xt - mean)", 18, "its own mean"),
    "no mean": ("linear_x0", "mean + a**0.5 * v", "a**0.5 * v", 17, "it differs"),
    "entropy itself": ("left", ".exp().item()", ".item()", 18, "not the right number"),
}
