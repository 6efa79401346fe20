"""Write the shipped networks as ONNX files that a browser can run.

python tools/export_onnx.py

Each network becomes build/onnx/NAME/PART.onnx with its weights in float16, which are cast to
float32 when the file is loaded; NAME/model.json says what a sampler must know. A new network is
one line in MODELS. What has been exported from the same weights is not exported again.
"""

import hashlib
import importlib.resources
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import tigerdiff as td
from tigerdiff.tigers.captions import VOCABULARY

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build/onnx"


class Part(NamedTuple):
    """One network: its file's name, what to trace it with, and the names of inputs and outputs."""

    name: str
    network: nn.Module
    inputs: dict[str, Tensor]
    output: str


class Denoiser(nn.Module):
    """The miniature's U-Net with our times, of which those of diffusers are one less."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, xt: Tensor, t: Tensor, words: Tensor) -> Tensor:
        """Return the prediction v, shape of xt (1, C, H, W); t (1,); words (1, L, D)."""
        return self.unet(xt, t - 1, words, return_dict=False)[0]


class TextEncoder(nn.Module):
    """Token ids (1, L) to one vector for each, (1, L, D)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor) -> Tensor:
        """See the class."""
        return self.encoder(ids)[0]


class Decoder(nn.Module):
    """Latents (1, C, H, W) to an image (1, 3, S, S) in about [-1, 1]."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        """See the class."""
        return self.vae.decode(latents / self.vae.config.scaling_factor, return_dict=False)[0]


def operations(part: Part) -> int:
    """Count those of one call of a network."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        part.network.eval()(*part.inputs.values())
    return counter.get_total_flops()


def pixel_model(name: str) -> tuple[list[Part], dict[str, Any]]:
    """Return a network of tigerdiff that predicts pixels, with a condition if it takes one."""
    model, schedule = td.load_pretrained(name)
    size = model.config["size"]
    inputs = {"xt": torch.randn(1, 3, size, size), "t": torch.tensor([500])}
    if model.classes:
        inputs["condition"] = torch.zeros(1, len(model.classes), dtype=torch.int64)
    about = {
        "shape": [3, size, size],
        "T": schedule.T,
        "prediction": model.prediction,
        "clip": True,
        "conditions": [{"name": key, "values": [*words]} for key, words in model.classes.items()],
    }
    return [Part("unet", model, inputs, "output")], about


