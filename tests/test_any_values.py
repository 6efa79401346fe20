"""What holds for all arguments that are allowed: shapes, types, T, steps, schedules, seeds.

A dozen examples of each property; ANY_VALUES=100 tries as many.
"""

import copy
import os
import tempfile
from itertools import islice, pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import tigerdiff as td
from tigerdiff.tigers.tiger import CHOICES, RANGES

EXAMPLES = int(os.environ.get("ANY_VALUES", 12))
often = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 12, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
shapes = st.tuples(st.integers(1, 3), *[st.integers(1, 5)] * 3)
seeds = st.integers(0, 2**31 - 1)
floats = st.sampled_from([torch.float32, torch.float64])
any_floats = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])
samplers = st.sampled_from(["ddpm", "ddim", "dpm_solver", "heun"])


def noise(shape, seed, dtype=torch.float32):
    return torch.randn(shape, generator=td.seeded_generator(seed)).to(dtype)


def tolerance(dtype, scale=1.0):
    return dict(rtol=200 * torch.finfo(dtype).eps, atol=200 * torch.finfo(dtype).eps * scale)


@st.composite
def schedules(draw, most=1200):
    T = draw(st.integers(1, most))
    return td.make_schedule("linear" if T > 20 and draw(st.booleans()) else "cosine", T)


@st.composite
def networks(draw):
    """Any small network, with no layer that answers zero."""
    levels, classes = draw(st.integers(1, 3)), draw(st.sampled_from([None, {"fur": ["a", "b"]}]))
    multipliers = [draw(st.integers(1, 2)) for _ in range(levels)]
    size = 2 ** (levels - 1) * draw(st.integers(1, 4))
    attention = draw(st.lists(st.sampled_from([size >> i for i in range(levels)]), max_size=2))
    torch.manual_seed(0)
    network = td.UNet(
        size, 8, multipliers, draw(st.integers(1, 2)), attention, draw(st.sampled_from([0.0, 0.5])),
        draw(st.sampled_from(["eps", "x0", "v"])), classes,
    )  # fmt: skip
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05) if parameter.std() == 0 else None
    return network.eval()


@st.composite
def tigers(draw):
    """Any tiger that may be."""
    values = {name: draw(st.sampled_from(words)) for name, words in CHOICES.items()}
    values |= {name: draw(st.floats(*ends)) for name, ends in RANGES.items()}
    if (values["daytime"] == "night") != (values["backdrop"] == "night"):
        values["daytime"] = values["backdrop"] = "night"
    return td.Tiger(**values, stripes=draw(st.integers(0, 2**63 - 1)))


@often
@given(schedules(), st.data())
def test_any_number_of_steps_falls_from_the_end_to_zero(schedule, data):
    n = data.draw(st.integers(1, schedule.T))
    times = td.timesteps(schedule, n)
    assert (times[0], times[-1], len(times)) == (schedule.T, 0, n + 1)
    assert all(t > t_next for t, t_next in pairwise(times))
    path = td.flow_time(schedule)
    assert path[0] == 0 and path[-1] < 1 and bool((path.diff() > 0).all())


@often
@given(shapes, floats, seeds, st.data())
def test_a_line_leads_back_to_its_ends(shape, dtype, seed, data):
    x0, eps = noise(shape, seed, dtype).tanh(), noise(shape, seed + 1, dtype)
    t = torch.tensor([data.draw(st.floats(0, 1)) for _ in x0], dtype=dtype)
    xt, u = td.straight_line(x0, t, eps)
    assert xt.dtype == u.dtype == dtype and xt.shape == shape
    assert_close(td.line_ends(u, xt, t), (x0, eps), **tolerance(dtype, 4))
    assert td.flow_loss(lambda x, t: u, x0, t, eps) == 0
    expected = u.square().mean()
    assert_close(td.flow_loss(lambda x, t: torch.zeros_like(x), x0, t, eps), expected)


@often
@given(shapes, floats, st.sampled_from(["euler", "midpoint", "heun"]),
       st.lists(st.floats(0, 1), min_size=2, max_size=6), seeds)  # fmt: skip
def test_a_straight_field_is_followed_exactly_by_any_method(shape, dtype, method, times, seed):
    x, u = noise(shape, seed, dtype), noise(shape, seed + 1, dtype)
    path = list(td.integrate(lambda xt, t: u, x, times, method=method))
    assert [t for t, _ in path] == times
    for t, xt in path:
        assert_close(xt, x + (t - times[0]) * u, **tolerance(dtype, 10))


