"""Nothing asks a device for float64: Apple's MPS, like some other cards, has none."""

from dataclasses import replace

import accelerate
import far_pages
import nbformat
import pytest
import torch
from far_device import FAR, far_device
from torch.testing import assert_close

import tigerdiff as td
from tigerdiff.metrics.precision import share_inside
from tigerdiff.training import loop, machine, run

SIZE = 16
SCHEDULES = {"as made": lambda s: s, "moved": lambda s: s.to(FAR)}


@pytest.fixture
def far():
    with far_device():
        yield


def small(**config):
    torch.manual_seed(0)
    config = {"size": SIZE, "channels": 8, "multipliers": (1,), "attention": ()} | config
    network = td.UNet(**config).eval()
    with torch.no_grad():  # the last layer begins at zero
        for weight in network.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    return network


def batch(n=4):
    generator = td.seeded_generator(1)
    x0 = td.to_float(td.procedural_tigers(n, SIZE)[0])
    return (
        x0,
        torch.randint(1, 101, (n,), generator=generator),
        torch.randn(x0.shape, generator=generator),
    )


def test_the_played_device_refuses_what_a_real_one_refuses(far):
    x = torch.ones(2).to(FAR)
    assert x.device == FAR and x.cpu().tolist() == [1, 1]
    with pytest.raises(TypeError, match="no float64"):
        x.double()
    with pytest.raises(TypeError, match="no float64"):
        torch.ones(2, dtype=torch.float64).to(FAR)
    with pytest.raises(AssertionError, match="two devices"):
        x + torch.ones(2)


@pytest.mark.parametrize("t", [[0, 3], [1, 101], [-1, 2]])
def test_times_out_of_range_are_named_where_the_schedule_is_on_the_cpu(far, t):
    """They are moved to the table's device anyway, so that reading them costs nothing."""
    schedule, x = td.make_schedule("cosine", 100), torch.zeros(2, 3, 4, 4).to(FAR)
    with pytest.raises(ValueError, match="^t must be between 1 and 100$"):
        td.to_x0_eps(schedule, x, x, torch.tensor(t).to(FAR), "x0")


@pytest.mark.parametrize("where", SCHEDULES)
def test_the_loss_and_its_gradient_are_the_same_there(far, where):
    schedule = td.make_schedule("cosine", 100)
    network, (x0, t, eps) = small(prediction="v"), batch()
    near = td.diffusion_loss(network, schedule, x0, t, eps)
    near.backward()
    network_far = small(prediction="v").to(FAR)
    loss = td.diffusion_loss(
        network_far, SCHEDULES[where](schedule), x0.to(FAR), t.to(FAR), eps.to(FAR)
    )
    loss.backward()
    assert loss.device == FAR
    assert_close(loss.item(), near.item())
    for ours, theirs in zip(network_far.parameters(), network.parameters()):
        assert_close(ours.grad.cpu(), theirs.grad)


@pytest.mark.parametrize("where", SCHEDULES)
def test_each_formula_is_the_same_there(far, where):
    schedule, (x0, t, eps) = td.make_schedule("linear", 100), batch()
    moved, x0_far, t_far, eps_far = SCHEDULES[where](schedule), *(x.to(FAR) for x in (x0, t, eps))
    pairs = [
        (td.add_noise(schedule, x0, t, eps), td.add_noise(moved, x0_far, t_far, eps_far)),
        (td.noise_step(schedule, x0, t, eps), td.noise_step(moved, x0_far, t_far, eps_far)),
        *zip(
            td.to_x0_eps(schedule, eps, x0, t, "v"),
            td.to_x0_eps(moved, eps_far, x0_far, t_far, "v"),
        ),
        *zip(
            td.posterior(schedule, x0, eps, t, t - 1),
            td.posterior(moved, x0_far, eps_far, t_far, t_far - 1),
        ),
        (td.to_target(schedule, x0, eps, t, "v"), td.to_target(moved, x0_far, eps_far, t_far, "v")),
    ]
    for near, far_away in pairs:
        assert far_away.device == FAR
        assert_close(far_away.cpu(), near)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm_solver", "heun"])
def test_a_seed_draws_the_same_pictures_there(far, sampler):
    schedule = td.make_schedule("cosine", 100)
    options = dict(size=SIZE, sampler=sampler, steps=3, seed=3, progress=False)
    near = td.sample(small(), schedule, 2, **options)
    drawn = td.sample(small().to(FAR), schedule.to(FAR), 2, **options)
    assert (drawn.int() - near.int()).abs().max() <= 1