def text_model(name: str) -> tuple[list[Part], dict[str, Any]]:
    """Return a pipeline of diffusers that predicts latents from words."""
    pipe = td.load_pipeline(name, "cpu")
    unet, length = pipe.unet.config, pipe.tokenizer.model_max_length
    shape = [unet.in_channels, unet.sample_size, unet.sample_size]
    ids, words = torch.zeros(1, length).long(), torch.randn(1, length, unet.cross_attention_dim)
    xt, t = torch.randn(1, *shape), torch.tensor([500])
    parts = [
        Part("text", TextEncoder(pipe.text_encoder), {"ids": ids}, "words"),
        Part("unet", Denoiser(pipe.unet), {"xt": xt, "t": t, "words": words}, "output"),
        Part("decoder", Decoder(pipe.vae), {"latents": xt}, "image"),
    ]
    _, calling, decoding = map(operations, parts)
    rare = round(decoding / (2 * calling))  # a guided step is two calls: half the time decodes
    files = Path(td.MINI_PATH if name == "mini" else name) / "tokenizer"
    merges = (files / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    about = {
        "shape": shape,
        "size": pipe.vae.config.sample_size,
        "T": pipe.scheduler.config.num_train_timesteps,
        "prediction": {"v_prediction": "v", "epsilon": "eps", "sample": "x0"}[
            pipe.scheduler.config.prediction_type
        ],
        "clip": pipe.scheduler.config.clip_sample,
        "decode_every": max(1, rare),
        "words": [length, unet.cross_attention_dim],
        "tokenizer": {
            "length": length,
            "vocabulary": json.loads((files / "vocab.json").read_text(encoding="utf-8")),
            "merges": [line.split(" ") for line in merges if line],
            "words": sorted({word for text in VOCABULARY for word in text.split("-")}),
            "start": pipe.tokenizer.bos_token_id,
            "end": pipe.tokenizer.eos_token_id,
        },
    }
    return parts, about


class Model(NamedTuple):
    """A shipped network: its folder, what the reader sees, and how its parts are found."""

    name: str
    title: str
    make: Callable[[str], tuple[list[Part], dict[str, Any]]]
    source: str
    sampler: str = "dpm_solver"  # these three are what the page begins with
    steps: int = 10
    guidance_scale: float = 2.0  # of a model with a condition; with 1 the page offers no other


# The networks of the page. All were trained with the cosine schedule.
MODELS = (
    Model("ddpm-tiger-64", "64 pixels", pixel_model, "ddpm-tiger-64"),
    Model(
        "ddpm-tiger-64-fast",
        "64 pixels, in few steps",
        pixel_model,
        "ddpm-tiger-64-fast",
        sampler="ddim",
        steps=4,
        guidance_scale=1,
    ),
    Model("ddpm-tiger-32", "32 pixels", pixel_model, "ddpm-tiger-32"),
    Model(
        "ddpm-tiger-32-fast",
        "32 pixels, in few steps",
        pixel_model,
        "ddpm-tiger-32-fast",
        sampler="ddim",
        steps=4,
        guidance_scale=1,
    ),
    Model("mini-sd-tiger", "from words", text_model, "mini", steps=12, guidance_scale=3),
)


def export(part: Part, path: Path) -> None:
    """Write one network as ONNX with float16 weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about its future
        program = torch.onnx.export(
            part.network.eval(),
            tuple(part.inputs.values()),
            input_names=list(part.inputs),
            output_names=[part.output],
            dynamo=True,
            verbose=False,
        )
    onnx.save(halved(program.model_proto), path)


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with weights stored in float16 and cast to float32, in which it computes.

    What float16 cannot hold, such as the mask of attention, stays in float32.
    """
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < 64:
            continue
        name, value = weight.name, numpy_helper.to_array(weight)
        half = value.clip(-65504, 65504).astype(np.float16)
        if not np.allclose(half, value, rtol=1e-3, atol=1e-6):
            continue
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:], model.graph.value_info[:], model.metadata_props[:]
    for node in nodes:  # where in the Python source a node comes from is half a megabyte
        del node.metadata_props[:]
        node.doc_string = ""
    model.graph.node.extend(nodes)
    return model


def fingerprint(model: Model) -> str:
    """Return a hash of what decides the export: the model, this script and torch's version."""
    folder = Path(str(importlib.resources.files("tigerdiff"))) / "pretrained/weights" / model.name
    digest = hashlib.sha256(torch.__version__.encode() + Path(__file__).read_bytes())
    for path in sorted(folder.rglob("*.*")):
        if path.name != "card.json":  # it says how the model was made and measured
            digest.update(path.read_bytes())
    return digest.hexdigest()


def export_all(folder: Path = FOLDER) -> Iterator[Path]:
    """Each network's folder, with its parts and model.json, which is written last."""
    for model in MODELS:
        target = folder / model.name
        stamp = fingerprint(model)
        about = target / "model.json"
        if not about.exists() or json.loads(about.read_text(encoding="utf-8"))["stamp"] != stamp:
            target.mkdir(parents=True, exist_ok=True)
            parts, facts = model.make(model.source)
            for part in parts:
                export(part, target / f"{part.name}.onnx")
            names = {"name": model.name, "title": model.title, "parts": [p.name for p in parts]}
            use = {key: getattr(model, key) for key in ("sampler", "steps", "guidance_scale")}
            about.write_text(json.dumps({**names, **use, **facts, "stamp": stamp}), "utf-8")
        yield target


if __name__ == "__main__":
    for path in export_all():
        sizes = [f"{p.stem} {p.stat().st_size / 1e6:.1f} MB" for p in sorted(path.glob("*.onnx"))]
        print(f"{path.name}: {', '.join(sizes)}")
