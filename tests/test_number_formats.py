"""What may differ between number formats and between numbers of threads, and by how much."""

import copy

import pytest
import torch

import tigerdiff as td


@pytest.fixture(scope="module")
def shipped():
    return td.load_pretrained("ddpm-tiger-32")


@pytest.mark.parametrize(
    ("dtype", "bound"),
    [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 8e-2)],
    ids=["float32", "float16", "bfloat16"],
)
def test_the_network_agrees_with_itself_in_float64(shipped, dtype, bound):
    """The bound is on the root of the mean squared difference, as a share of the output's."""
    model, schedule = shipped
    draw = td.seeded_generator(0)
    x0 = td.to_float(td.procedural_tigers(4, 32)[0])
    t = torch.tensor([1, 200, 500, 1000])
    xt = td.add_noise(schedule, x0, t, torch.randn(x0.shape, generator=draw))
    try:
        with torch.inference_mode():
            exact = model.double()(xt.double(), t)
            rounded = model.to(dtype)(xt.to(dtype), t)
    finally:
        model.float()
    assert rounded.dtype == dtype
    difference = (rounded.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert difference < bound


def test_the_number_of_threads_changes_a_picture_by_one_level_at_most(shipped):
    before, pictures = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            drawn = td.sample(*shipped, 2, size=32, steps=5, seed=1, progress=False)
            pictures.append(drawn.int())
    finally:
        torch.set_num_threads(before)
    assert max((picture - pictures[0]).abs().max() for picture in pictures) <= 1


@pytest.mark.parametrize("sampler", ["ddpm", "heun"])
@pytest.mark.parametrize(
    ("kind", "bound"), [("float64", 1), ("bfloat16", 3)], ids=["float64", "bfloat16"]
)
def test_a_network_in_any_type_draws_the_same_pictures(sampler, kind, bound):
    """To so many of 255, for float32 against float64 and bfloat16; noise may have either type."""
    torch.manual_seed(0)
    schedule, x = td.make_schedule("cosine", 20), torch.rand(2, 3, 16, 16) * 2 - 1
    kind, size = getattr(torch, kind), 16
    plain = td.UNet(size, channels=16, multipliers=(1, 2), attention=(8,))
    for parameter in plain.parameters():  # zeroed last layers would say little
        torch.nn.init.normal_(parameter, std=0.02) if parameter.std() == 0 else None
    other = copy.deepcopy(plain).to(kind)
    how = {"size": size, "steps": 4, "sampler": sampler, "progress": False}
    drawn = [td.sample(model, schedule, 2, **how).int() for model in (plain, other)]
    assert drawn[0].float().std() > 10
    assert (drawn[0] - drawn[1]).abs().max() <= bound
    for model, dtype in ((plain, torch.float64), (other, torch.float32), (other, torch.float64)):
        *_, end = getattr(td, sampler)(model, schedule, x.to(dtype), steps=2)
        assert end.xt.dtype == dtype
        t, eps = torch.tensor([3, 9]), x.flip(0).to(dtype)
        loss = td.diffusion_loss(model, schedule, x.to(dtype), t, eps)
        expected = td.diffusion_loss(plain, schedule, x, t, eps.float())
        assert loss.dtype == dtype
        torch.testing.assert_close(loss.float(), expected, rtol=2e-2, atol=0)
