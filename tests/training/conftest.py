"""What the tests of training share: tiny images, a tiny run, and bits that are compared."""

import pytest
import torch
from safetensors.torch import load_file

from tigerdiff.training.config import TrainConfig

SIZE = 16


@pytest.fixture(autouse=True)
def one_thread():
    """The same sums in the same order as in the runs' own processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (12, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)


@pytest.fixture
def config(images, tmp_path):
    return TrainConfig(
        images, tmp_path / "run", image_size=SIZE, steps=4, batch_size=4, channels=8, blocks=1,
        warmup_steps=3, learning_rate=1e-3, sample_every=0, checkpoint_every=2, device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="session")
def tensors():
    """A function that returns all tensors of a checkpoint's folder."""

    def read(folder):
        return {
            f"{file.stem}: {name}": tensor
            for file in sorted(folder.glob("*.safetensors"))
            for name, tensor in load_file(file).items()
        }

    return read


@pytest.fixture(scope="session")
def assert_equal_bits(tensors):
    """A function that compares two checkpoints' folders."""

    def compare(folder, other):
        ours, theirs = tensors(folder), tensors(other)
        assert ours.keys() == theirs.keys()
        assert len(ours) > 100
        assert not [name for name in ours if not torch.equal(ours[name], theirs[name])]

    return compare
