"""Which device is chosen, and how much memory it has."""

import psutil
import pytest
import torch

from tigerdiff import devices


def test_a_card_that_torch_finds_but_is_not_built_for_is_not_chosen(monkeypatch):
    def too_old(*_, device):
        raise RuntimeError("no kernel image is available for execution on the device")

    card = torch.device("cuda")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: card)
    monkeypatch.setattr(torch, "ones", too_old)
    assert devices.find_device() == torch.device("cpu")
    for error in ("CUDA out of memory", "all CUDA-capable devices are busy"):  # it is seen later

        def busy(*_, device, error=error):
            raise RuntimeError(error)

        monkeypatch.setattr(torch, "ones", busy)
        assert devices.find_device() == card


@pytest.mark.parametrize(("limit", "expected"), [("1000000\n", 1_000_000), ("max\n", None)])
def test_the_memory_of_a_container_is_its_limit(limit, expected, tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text("600000\n")
    (tmp_path / "memory.stat").write_text("anon 400000\ninactive_file 200000\n")
    monkeypatch.setattr(devices, "Path", lambda _: tmp_path)
    free, total = devices.memory_of(torch.device("cpu"))
    assert total == (expected or psutil.virtual_memory().total)
    assert free == 600_000 if expected else 0 < free <= total
