"""Submissions to assignment 6."""

RIGHT = {
    "no network at all": {
        "guide": """
def guide(conditional, unconditional, w):
    return w * conditional + (1 - w) * unconditional
""",
        "drop": """
def drop(condition, p, u):
    result = condition.clone()
    result[u < p] = -1
    return result
""",
        "learn": """
def learn(points, labels, schedule):
    means = torch.stack([points[labels[:, 0] == k].mean(0) for k in range(4)])
    spread = torch.cat([points[labels[:, 0] == k] - means[k] for k in range(4)]).var()

    def model(xt, t, condition):
        a = schedule.alpha_bar[t].float()[:, None]
        v = spread * a + 1 - a
        middle = a.sqrt()[:, :, None] * means
        score = -((xt[:, None] - middle) ** 2).sum(2) / (2 * v)
        other = (condition >= 0) & (condition != torch.arange(4))
        share = score.masked_fill(other, -1e9).softmax(1)
        return (1 - a).sqrt() * (xt - (share[:, :, None] * middle).sum(1)) / v

    return model


model = learn(points, labels, schedule)
""",
    },
    "library and one batch": {
        "draw": """
def draw(model, schedule, condition, w, xT, steps):
    def guided(xt, t):
        both = torch.cat([condition, -torch.ones_like(condition)])
        c, u = model(torch.cat([xt, xt]), torch.cat([t, t]), both).chunk(2)
        return guide(c, u, w)

    return list(td.ddim(guided, schedule, xT, steps=steps, clip=False))[-1].xt
""",
        "redraw": """
def redraw(model, schedule, x0, strength, eps, steps):
    times = td.timesteps(schedule, steps)
    first = round(steps * (1 - strength))
    a = schedule.alpha_bar
    x = a[times[first]].sqrt() * x0 + (1 - a[times[first]]).sqrt() * eps
    for k in range(first, steps):
        now, then = a[times[k]], a[times[k + 1]]
        e = model(x, torch.tensor([times[k]] * len(x)))
        x = (then / now).sqrt() * (x - (1 - now).sqrt() * e) + (1 - then).sqrt() * e
    return x
""",
    },
}

# name: cell, text in it, text put in its place, marks of 20, words of the report
WRONG = {
    "w of the paper": ("guide", "unconditional + w", "conditional + w", 15, "one too large"),
    "exchanged": (
        "guide",
        "return uncond",
        "conditional, unconditional = unconditional, conditional; return uncond",
        14,
        "exchanged",
    ),
    "only louder": (
        "guide",
        "unconditional + w * (conditional - unconditional)",
        "w * conditional",
        16,
        "made larger",
    ),
    "dropped the rest": ("drop", "u < p", "u >= p", 17, "the other way round"),
    "dropped to 0": ("drop", "-1, condition", "0, condition", 16, "0 is a class"),
    "never dropped in training": (
        "learn",
        "drop(labels[pick], 0.25",
        "drop(labels[pick], 0.0",
        18,
        "was -1 among",
    ),
    "blind to the class": (
        "learn",
        "condition[:, 0] % 5",
        "0 * condition[:, 0]",
        18,
        "see the condition",
    ),
    "blind to the time": ("learn", "t[:, None] / schedule.T", "0 * t[:, None]", 18, "see t?"),
    "three steps": ("learn", "range(250)", "range(3)", 16, "trained long enough"),
    "no guidance": (
        "draw",
        "guide(model(xt, t, condition), model(xt, t, nothing), w)",
        "model(xt, t, condition)",
        18,
        "without guidance",
    ),
    "asked three times": (
        "draw",
        "return guide(",
        "model(xt, t, nothing); return guide(",
        18,
        "two a step",
    ),
    "from noise alone": (
        "redraw",
        "td.add_noise(schedule, x0, times[0], eps)",
        "eps",
        16,
        "the picture is lost",
    ),
    "strength upside down": ("redraw", "(1 - strength)", "strength", 16, "not left out"),
    "without noise": ("redraw", "times[0], eps)", "0, eps)", 17, "no noise was added"),
    "noised to T": ("redraw", "times[0], eps)", "schedule.T, eps)", 16, "noised to T"),
    "the class alone": (
        "pushed",
        "(3 * m / 0.25) / (3 / 0.25 - 2)",
        "m",
        18,
        "not the right number",
    ),
}
