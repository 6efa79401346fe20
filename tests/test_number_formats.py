"""What may differ between number formats and between numbers of threads, and by how much."""

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