@often
@given(schedules(200), shapes, st.sampled_from(["eps", "x0", "v"]), st.booleans(), seeds, st.data())
def test_a_network_as_a_flow_takes_the_steps_of_ddim(schedule, shape, prediction, clip, seed, data):
    def model(xt, t):
        return 0.3 * xt.tanh()

    model.prediction = prediction
    n = data.draw(st.integers(1, min(schedule.T, 12)))
    xT = noise(shape, seed, torch.float64)
    times = td.flow_time(schedule)[td.timesteps(schedule, n)]
    on_line = (schedule.alpha_bar[-1].sqrt() + (1 - schedule.alpha_bar[-1]).sqrt()).double()
    *_, (_, end) = td.integrate(td.as_flow(model, schedule, clip=clip), xT / on_line, times)
    *_, step = td.ddim(model, schedule, xT, steps=n, clip=clip)
    scale = 1 + step.xt.abs().max().item()
    assert_close(end, step.xt, rtol=1e-6, atol=1e-9 * scale)


@often
@given(schedules(), shapes, floats, st.sampled_from(["eps", "x0", "v"]), seeds, st.data())
def test_the_loss_is_zero_for_the_answer_and_that_of_the_target_for_silence(
    schedule, shape, dtype, prediction, seed, data
):
    x0, eps = noise(shape, seed, dtype).tanh(), noise(shape, seed + 1, dtype)
    t = torch.tensor([data.draw(st.integers(1, schedule.T)) for _ in x0])
    target = td.to_target(schedule, x0, eps, t, prediction)

    def knows(xt, t):
        return target

    def silent(xt, t):
        return torch.zeros_like(xt)

    knows.prediction = silent.prediction = prediction
    assert td.diffusion_loss(knows, schedule, x0, t, eps) == 0
    assert_close(td.diffusion_loss(silent, schedule, x0, t, eps), target.square().mean())


@often
@given(networks(), st.integers(1, 3), seeds)
def test_any_network_keeps_the_shape_and_agrees_with_itself_in_float64(network, n, seed):
    size = network.config["size"]
    xt, t = noise((n, 3, size, size), seed), torch.arange(1, n + 1)
    condition = torch.zeros(n, 1, dtype=torch.long) if network.classes else None
    given_condition = () if condition is None else (condition,)
    with torch.inference_mode():
        output = network(xt, t, *given_condition)
        exact = copy.deepcopy(network).double()(xt.double(), t, *given_condition)
        assert_close(network(xt[:1], t[:1], *(c[:1] for c in given_condition)), output[:1])
    assert output.shape == xt.shape and output.dtype == torch.float32
    assert output.std() > 0 or output.numel() == 3
    assert_close(output.double(), exact, rtol=1e-3, atol=1e-4 * (1 + exact.abs().max().item()))


@often
@given(networks(), schedules(60), samplers, st.integers(1, 4), seeds, st.data())
def test_a_picture_follows_from_seed_and_number(network, schedule, sampler, n, seed, data):
    steps = data.draw(st.integers(1, min(schedule.T, 4)))
    how = dict(size=network.config["size"], sampler=sampler, steps=steps, progress=False)
    if network.classes and data.draw(st.booleans()):
        how |= dict(condition={"fur": "b"}, guidance_scale=data.draw(st.floats(-2, 4)))
    many = td.sample(network, schedule, n, seed=seed, **how)
    one = td.sample(network, schedule, 1, seed=seed, **how)
    assert many.shape == (n, 3, how["size"], how["size"]) and many.dtype == torch.uint8
    assert (many[:1].int() - one.int()).abs().max() <= 1


@often
@given(shapes, any_floats, st.floats(-10, 10), seeds)
def test_guidance_is_a_line_through_both_answers(shape, dtype, scale, seed):
    with_words, without = noise(shape, seed, dtype), noise(shape, seed + 1, dtype)

    def model(xt, t, condition=None):
        return without if condition is None else with_words

    condition = torch.zeros(shape[0], 1, dtype=torch.long)
    output = td.guided(model, condition, scale)(with_words, torch.ones(shape[0]))
    assert_close(output, without + scale * (with_words - without))
    assert torch.equal(td.guided(model, condition, 1)(with_words, None), with_words)


@often
@given(st.lists(st.integers(0, 5), max_size=4), any_floats, seeds)
def test_bytes_come_back_from_floats_of_any_shape_and_type(shape, dtype, seed):
    generator = td.seeded_generator(seed)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    x = td.to_float(images)
    assert x.shape == images.shape and x.dtype == torch.float32
    assert bool(((x >= -1) & (x <= 1)).all())
    back = td.to_uint8(x.to(dtype)).int() - images.int()
    worst = {torch.bfloat16: 1}.get(dtype, 0)  # eight bits, and one for the sign
    assert back.numel() == 0 or back.abs().max() <= worst