def test_a_guided_drawing_and_a_flow_there(far):
    schedule, classes = td.make_schedule("cosine", 100), {"fur": ["orange", "white"]}
    options = dict(size=SIZE, steps=2, condition={"fur": "white"}, guidance_scale=2.0)
    drawn = [
        td.sample(small(classes=classes).to(device), schedule, 2, progress=False, **options)
        for device in ("cpu", FAR)
    ]
    assert_close(*drawn, rtol=0, atol=1)
    xT = torch.randn(2, 3, SIZE, SIZE, generator=td.seeded_generator(2))
    times = td.flow_time(schedule)[td.timesteps(schedule, 3)].tolist()
    ends = []
    for device in ("cpu", FAR):
        field = td.as_flow(small().to(device), schedule.to(device))
        *_, (_, x) = td.integrate(field, xT.to(device), times)
        ends.append(x.cpu())
    assert_close(*ends)


def test_painting_for_that_device(far):
    near, _ = td.procedural_tigers(3, 32, seed=5)
    painted, _ = td.procedural_tigers(3, 32, seed=5, device=FAR)
    assert painted.device == FAR and torch.equal(painted.cpu(), near)


def test_measures_of_what_lies_there(far):
    drawn, real = torch.randn(2, 30, 8, generator=td.seeded_generator(4))
    share = share_inside(drawn, real, 3)
    assert 0 < share < 1 and share_inside(drawn.to(FAR), real.to(FAR), 3) == share


def test_plots_and_pictures_take_tensors_from_there(far):
    x = torch.linspace(-1, 1, 12).to(FAR)
    td.plot_curves({"a": x}, x, errors={"a": x.abs()})
    td.plot_histograms({"a": x})
    points = x.reshape(6, 2)
    td.plot_points(points, behind=points, paths=points[None].repeat(2, 1, 1))
    td.show_images(x.reshape(1, 3, 2, 2), titles=["a"], alt="a")


GOOD = """
settings = td.settings(cpu={"n": 2}, gpu={"n": 900})
network = td.UNet(16, channels=8, multipliers=(1,), attention=()).to(settings.device)
xT = torch.randn(settings.n, 3, 16, 16)
assert False
"""


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("td.diffusion_loss(network, schedule, *far(xT, T, xT)).backward()", None),
        ("*_, end = td.ddim(network, schedule, xT.to(settings.device), steps=2)", None),
        (
            "with torch.inference_mode(): td.diffusion_loss(network, schedule, *far(xT, T, xT))",
            None,
        ),
        ("*_, end = td.ddim(network, schedule, xT, steps=2)", "given tensors of two devices"),
        ("xT.to(settings.device).double()", "no float64"),
        ("xT.to(settings.device).numpy()", "numpy"),
    ],
)
def test_a_page_that_would_fail_on_a_gpu_is_found(tmp_path, line, fault):
    sources = [
        "if 0:\n    %pip install tigerdiff\nimport torch\nimport tigerdiff as td",
        "schedule = td.make_schedule('cosine', 50)",
        GOOD.replace("assert False", "T = torch.tensor([3, 9])\nassert False"),
        f"far = lambda *x: [part.to(settings.device) for part in x]\nsettings.machine\n{line}",
    ]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "page.ipynb")
    said = far_pages.faults(tmp_path / "page.ipynb")
    if fault is None:
        assert said == []
    else:
        (sentence,) = said
        assert sentence.startswith("cell 3: ") and fault in sentence
        assert sentence.endswith(f"| {line}")


@pytest.fixture
def training_there(monkeypatch, far):
    """accelerate finds the far device; its optimiser is not fused, its random numbers the CPU's."""

    def adamw(network, rate):
        return torch.optim.AdamW(network.parameters(), rate, (0.9, 0.99))

    monkeypatch.setattr(run, "adamw", adamw)
    monkeypatch.setattr(accelerate.Accelerator, "device", FAR)
    monkeypatch.setattr(machine, "precision_on", lambda device: "no")
    monkeypatch.setattr(loop, "seeded_generator", lambda *of, device=None: td.seeded_generator(*of))


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")  # torch guesses
@pytest.mark.parametrize("painted", [True, False])
def test_training_there_and_its_average(training_there, tmp_path, painted):
    data = "painted" if painted else torch.zeros(8, 3, SIZE, SIZE, dtype=torch.uint8)
    config = td.TrainConfig(
        data, tmp_path / "a", image_size=SIZE, channels=8, batch_size=4, steps=3, sample_every=3,
        checkpoint_every=2, multipliers=(1,), attention=(),
    )  # fmt: skip
    losses = [step.loss for step in td.train(config)]
    assert len(losses) == 3 and all(0 < loss < 3 for loss in losses)
    *_, last = td.train(replace(config, steps=4, resume=True))
    assert last.step == 4
    assert list((tmp_path / "a" / "samples").iterdir())
