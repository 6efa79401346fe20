import pytest
import torch

import tigerdiff as td
import tigerdiff.notebook.settings

CPU, GPU = dict(size=32, steps=300), dict(size=64, steps=6000)


def test_settings_are_those_of_the_machine_and_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    for kind, size, said in (
        ("cpu", 32, "size = 32, steps = 300 (with a GPU: size = 64, steps = 6000)\n"),
        ("cuda", 64, "Tesla T4: size = 64, steps = 6000\n"),
        ("mps", 64, "mps GPU: size = 64, steps = 6000\n"),
    ):
        asked = []
        device = torch.device(kind)
        monkeypatch.setattr(
            tigerdiff.notebook.settings, "find_device", lambda d=device, a=asked: a.append(1) or d
        )
        chosen = td.settings(cpu=CPU, gpu=GPU)
        assert (chosen.size, chosen.device, len(asked)) == (size, device, 1)
        threads = "1 CPU thread" if torch.get_num_threads() == 1 else " CPU threads"
        machine = {"cpu": threads, "cuda": "Tesla T4", "mps": "mps GPU"}[kind]
        assert chosen.machine.endswith(machine)
        out = capsys.readouterr().out
        assert said in out and out.startswith("No GPU, ") == (kind == "cpu")
        assert td.settings().device == device
        assert capsys.readouterr().out.endswith(": this page needs no GPU\n")


@pytest.mark.parametrize("gpu", [dict(size=64), dict(size=64, steps=1, more=2)])
def test_settings_of_two_machines_have_the_same_names(gpu):
    with pytest.raises(ValueError, match="same names"):
        td.settings(cpu=CPU, gpu=gpu)


@pytest.mark.parametrize("name", ["device", "machine"])
def test_the_device_is_not_chosen_by_hand(name):
    with pytest.raises(ValueError, match="'device' or 'machine'"):
        td.settings(cpu={name: 1}, gpu={name: 1})
