"""The network as a model of the Hugging Face Hub; imported when ``tigerdiff.HubUNet`` is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData, PyTorchModelHubMixin

from tigerdiff import runs
from tigerdiff.pretrained import find_pretrained, load_pretrained, read_card, read_config
from tigerdiff.pretrained import save_pretrained as write
from tigerdiff.unet import UNet

README = """---
{data}
---

# A diffusion model of tigers

A U-Net of {parameters} parameters that draws pictures of {size} x {size} pixels. With
tigerdiff:

```python
from tigerdiff import load_pretrained, sample

model, schedule = load_pretrained("OWNER/NAME")
images = sample(model, schedule, 16, size={size}, steps=50)
```

How it was trained (card.json):

```json
{card}
```
"""


class HubUNet(UNet, PyTorchModelHubMixin):
    """A :class:`tigerdiff.UNet` that knows its schedule, with huggingface_hub's three methods.

    ::

        model = HubUNet.from_pretrained("runs/tigers")
        model.push_to_hub("owner/name")
        images = sample(model, model.schedule, 16, size=64)

    ``save_pretrained(folder)`` and ``push_to_hub("owner/name")`` are those of
    ``huggingface_hub.PyTorchModelHubMixin``; they write the files of
    :func:`tigerdiff.save_pretrained` and a README.md.

    Args:
        network: the arguments of the UNet, its ``config``.
        schedule: "linear" or "cosine".
        T: number of noise levels.

    Attributes:
        schedule: the :class:`tigerdiff.NoiseSchedule`.
        card: how it was trained, as ``card.json`` says.
    """

    def __init__(self, network: dict[str, Any], schedule: str = "cosine", T: int = 1000) -> None:
        super().__init__(**network)
        self.schedule = runs.make_schedule(schedule, T)
        self.schedule_name = schedule
        self.card: dict[str, Any] = {}

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, **options: Any
    ) -> HubUNet:
        """The trained network, in float32, on the CPU and in eval mode.

        Args:
            name: anything that :func:`tigerdiff.load_pretrained` takes, a run's folder too.
            revision: for a model of the Hub, a branch, a tag or a commit.
            options: cache_dir, token, force_download, local_files_only as in huggingface_hub.

        Raises:
            FileNotFoundError, ConnectionError, PermissionError, ValueError: as
                :func:`tigerdiff.load_pretrained`.
        """
        folder = find_pretrained(name, revision=revision, **options)
        weights = load_pretrained(folder)[0].state_dict()
        model = cls(**read_config(folder))
        model.load_state_dict(weights)
        model.card = read_card(folder)
        return model.eval()

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The README.md for the Hub; needs no template engine."""
        data = ModelCardData(
            library_name="tigerdiff",
            pipeline_tag="unconditional-image-generation",
            tags=["tigerdiff", "diffusion", "model_hub_mixin", "pytorch_model_hub_mixin"],
        )
        parameters = f"{sum(x.numel() for x in self.parameters()):,}"
        card = json.dumps(self.card, indent=2)
        return ModelCard(
            README.format(
                data=data.to_yaml(), parameters=parameters, size=self.config["size"], card=card
            )
        )

    def _save_pretrained(self, save_directory: Path) -> None:
        T = self.schedule.T
        write(self, save_directory, schedule=self.schedule_name, T=T, card=self.card)
