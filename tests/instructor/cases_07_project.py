"""Submissions to assignment 7; both solutions written differently take the place of the whole."""

FLOW = """
def learn(points, labels):
    torch.manual_seed(1)
    layers = [torch.nn.Linear(6, 128), torch.nn.GELU(), torch.nn.Linear(128, 128), torch.nn.GELU()]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(128, 2))

    def model(xt, t, condition):  # the velocity of straight paths, t from 1 (noise) to 0
        kind = torch.nn.functional.one_hot(condition[:, 0], 3).float()
        return net(torch.cat([xt, t[:, None], kind], dim=1))

    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / 600)
        pick = torch.randint(len(points), (384,))
        x0, eps, t = points[pick], torch.randn(384, 2), torch.rand(384)
        xt = (1 - t[:, None]) * x0 + t[:, None] * eps
        loss = (model(xt, t, labels[pick]) - (eps - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def draw(model, condition, xT):
    x, n = xT, STEPS
    for k in range(n, 0, -1):
        x = x - model(x, torch.full((len(x),), k / n), condition) / n
    return x


model = learn(points, labels)
"""

TIGERS = """
def draw_tigers(network, schedule, condition, xT):
    x, times = xT, [round(1000 * (1 - k / 20)) for k in range(21)]
    for t, then in zip(times, times[1:]):  # DDIM, written for what the network predicts: v
        a, b = schedule.alpha_bar[t].item(), schedule.alpha_bar[then].item()
        v = network(x, torch.full((len(x),), t), condition)
        x0 = (a**0.5 * x - (1 - a) ** 0.5 * v).clamp(-1, 1)
        x = b**0.5 * x0 + (1 - b) ** 0.5 * (x - a**0.5 * x0) / (1 - a) ** 0.5
    return x
"""

RIGHT = {
    "straight paths, 20 calls": {"project": FLOW.replace("STEPS", "20"), "tigers": TIGERS},
    "straight paths, 16 calls": {"project": FLOW.replace("STEPS", "16")},
}

COPY = """    u = (xT[:, 0].abs() * 9999).long() % 1500
    return torch.stack([points[labels[:, 0] == k][i] for k, i in zip(condition[:, 0], u)])
"""

PAINTED = """    network(xT, torch.full((len(xT),), 1000), condition)
    classes = td.load_pretrained("ddpm-tiger-32")[0].classes
    tigers = []
    for tiger, row in zip(td.series(len(xT), 7), condition.tolist()):
        words = {name: words[k] for (name, words), k in zip(classes.items(), row)}
        daytime = "night" if words["backdrop"] == "night" else "noon"
        tigers.append(replace(tiger, daytime=daytime, **words))
    return td.to_float(td.paint(tigers, 32))
"""
FIRST = "    *_, last = td.dpm_solver"
SHRINKING = TIGERS.partition("xT):\n")[2].replace("+ (1 - b) ** 0.5", "+ 0.9 * (1 - b) ** 0.5")

# name: cell, text in it, text put in its place, marks of 20, words of the report
WRONG = {
    "too many calls": ("project", "schedule, 20)", "schedule, 40)", 17, "the budget is 20 calls"),
    "three calls": ("project", "schedule, 20)", "schedule, 2)", 17, "energy distance"),
    "blind to the arm": (
        "project",
        "condition[:, 0] % 4",
        "0 * condition[:, 0]",
        13,
        "of the points are on",
    ),
    "hardly trained": ("project", "steps = 600", "steps = 15", 13, "energy distance"),
    "fresh noise": (
        "project",
        "    return x\n    ### END",
        "    return x + 0.001 * torch.randn_like(x)\n    ### END",
        17,
        "gives other points",
    ),
    "training points": (
        "project",
        "    x, times = xT",
        COPY + "    x, times = xT",
        12,
        "does not use the model",
    ),
    "training points after a call": (
        "project",
        "    x, times = xT",
        "    model(xT, torch.full((len(xT),), 1), condition)\n" + COPY + "    x, times = xT",
        15,
        "of the points are on",
    ),
    "roots forgotten": (
        "project",
        "(x - (1 - a) ** 0.5 * eps) / a**0.5",
        "(x - (1 - a) * eps) / a",
        13,
        "energy distance",
    ),
    "tigers by too many calls": ("tigers", "steps=10", "steps=11", 17, "22 calls for each"),
    "painted tigers": (
        "tigers",
        "    ### BEGIN SOLUTION\n" + FIRST,
        "    from dataclasses import replace\n\n" + PAINTED + "    ### BEGIN SOLUTION\n" + FIRST,
        17,
        "Is the condition used",
    ),
    "tigers without words": (
        "tigers",
        "condition, 2.0",
        "-1 - 0 * condition, 2.0",
        17,
        "Is the condition used",
    ),
    "glaring tigers": ("tigers", "condition, 2.0", "condition, 12.0", 18, "less guidance"),
    "tigers of fresh noise": ("tigers", "td.dpm_solver", "td.ddpm", 18, "other pictures"),
    "tigers of half the noise": ("tigers", "xT, steps", "xT / 2, steps", 18, "a spread of 0.50"),
    "tigers of shrinking noise": ("tigers", FIRST, SHRINKING + FIRST, 18, "a spread of 0.4 get"),
    "tigers not drawn to the end": (
        "tigers",
        "return last.xt",
        "return (last.xt + xT / 6).clamp(-1, 1)",
        18,
        "last step",
    ),
}