@often
@given(st.floats(0, 0.9999), st.integers(1, 30), seeds)
def test_an_average_is_its_formula(decay, updates, seed):
    model, expected = torch.nn.Linear(2, 1).double(), None
    ema = td.EMA(model, decay)
    expected = model.weight.detach().clone()
    for k in range(1, updates + 1):
        with torch.no_grad():
            model.weight.copy_(noise((1, 2), seed + k))
        ema.update(model)
        d = min(decay, (1 + k) / (10 + k))
        expected = d * expected + (1 - d) * model.weight.detach()
    assert_close(ema.model.weight, expected)
    assert ema.step == updates


@often
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.integers(0, 9), seeds)
def test_batches_are_parts_of_one_stream(n, batch_size, world_size, start, seed):
    images = torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1).repeat(1, 3, 1, 1)

    def first(count, **place):
        stream = td.batches(images, flip=False, seed=seed, **place)
        return td.to_uint8(torch.stack(list(islice(stream, count))))[..., 0, 0, 0]

    whole = first(start + 3, batch_size=batch_size * world_size)
    ranks = [
        first(3, batch_size=batch_size, start=start, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert torch.equal(torch.cat(ranks, 1), whole[start:])
    epochs = whole.flatten()[: whole.numel() // n * n].reshape(-1, n)
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs.tolist())


@often
@given(tigers(), st.integers(16, 40), seeds)
def test_any_tiger_is_painted_alike_alone_and_among_others_and_is_described(tiger, size, seed):
    others = td.series(2, seed)
    alone = td.paint(tiger, size)
    assert alone.shape == (3, size, size) and alone.dtype == torch.uint8
    among = td.paint([*others, tiger], size)[2]
    assert (among.int() - alone.int()).abs().max() <= 1
    words = td.caption(tiger, seed)
    assert tiger.fur in words and words == words.lower() and words == td.caption(tiger, seed)
    assert td.series(3, seed, start=1)[0] == td.series(2, seed)[1]


@often
@given(st.integers(4, 12), st.integers(4, 12), st.integers(1, 4), seeds)
def test_measures_hold_for_any_features(n, m, width, seed):
    def features(images):
        return torch.stack([images.float().mean((1, 2, 3)) ** k for k in range(1, width + 1)], 1)

    generator = td.seeded_generator(seed)
    a, b = (
        torch.randint(0, 256, (k, 3, 4, 4), dtype=torch.uint8, generator=generator) for k in (n, m)
    )
    there, back = (td.frechet_distance(*pair, features=features) for pair in ((a, b), (b, a)))
    assert there >= 0 and there == pytest.approx(back, rel=1e-6, abs=1e-6 * 256**width)
    share = td.precision_recall(a, b, features=features)
    turned = td.precision_recall(b, a, features=features)
    assert share == (turned.recall, turned.precision) and 0 <= min(share) <= max(share) <= 1
    assert td.precision_recall(a, a, features=features) == (1, 1)
    found = td.nearest_neighbours(a, torch.cat([b, a]), features=features)
    assert found.distance.abs().max() <= 1e-6 * 256**width and found.reference.shape == (n,)
    assert td.crops(a, 3, each=2, seed=seed).shape == (2 * n, 3, 3, 3)


@often
@given(networks(), schedules())
def test_any_network_is_stored_and_loaded(network, schedule):
    name = "linear" if schedule.T > 20 else "cosine"
    with tempfile.TemporaryDirectory() as folder:
        td.save_pretrained(network, folder, schedule=name, T=schedule.T)
        loaded, its_schedule = td.load_pretrained(folder)
    assert loaded.config == network.config and its_schedule.T == schedule.T
    for ours, theirs in zip(network.parameters(), loaded.parameters(), strict=True):
        assert_close(theirs, ours, rtol=1e-3, atol=1e-7)  # kept in float16


@often
@given(st.integers(2, 3), st.integers(1, 9), st.integers(1, 9), any_floats | st.just(torch.uint8),
       seeds)  # fmt: skip
def test_pictures_of_any_size_and_type_are_shown(n, height, width, dtype, seed):
    x = td.to_uint8(noise((n, 3, height, width), seed))
    images = x if dtype == torch.uint8 else td.to_float(x).to(dtype)
    for shown in (
        td.show_images(images, titles=[f"<{k}>" for k in range(n)], alt="a"),
        td.timestep_slider(list(images), values=list(range(n)), alt="a"),
        td.wipe(images[0], images[-1], alt="a"),
    ):
        assert "<img" in shown._repr_mimebundle_()["text/html"]
