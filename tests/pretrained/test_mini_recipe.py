"""The recipe of the text-to-image model, whole, with tiny networks and a few steps."""

import argparse
import json
import signal
import sys
from pathlib import Path

import measure_autoencoder_losses
import mini_autoencoder
import pytest
import torch
import train_mini_sd
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from tigerdiff import series, to_float

SHIPPED = train_mini_sd.TARGET  # as it is before a test changes it
SETTINGS = {"TIGERS": 12, "PART": 5, "BATCH": 4, "CHANNELS": (16, 16, 16), "SIZE": 64, "LATENT": 8}


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Run the recipe in a folder; stopped by the signal after so many steps, if one is given."""
    for name, value in SETTINGS.items():
        monkeypatch.setattr(train_mini_sd, name, value)
    tiny = {"SIZE": 64, "CROP": 32, "CROPS": 2, "WHOLE": 1, "CHANNELS": (8, 8, 8, 8)}
    for name, value in tiny.items():
        monkeypatch.setattr(mini_autoencoder, name, value)
    handlers = {asked: signal.getsignal(asked) for asked in (signal.SIGINT, signal.SIGTERM)}
    update = train_mini_sd.EMA.update

    def run(out: str, *options: str, stop_after: int | None = None) -> Path:
        made = []

        def counted(self, model):
            update(self, model)
            made.append(self.step)
            if len(made) == stop_after:
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(train_mini_sd.EMA, "update", counted)
        monkeypatch.setattr(train_mini_sd, "TARGET", tmp_path / out / "export")
        command = ["train_mini_sd.py", "--out", str(tmp_path / out), "--vae-steps=4", "--steps=4"]
        monkeypatch.setattr(sys, "argv", [*command, *options])
        if stop_after is None:
            train_mini_sd.main()
        else:
            with pytest.raises(SystemExit, match="the same command continues"):
                train_mini_sd.main()
            assert len(made) == stop_after
        return tmp_path / out

    yield run
    for asked, handler in handlers.items():
        signal.signal(asked, handler)


def test_the_recipe_trains_what_is_shipped(monkeypatch):
    """The command in the card names no steps: they are the recipe's own."""
    asked = {}

    def noted(parser, *_):
        asked.update(vars(parse(parser, [])))
        raise SystemExit

    parse = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", noted)
    with pytest.raises(SystemExit):
        train_mini_sd.main()
    card = json.loads((SHIPPED / "card.json").read_text())
    assert "--steps" not in card["command"]
    assert asked["steps"] == card["steps"]
    assert asked["vae_steps"] == card["autoencoder_training"]["steps"]


