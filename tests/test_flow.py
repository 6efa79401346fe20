"""Flow matching: closed forms, and facebookresearch's flow_matching and torchdiffeq beside ours."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from flow_matching.path import CondOTProbPath
from flow_matching.path.scheduler import CondOTScheduler, ScheduleTransformedModel, VPScheduler
from oracles import images, noise
from torch.testing import assert_close
from torchdiffeq import odeint

import tigerdiff as td

EXACT = dict(rtol=1e-10, atol=1e-10)
METHODS = {"euler": 1, "midpoint": 2, "heun": 2}
TIMES = torch.tensor([0.0, 0.1, 0.35, 0.5, 0.8, 1.0], dtype=torch.float64)


def wide(t):
    return t.reshape(-1, 1, 1, 1)


# --- the line ------------------------------------------------------------------------------------


def test_the_line_and_its_velocity():
    """Theirs counts from noise at 0 to data at 1, so time and velocity have the other sign."""
    x0, eps = images(6, 3, 2, 2), noise(6, 3, 2, 2)
    theirs = CondOTProbPath().sample(x_0=eps, x_1=x0, t=1 - TIMES)
    xt, u = td.straight_line(x0, TIMES, eps)
    assert_close(xt, theirs.x_t, **EXACT)
    assert_close(u, -theirs.dx_t, **EXACT)
    assert torch.equal(xt[0], x0[0]) and torch.equal(xt[-1], eps[-1])
    for t in (0.0, 0.3, 1):
        each = torch.full((6,), t, dtype=torch.float64)
        assert_close(td.straight_line(x0, t, eps), td.straight_line(x0, each, eps), **EXACT)


def test_the_velocity_is_the_derivative_of_the_line():
    x0, eps = images(6, 3, 2, 2), noise(6, 3, 2, 2)
    slope = torch.autograd.functional.jvp(
        lambda t: td.straight_line(x0, t, eps)[0], TIMES, torch.ones_like(TIMES)
    )[1]
    xt, u = td.straight_line(x0, TIMES, eps)
    assert_close(u, slope, **EXACT)
    assert_close(td.line_ends(u, xt, TIMES), (x0, eps), **EXACT)


def test_what_a_velocity_implies():
    u, xt, inside = noise(4, 3, 2, 2), noise(4, 3, 2, 2, seed=2), TIMES[1:-1]
    x0, eps = td.line_ends(u, xt, inside)
    path, t = CondOTProbPath(), wide(1 - inside)
    assert_close(x0, path.velocity_to_target(-u, xt, t), **EXACT)
    assert_close(eps, path.velocity_to_epsilon(-u, xt, t), **EXACT)


@pytest.mark.parametrize(
    "t",
    [-0.1, 1.1, 500, torch.tensor([0.5, 300]), torch.tensor([0.5]), torch.ones(2, 1), float("nan")],
)
def test_a_time_that_is_no_part_of_the_line(t):
    x = torch.zeros(2, 3, 2, 2)
    for call in (td.straight_line, lambda x, t, _: td.line_ends(x, x, t)):
        with pytest.raises(ValueError, match=r"^t must be .*between 0 \(clean\) and 1 \(noise\)"):
            call(x, t, x)


def test_images_that_do_not_fit():
    x = torch.zeros(2, 3, 2, 2)
    for call in (
        lambda: td.straight_line(x, 0.5, x[:1]),
        lambda: td.line_ends(x.double(), x, 0.5),
    ):
        with pytest.raises(ValueError, match="must match"):
            call()


# --- the loss ------------------------------------------------------------------------------------


def test_the_loss_of_a_linear_model_in_closed_form():
    """x0 and eps each -1 or 1: the four pairs have exactly the moments of standard normals."""
    pairs = torch.tensor(list(product((-1.0, 1.0), repeat=2)), dtype=torch.float64)
    scale, shift, mu, c = 0.7, -0.2, 0.3, 0.5
    x0, eps = mu + c * pairs[:, :1], pairs[:, 1:]
    for t in (0.0, 0.25, 0.6, 1.0):
        # a (xt) + b - (eps - x0), sorted by what is constant, what varies with x0 and with eps
        constant = scale * (1 - t) * mu + shift + mu
        expected = constant**2 + (scale * (1 - t) + 1) ** 2 * c**2 + (scale * t - 1) ** 2
        loss = td.flow_loss(
            lambda xt, t: scale * xt + shift, x0, torch.full((4,), t, dtype=torch.float64), eps
        )
        assert_close(loss.item(), expected, **EXACT)


def test_the_best_model_is_the_mean_velocity():
    """For normal data both are known: regress on xt, and take the variance that is left."""
    mu, c = 0.3, 0.5
    for t in (0.2, 0.5, 0.9):
        variance = ((1 - t) * c) ** 2 + t**2
        left = c**2 / variance  # Var(eps - x0 | xt), as c^2 t^2 and so on cancel
        loss = td.flow_loss(gaussian(mu, c), *grid(mu, c, t))
        assert_close(loss.item(), left, rtol=1e-9, atol=0)


def grid(mu, c, t):
    """x0, t, eps with the exact first and second moments of the normal data."""
    pairs = torch.tensor(list(product((-1.0, 1.0), repeat=2)), dtype=torch.float64)
    return mu + c * pairs[:, :1], torch.full((4,), t, dtype=torch.float64), pairs[:, 1:]


def gaussian(mu, c):
    """The mean velocity where x0 ~ N(mu, c^2)."""

    def u(xt, t):
        t = t.reshape(-1, *[1] * (xt.dim() - 1))
        variance = ((1 - t) * c) ** 2 + t**2
        return -mu + (t - (1 - t) * c**2) / variance * (xt - (1 - t) * mu)

    return u


def test_the_gradient_reaches_the_model():
    weight = torch.zeros(1, requires_grad=True)
    one, half = torch.ones(2, 1), torch.full((2,), 0.5)
    loss = td.flow_loss(lambda xt, t: weight + 0 * xt, one, half, -one)
    loss.backward()
    assert_close(weight.grad, torch.tensor([4.0]))  # d/dw (w + 2)^2


# --- solvers -------------------------------------------------------------------------------------


def falling(n):
    """n + 1 times from noise to image."""
    return torch.linspace(1, 0, n + 1, dtype=torch.float64).tolist()


def ends(velocity, x, times, method):
    *_, (_, last) = td.integrate(velocity, x, times, method=method)
    return last


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 3), ("heun", 2)])
def test_orders_of_convergence_on_normal_data(method, order):
    """Each point keeps its z: xt = (1 - t) mu + spread z, with spread^2 a parabola in t.

    For such a spread s the midpoint rule's leading error, s''' / 24 + s' s'' / (8 s), is 0.
    """
    mu, c, z, errors = 0.3, 0.4, noise(100, 1), []
    for n in (40, 80, 160):
        errors.append(0.0)
        for t, xt in td.integrate(gaussian(mu, c), z, falling(n), method=method):
            off = (xt - (1 - t) * mu - math.hypot((1 - t) * c, t) * z).abs().max().item()
            errors[-1] = max(errors[-1], off)
    for rough, fine in pairwise(errors):
        assert abs(math.log2(rough / fine) - order) < 0.15


@pytest.mark.parametrize(("method", "order"), METHODS.items())
def test_orders_of_convergence_on_two_points(method, order):
    """In one dimension paths cannot cross, so each point keeps its rank: its distribution function.

    Data are -1 and 1. The path ends at t = 0.2, before it becomes vertical.
    """

    def u(xt, t):
        t = t.reshape(-1, 1)
        return (xt - ((1 - t) * xt / t**2).tanh()) / t

    def rank(x, t):
        return sum(torch.special.ndtr((x - side * (1 - t)) / t) for side in (-1, 1)) / 2

    z, errors = noise(100, 1), []
    for n in (80, 160, 320):
        times = torch.linspace(1, 0.2, n + 1, dtype=torch.float64).tolist()
        x = ends(u, z, times, method)
        errors.append((rank(x, 0.2) - rank(z, 1.0)).abs().max().item())
    for rough, fine in pairwise(errors):
        assert abs(math.log2(rough / fine) - order) < 0.15


@pytest.mark.parametrize("method", METHODS)
def test_one_step_is_exact_where_the_paths_are_straight(method):
    """All data in one point: every path is a line."""
    z = noise(10, 3, 2, 2)
    x = ends(gaussian(0.3, 0.0), z, falling(1), method)
    assert_close(x, torch.full_like(x, 0.3), **EXACT)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [5, 7, 17])
def test_the_mean_velocity_of_a_finite_set_leads_into_it(method, n):
    tigers = 0.9 * images(6, 3, 16, 16).sign()

    def u(xt, t):
        t = wide(t)
        distance = (xt[:, None] - (1 - t[:, None]) * tigers).square().sum((2, 3, 4))
        weight = (-distance / (2 * t.reshape(-1, 1) ** 2)).softmax(dim=1)
        return (xt - torch.einsum("bn,nchw->bchw", weight, tigers)) / t

    x = ends(u, noise(16, 3, 16, 16), falling(n), method)
    nearest = (x[:, None] - tigers).abs().amax((2, 3, 4)).amin(1)
    assert nearest.max() < (1e-9 if method != "midpoint" else 0.2 / n)


@pytest.mark.parametrize(("ours", "theirs"), [*zip(METHODS, ("euler", "midpoint", "heun2"))])
def test_the_solvers_are_torchdiffeqs(ours, theirs):
    """Upwards too; but not down to 0, where our Heun's last step is Euler's."""
    u, z = gaussian(0.3, 0.4), noise(5, 3, 2, 2)
    for times in ([1.0, 0.8, 0.5, 0.1], [0.2, 0.3, 0.9, 1.0]):
        path = [xt for _, xt in td.integrate(u, z, times, method=ours)]
        expected = odeint(
            lambda t, x: u(x, t.expand(len(x))),
            z,
            torch.tensor(times, dtype=torch.float64),
            method=theirs,
        )
        assert_close(torch.stack(path), expected, rtol=1e-9, atol=1e-9)


def test_many_steps_are_torchdiffeqs_adaptive_solver():
    u, z = gaussian(0.3, 0.4), noise(5, 3, 2, 2)
    ends_ = torch.tensor([1.0, 0.0], dtype=torch.float64)
    expected = odeint(lambda t, x: u(x, t.expand(len(x))), z, ends_, rtol=1e-10, atol=1e-12)[-1]
    assert_close(ends(u, z, falling(2000), "midpoint"), expected, rtol=1e-5, atol=1e-5)


def test_heun_never_asks_at_time_zero_and_counts_are_kept():
    for method, calls in {"euler": 4, "midpoint": 8, "heun": 7}.items():
        asked = []

        def u(xt, t, asked=asked):
            assert t.shape == (2,) and t.dtype == xt.dtype
            asked.append(t[0].item())
            return xt

        steps = list(td.integrate(u, torch.ones(2, 3, 2, 2), falling(4), method=method))
        assert len(asked) == calls and min(asked) > 0
        assert [t for t, _ in steps] == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_arguments_of_the_solvers():
    z = torch.zeros(1, 3, 2, 2)
    with pytest.raises(ValueError, match="^method must be euler, midpoint or heun"):
        td.integrate(lambda x, t: x, z, [1.0, 0.0], method="rk4")
    words, square, complex_ = ["1", "0"], torch.rand(2, 2), [1.0, 1j]
    for times in (
        [1.0], [1.0, 1.5], [1000, 500, 0], [1.0, float("nan")], words, square, complex_,
    ):  # fmt: skip
        with pytest.raises(ValueError, match="^times must be two or more numbers between 0"):
            td.integrate(lambda x, t: x, z, times)
    with pytest.raises(ValueError, match="^xt must"):
        td.integrate(lambda x, t: x, z + 255, [1.0, 0.0])


# --- a diffusion network as a flow ---------------------------------------------------------------


def as_prediction(kind, x0):
    """A model of this kind whose opinion is always x0."""

    def model(xt, k):
        a = SCHEDULE.alpha_bar[k].reshape(-1, 1, 1, 1)
        eps = (xt - a.sqrt() * x0) / (1 - a).sqrt()
        v = a.sqrt() * eps - (1 - a).sqrt() * x0
        return {"eps": eps, "x0": x0.expand_as(xt), "v": v}[kind]

    model.prediction = kind
    return model


SCHEDULE = td.NoiseSchedule.cosine()


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_flow_time_has_the_signal_to_noise_ratio_of_the_schedule(name):
    schedule = td.make_schedule(name, 1000)
    t = td.flow_time(schedule)
    assert t.dtype == torch.float64 and t[0] == 0 and (t.diff() > 0).all() and t[-1] < 1
    assert_close((1 - t[1:]) ** 2 / t[1:] ** 2, schedule.snr[1:], rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_line_and_diffusion_pass_through_the_same_pictures_up_to_scale(name):
    schedule = td.make_schedule(name, 1000)
    k = torch.arange(1001)
    x0, eps, t = images(1001, 3, 2, 2), noise(1001, 3, 2, 2), td.flow_time(schedule)
    a = wide(schedule.alpha_bar)
    assert_close(
        td.straight_line(x0, t, eps)[0],
        td.add_noise(schedule, x0, k, eps) / (a.sqrt() + (1 - a).sqrt()),
        **EXACT,
    )


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
def test_a_network_that_knows_the_picture_gives_the_velocity_of_its_line(kind):
    x0, eps = images(999, 3, 2, 2), noise(999, 3, 2, 2)
    t = td.flow_time(SCHEDULE)[1:-1]
    u = td.as_flow(as_prediction(kind, x0), SCHEDULE)
    assert_close(u(td.straight_line(x0, t, eps)[0], t), eps - x0, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
def test_the_score_is_that_of_the_points_on_the_line(kind):
    """In closed form, for normal data; and the velocity too."""
    mu, c = 0.1, 0.3
    t = td.flow_time(SCHEDULE)[[50, 400, 900]]

    def model(xt, k):
        a = wide(SCHEDULE.alpha_bar[k])
        x0 = mu + a.sqrt() * c**2 * (xt - a.sqrt() * mu) / (a * c**2 + 1 - a)
        eps = (xt - a.sqrt() * x0) / (1 - a).sqrt()
        return {"eps": eps, "x0": x0, "v": a.sqrt() * eps - (1 - a).sqrt() * x0}[kind]

    model.prediction = kind
    xt = 0.5 * noise(3, 3, 2, 2)
    u = td.as_flow(model, SCHEDULE, clip=False)(xt, t)
    assert_close(u, gaussian(mu, c)(xt, t), rtol=1e-7, atol=1e-7)
    _, eps = td.line_ends(u, xt, t)
    variance = ((1 - wide(t)) * c) ** 2 + wide(t) ** 2
    assert_close(-eps / wide(t), -(xt - (1 - wide(t)) * mu) / variance, rtol=1e-7, atol=1e-7)


def test_changing_the_schedule_is_flow_matchings():
    """Their transformation of velocities, from the variance-preserving path to the line."""
    theirs = VPScheduler()
    r = 1 - torch.arange(0, 1001, dtype=torch.float64) / 1000
    alpha_bar = theirs(r).alpha_t ** 2
    alpha_bar[0] = 1
    schedule = td.NoiseSchedule(alpha_bar)

    def eps_of(xt, k):
        return xt.tanh() + 0.3 * torch.cos(k.double() / 90).reshape(-1, 1, 1, 1)

    def vp_velocity(x, t):
        k = ((1 - t) * 1000).round().long().flatten()
        s = theirs(wide(t.flatten()))
        eps = eps_of(x, k)
        x0 = (x - s.sigma_t * eps) / s.alpha_t
        return s.d_alpha_t * x0 + s.d_sigma_t * eps

    k = torch.tensor([5, 200, 500, 990])
    t, xt = td.flow_time(schedule)[k], noise(4, 3, 2, 2)
    straightened = ScheduleTransformedModel(vp_velocity, theirs, CondOTScheduler())
    expected = -straightened(x=xt, t=wide(1 - t))
    assert_close(td.as_flow(eps_of, schedule, clip=False)(xt, t), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("clip", "n"), [*product((True, False), (1, 5, 7, 50))])
def test_euler_on_the_flow_is_ddim(clip, n):
    def model(xt, k):
        return xt.tanh() + 0.3 * torch.cos(k.double() / 90).reshape(-1, 1, 1, 1)

    xT = noise(3, 3, 2, 2)
    times = td.flow_time(SCHEDULE)[td.timesteps(SCHEDULE, n)]
    scale = torch.hypot(1 - times, times)
    u = td.as_flow(model, SCHEDULE, clip=clip)
    path = list(td.integrate(u, xT * scale[0], times.tolist()))
    for (_, xt), expected, factor in zip(
        path, td.ddim(model, SCHEDULE, xT, steps=n, clip=clip), scale, strict=True
    ):
        assert_close(xt, expected.xt * factor, rtol=1e-8, atol=1e-8)


def test_the_flow_draws_what_sample_draws():
    """The network of the package, the noise of (seed, i), and the same pictures."""
    network, schedule = td.load_pretrained("ddpm-tiger-32")
    noises = [torch.randn(3, 32, 32, generator=td.seeded_generator(4, i)) for i in range(2)]
    times = td.flow_time(schedule)[td.timesteps(schedule, 4)].tolist()
    with torch.inference_mode():
        drawn = ends(td.as_flow(network, schedule), torch.stack(noises), times, "euler")
    expected = td.sample(network, schedule, 2, size=32, steps=4, seed=4, progress=False)
    assert (td.to_uint8(drawn).int() - expected.int()).abs().max() <= 1


def test_a_path_may_begin_at_a_clean_picture():
    """From images to noise: at t = 0 the network is asked at the first time that it knows."""
    u = td.as_flow(lambda xt, k: torch.zeros_like(xt), SCHEDULE)
    *_, (t, xt) = td.integrate(u, torch.rand(2, 3, 4, 4) - 0.5, [0.0, 0.5, 1.0])
    assert t == 1 and xt.isfinite().all()
    u = td.as_flow(lambda xt, k: torch.ones_like(xt), SCHEDULE)
    *_, (t, xt), (_, end) = td.integrate(u, torch.randn(2, 3, 4, 4) / 2, [0.5, 1e-6, 0.0])
    x0, _ = td.to_x0_eps(SCHEDULE, torch.ones_like(xt), xt, 1, "eps")
    assert_close(end, x0.clamp(-1, 1), rtol=0, atol=1e-4)  # from nearly 0 the step ends there too
    half, _ = td.straight_line(torch.ones(1, 2), np.float32(0.5), torch.zeros(1, 2))
    assert torch.equal(half, torch.full((1, 2), 0.5))


def test_a_network_is_asked_at_the_nearest_time_that_it_knows():
    asked = []

    def model(xt, k):
        asked.append(k)
        return xt

    t = td.flow_time(SCHEDULE)
    u = td.as_flow(model, SCHEDULE)
    u(torch.zeros(4, 1), torch.tensor([1e-9, t[300] + 1e-6, 1.0, 0.5]).double())
    k = asked[0]
    assert k.dtype == torch.int64 and k[:3].tolist() == [1, 300, 1000]
    assert abs(t[k[3]] - 0.5) < 1e-3
