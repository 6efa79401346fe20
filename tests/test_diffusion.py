"""Arguments that do not fit; the formulas themselves are in test_oracles."""

import numpy as np
import pytest
import torch

from tigerdiff import NoiseSchedule, add_noise, noise_step, posterior, to_x0_eps

SCHEDULE = NoiseSchedule.linear(100)
X = torch.zeros(2, 3, 4, 4)


@pytest.mark.parametrize("t", [-1, 101, torch.tensor([0, 101]), torch.tensor([5, -1])])
def test_time_out_of_range(t):
    with pytest.raises(ValueError, match=r"^t must be between 0 and 100"):
        add_noise(SCHEDULE, X, t, X)


@pytest.mark.parametrize("function", [noise_step, lambda s, x, t, e: to_x0_eps(s, e, x, t)])
def test_time_zero_where_nothing_was_added(function):
    with pytest.raises(ValueError, match=r"^t must be between 1 and 100"):
        function(SCHEDULE, X, 0, X)


@pytest.mark.parametrize("t", [0.5, "7", None, torch.tensor([1.0, 2.0]), torch.tensor([True])])
def test_time_not_an_integer(t):
    with pytest.raises(ValueError, match=r"^t must be an int or an integer tensor"):
        add_noise(SCHEDULE, X, t, X)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1)])
def test_time_of_the_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"^t must have shape \(2,\)"):
        add_noise(SCHEDULE, X, torch.ones(shape, dtype=torch.long), X)


def test_numpy_times():
    assert torch.equal(add_noise(SCHEDULE, X, np.int64(3), X + 1), add_noise(SCHEDULE, X, 3, X + 1))


def test_time_on_every_integer_dtype():
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.int64):
        t = torch.tensor([3, 100], dtype=dtype)
        assert torch.equal(
            add_noise(SCHEDULE, X, t, X + 1), add_noise(SCHEDULE, X, t.long(), X + 1)
        )


@pytest.mark.parametrize("t", [(5, 5), (5, 9), (torch.tensor([5, 9]), torch.tensor([4, 9]))])
def test_previous_time_not_earlier(t):
    with pytest.raises(ValueError, match="^t_prev must be earlier than t"):
        posterior(SCHEDULE, X, X, *t)


@pytest.mark.parametrize(
    "x0", [X.byte(), X.long(), X.half(), X.bfloat16(), [1.0, 2.0]], ids=lambda x: str(type(x))
)
def test_images_of_the_wrong_type(x0):
    with pytest.raises(ValueError, match="^x0 must be a float32 or float64 tensor"):
        add_noise(SCHEDULE, x0, 1, X)


def test_bytes_and_numbers_that_are_none_are_refused():
    sayings = {255.0: "x0 must be on the scale", float("nan"): "finite", float("inf"): "finite"}
    for value, saying in sayings.items():
        x0 = X.abs()
        x0[1, 2, 3, 3] = value
        with pytest.raises(ValueError, match=saying):
            add_noise(SCHEDULE, x0, 5, X)


def test_latents_may_leave_the_range():
    latents = torch.linspace(-5, 5, X.numel()).reshape(X.shape)
    xt = add_noise(SCHEDULE, latents, 0, X)
    assert torch.equal(xt, latents)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("x_prev", lambda x: noise_step(SCHEDULE, x, 1, X)),
        ("xt", lambda x: to_x0_eps(SCHEDULE, X, x, 1)),
        ("xt", lambda x: posterior(SCHEDULE, X, x, 2, 1)),
    ],
)
def test_0_to_255_is_named(name, call):
    with pytest.raises(ValueError, match=rf"^{name} must be on the scale of \[-1, 1\]"):
        call(X + 200)
    call(torch.randn_like(X) * 100)  # a path that runs away is no image of 0..255


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0), ()])
def test_nothing_to_noise(shape):
    empty = torch.zeros(shape)
    for call in (add_noise, noise_step):
        with pytest.raises(ValueError, match=r"^(x0|x_prev) must have shape \(B, ...\), not empty"):
            call(SCHEDULE, empty, 1, empty)


def test_shapes_and_dtypes_that_differ():
    with pytest.raises(ValueError, match="^eps must match x0"):
        add_noise(SCHEDULE, X, 1, X[:1])
    with pytest.raises(ValueError, match="^eps must match x_prev"):
        noise_step(SCHEDULE, X, 1, X.double())
    with pytest.raises(ValueError, match="^output must match xt"):
        to_x0_eps(SCHEDULE, X[..., :2], X, 1)
    with pytest.raises(ValueError, match="^xt must match x0"):
        posterior(SCHEDULE, X, X[:, :1], 2, 1)


def test_unknown_prediction():
    with pytest.raises(ValueError, match="^prediction must be 'eps', 'x0' or 'v'"):
        to_x0_eps(SCHEDULE, X, X, 1, "score")


@pytest.mark.parametrize(
    "table",
    [
        torch.tensor([1.0, 0.5]),
        torch.tensor([0.9, 0.5], dtype=torch.float64),
        torch.tensor([1.0], dtype=torch.float64),
        torch.tensor([1.0, 0.5, 0.5], dtype=torch.float64),
        torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64),
        torch.tensor([[1.0, 0.5]], dtype=torch.float64),
        [1.0, 0.5],
    ],
    ids=str,
)
def test_tables_that_are_no_schedule(table):
    with pytest.raises(ValueError, match="^alpha_bar must"):
        NoiseSchedule(table)


def test_schedules_too_short():
    with pytest.raises(ValueError, match="^T must be at least 21"):
        NoiseSchedule.linear(20)
    with pytest.raises(ValueError, match="^T must be a whole number of at least 1 "):
        NoiseSchedule.cosine(0)
    assert NoiseSchedule.linear(21).T == 21
    assert NoiseSchedule.cosine(1).T == 1


@pytest.mark.parametrize("T", [21, 50, 200, 1000, 4000])
def test_the_end_is_noise_at_every_T(T):
    for schedule in (NoiseSchedule.linear(T), NoiseSchedule.cosine(T)):
        assert schedule.alpha_bar[-1] < 1e-4


def test_one_time_for_all_is_the_same_as_one_each():
    x0, eps = torch.rand(2, 3, 4, 4) * 2 - 1, torch.randn(2, 3, 4, 4)
    t = torch.tensor([7, 7])
    assert torch.equal(add_noise(SCHEDULE, x0, 7, eps), add_noise(SCHEDULE, x0, t, eps))
    points, noise = x0.flatten(1)[:, :2], eps.flatten(1)[:, :2]  # any shape behind the batch
    assert add_noise(SCHEDULE, points, t, noise).shape == (2, 2)


def test_nothing_given_is_changed():
    x0, eps, t = torch.rand(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.tensor([1, 50])
    before = [x.clone() for x in (x0, eps, t)]
    add_noise(SCHEDULE, x0, t, eps)
    noise_step(SCHEDULE, x0, t, eps)
    to_x0_eps(SCHEDULE, eps, x0, t, "v")
    posterior(SCHEDULE, x0, eps, t, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, (x0, eps, t)))


def test_off_the_cpu_no_value_is_looked_at():
    """A tensor on "meta" has none, and a GPU would have to wait until it has."""
    x, t = X.to("meta"), torch.tensor([3, 5])
    add_noise(SCHEDULE, x, t, x)
    noise_step(SCHEDULE, x, t, x)
    to_x0_eps(SCHEDULE, x, x, t)
    mean, _ = posterior(SCHEDULE, x, x, t, t - 1)
    assert mean.device.type == "meta" and mean.shape == X.shape