def test_stopped_twice_it_goes_on_exactly_and_plain_diffusers_draws(recipe):
    whole = recipe("whole")
    recipe("stopped", stop_after=3)  # in the autoencoder's last part
    recipe("stopped", stop_after=3)  # one of the autoencoder, two of the denoiser
    stopped = recipe("stopped")
    kept = sum(not train_mini_sd.held_out(x) for x in series(12, train_mini_sd.SEED))
    names = [path.relative_to(whole) for path in sorted(whole.rglob("*.safetensors"))]
    parts = -(-kept // 5)  # of the latents
    assert len(names) == 3 + parts + 3  # trainings, the kept autoencoder, parts, networks
    for name in reversed(names):  # the autoencoder first, which the others come from
        expected, found = load_file(whole / name), load_file(stopped / name)
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            assert torch.equal(found[key], value), (name, key)
    pipe = StableDiffusionPipeline.from_pretrained(stopped / "export")
    pipe.set_progress_bar_config(disable=True)
    x = pipe("a tiger", guidance_scale=2.0, num_inference_steps=2, output_type="pt").images
    assert x.shape == (1, 3, 64, 64) and x.isfinite().all()


def test_a_kept_autoencoder_takes_the_place_of_its_training(recipe, capsys):
    whole = recipe("whole")
    kept = recipe("kept", f"--autoencoder={whole / 'export'}", "--vae-steps=0")
    assert not (kept / "vae.safetensors").exists()
    for part in ("vae", "unet"):
        name = f"export/{part}/diffusion_pytorch_model.safetensors"
        expected, found = load_file(whole / name), load_file(kept / name)
        assert all(torch.equal(found[key], value) for key, value in expected.items())
    cards = [json.loads((out / "export/card.json").read_text()) for out in (whole, kept)]
    assert cards[0]["autoencoder_training"]["steps"] == 4
    assert cards[1]["autoencoder_training"] == cards[0]["autoencoder_training"]
    with pytest.raises(SystemExit):
        recipe("none", "--autoencoder=nowhere")
    assert "nowhere/card.json does not tell of an autoencoder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        recipe("none", f"--autoencoder={SHIPPED.with_name('mini-sd-tiger-64')}")
    assert "mini-sd-tiger-64/card.json does not tell" in capsys.readouterr().err


def test_the_shipped_autoencoder_does_what_its_card_says():
    """It is what the training of the rest can begin with."""
    options = argparse.Namespace(autoencoder=SHIPPED, compile=False)
    vae, card = train_mini_sd.train_autoencoder([], options, lambda: False)
    assert all(x.dtype == torch.float32 for x in vae.state_dict().values())
    assert mini_autoencoder.psnr(vae, 4) == pytest.approx(card["psnr"], abs=1.5)  # of 64 tigers


def test_tiles_are_squares_of_the_picture():
    x = to_float(torch.randint(256, (2, 3, 128, 128), dtype=torch.uint8))
    cut = mini_autoencoder.tiles(x)
    assert cut.shape == (8, 3, 64, 64)
    assert torch.equal(cut[5], x[1, :, :64, 64:])


def test_edges_count_apart_from_brightness():
    """A loss that is the same for all pixels has no edges; one of stripes has."""

    class Same:
        def encode(self, x):
            shape = len(x), 1, 4, 4
            zero = torch.zeros(shape)
            kl = lambda: torch.zeros(len(x))  # noqa: E731
            return _fields(latent_dist=_fields(mean=zero, std=zero, kl=kl))

        def decode(self, z):
            return _fields(sample=self.out)

    vae, x = Same(), torch.zeros(1, 3, 32, 32)
    noise, plain = torch.zeros(1, 1, 4, 4), lambda: torch.autocast("cpu", enabled=False)
    vae.out = torch.full_like(x, 0.25)
    brighter = mini_autoencoder.autoencoder_loss(vae, x, noise, None, plain)
    assert brighter.item() == pytest.approx(0.25)
    vae.out[..., ::2] = -0.25
    striped = mini_autoencoder.autoencoder_loss(vae, x, noise, None, plain)
    assert striped.item() == pytest.approx(0.25 + 0.5)
    weights = mini_autoencoder.WEIGHTS | {"edges": 0.0}
    blind = mini_autoencoder.autoencoder_loss(vae, x, noise, None, plain, weights)
    assert blind.item() == pytest.approx(0.25)


def test_a_term_that_is_left_out_changes_what_is_trained(tmp_path, monkeypatch):
    """All trainings begin with the shipped weights and see the same pictures."""
    out = tmp_path / "autoencoder.json"
    command = ["measure_autoencoder_losses.py", "--steps=2", "--n=16", f"--out={out}"]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(measure_autoencoder_losses, "LEFT_OUT", ((), ("features",), ()))
    measure_autoencoder_losses.main()
    shipped, full, without, again = json.loads(out.read_text())["rows"]
    assert shipped["left_out"] is None and without["left_out"] == ["features"]
    assert full == again
    crops = "frechet_of_crops_to_the_same"
    assert len({shipped[crops], full[crops], without[crops]}) == 3
    for row in (full, without):
        assert abs(row["psnr"] - shipped["psnr"]) < 0.5, "two steps change little"


def test_the_published_terms_are_of_the_shipped_autoencoder():
    result = json.loads((measure_autoencoder_losses.RESULTS / "autoencoder.json").read_text())
    card = json.loads((SHIPPED / "card.json").read_text())
    shipped = {name: x for name, x in result["rows"][0].items() if name != "left_out"}
    assert shipped == card["autoencoder"]


def _fields(**named):
    return type("Fields", (), {name: _static(x) for name, x in named.items()})()


def _static(x):
    return staticmethod(x) if callable(x) else x
