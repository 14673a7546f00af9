"""Train the autoencoder whose maps a flow is of, and write a run folder that `gan.start_from` takes.

    python training/studies/generators/autoencoder.py OUT --data BUS-BRA/ --features squeezenet1_1.safetensors
    sonoforge gan train --recipe flow --preset latent --set gan.start_from=OUT --data BUS-BRA/ --kimg 1000
    sonoforge gan train --recipe flow --preset polish --set gan.start_from=RUN --set gan.features=... --data BUS-BRA/

Its loss adds the mean absolute difference, a difference of a frozen network's maps (Johnson, Alahi, Fei-Fei, ECCV 2016)
and, after a fifth of the steps, the score of a projected discriminator (Esser, Rombach, Ommer, CVPR 2021, section 3.1,
use one of patches). Without the discriminator reconstructions are blurred, and their KID is 0.24. An interrupted
training resumes where it stopped. The discriminator is kept for
``flow:polish``, where it judges drawings of the flow, whose maps never quite match those of scans.
"""

import argparse
import copy
import time
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import interpolate, normalize, relu

from sonoforge.models import flow, projected
from sonoforge.runtime.atomic import write_json
from sonoforge.training.gan import checkpoint
from sonoforge.training.gan.networks import FrozenMaps
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training import open_pretrained
from sonoforge.training.gan.training_set import TrainingSet, hold_out, read_training_set

RATE, BATCH, NOISE = 0.001, 16, 0.05  # of Adam; images a step; of the maps, so that near ones look alike
PERCEPTUAL, ADVERSARIAL, SMALL = 0.3, 0.05, 0.001  # weights beside the absolute difference; of the maps' squares


def difference(frozen: FrozenMaps, ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the squared distance of a frozen network's maps, of unit length at each place."""
    pairs = zip(frozen(ours), frozen(theirs), strict=True)
    each = [(normalize(one, dim=1) - normalize(other.detach(), dim=1)).square().sum(1).mean() for one, other in pairs]
    return torch.stack(each).sum()


def draw_scans(images: TrainingSet, larger: TrainingSet, chance: torch.Generator) -> Tensor:
    """Draw a batch of scans in [-1, 1]: every other one of whole scans, the rest of parts from half to all of a scan.

    Other scanners show the same tissue at other scales.
    """
    whole = torch.from_numpy(images.pixels)[..., : images.image_channels].permute(0, 3, 1, 2)
    side, chosen = whole.shape[2], torch.randint(len(whole), (BATCH,), generator=chance)
    real = whole[chosen].float()
    if torch.rand((), generator=chance) < 0.5:
        part = side + int(torch.randint(side + 1, (), generator=chance))
        top, left = torch.randint(2 * side - part + 1, (2,), generator=chance).tolist()
        pixels = torch.from_numpy(larger.pixels)[..., : images.image_channels].permute(0, 3, 1, 2)[chosen]
        pixels = pixels[:, :, top : top + part, left : left + part].float()
        real = interpolate(pixels, side, mode="bilinear", antialias=True)
    real = real / 127.5 - 1
    return torch.where(torch.rand(BATCH, 1, 1, 1, generator=chance) < 0.5, real.flip(3), real)


def train(
    coder: flow.Autoencoder, read: tuple[TrainingSet, TrainingSet], features: str, steps: int, kept: Path
) -> tuple[flow.Autoencoder, projected.Discriminator]:
    """Train on images, also of twice the side, for so many steps in all; averaged weights are kept each minute."""
    images, larger = read
    frozen = FrozenMaps(open_pretrained(GanSettings(recipe="projected", features=features), "cpu").features)
    side = images.pixels.shape[1]
    judge = projected.Discriminator(
        projected.DiscriminatorSettings(side, images.image_channels, images.image_channels, view=2 * side), frozen
    )
    projected.initialise(judge, torch.Generator().manual_seed(1))
    first = 0
    if kept.is_file():
        saved = load_file(kept)
        first = int(saved.pop("steps"))
        for name, network in (("coder", coder), ("judge", judge)):
            own = {key.removeprefix(f"{name}."): value for key, value in saved.items() if key.startswith(f"{name}.")}
            network.load_state_dict(own, strict=name == "coder")
    learned = [weight for weight in judge.parameters() if weight.requires_grad]
    both = [*coder.encoder.parameters(), *coder.decoder.parameters()]
    own_adam = torch.optim.Adam(both, RATE, betas=(0.9, 0.99), fused=True)
    its_adam = torch.optim.Adam(learned, RATE, betas=(0.0, 0.99), fused=True)
    average, chance = copy.deepcopy(coder), torch.Generator().manual_seed(first)
    saved_at = time.monotonic()
    for step in range(first, steps):
        judged = step > 0.2 * steps
        for group in (*own_adam.param_groups, *its_adam.param_groups):
            group["lr"] = RATE * min(1.0, 2 * (1 - step / steps))
        real = draw_scans(images, larger, chance)
        with torch.autocast("cpu", torch.bfloat16):
            maps = coder.encode(real).float()
            noisy = maps + NOISE * torch.randn(maps.shape, generator=chance)
            drawn = coder.decode(noisy).float()
            loss = (drawn - real).abs().mean() + PERCEPTUAL * difference(frozen, drawn, real).float()
            loss = loss + SMALL * maps.square().mean() + 20 * SMALL * relu(maps.square().mean() - 1)
            if judged:
                judge.requires_grad_(False)
                loss = loss - ADVERSARIAL * judge(drawn)[0].float().mean()
                for weight in learned:
                    weight.requires_grad_(True)
        own_adam.zero_grad()
        loss.backward()
        own_adam.step()
        if judged:
            with torch.autocast("cpu", torch.bfloat16):
                scores = judge(real)[0].float(), judge(drawn.detach())[0].float()
            its_adam.zero_grad()
            (relu(1 - scores[0]).mean() + relu(1 + scores[1]).mean()).backward()
            its_adam.step()
        with torch.no_grad():
            for old, new in zip(average.parameters(), coder.parameters(), strict=True):
                old.lerp_(new, 1 - min(0.998, 1 - 1 / (step + 2)))
        if time.monotonic() - saved_at > 60:
            saved_at = time.monotonic()
            state = {f"coder.{name}": value for name, value in average.state_dict().items()}
            state |= {f"judge.{name}": value for name, value in judge.state_dict().items() if "frozen" not in name}
            numbers = {"steps": torch.tensor(step + 1)}
            save_file({name: value.contiguous() for name, value in (state | numbers).items()}, kept)
            apart = float((drawn - real).detach().abs().mean())
            print(f"step {step + 1} of {steps}, difference {apart:.4f}", flush=True)
    return average, judge


@torch.no_grad()
def standardise(coder: flow.Autoencoder, images: TrainingSet) -> None:
    """Give each channel of the maps of these images mean 0 and variance 1."""
    pixels = torch.from_numpy(images.pixels[..., : images.image_channels].copy()).permute(0, 3, 1, 2)
    maps = torch.cat([coder.encode(part.float() / 127.5 - 1) for part in pixels.split(64)])
    coder.mean.copy_(maps.mean((0, 2, 3))[:, None, None])
    coder.deviation.copy_(maps.std((0, 2, 3))[:, None, None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", action="append", required=True, metavar="FOLDER")
    parser.add_argument("--features", required=True, help="a frozen network's weights, such as squeezenet1_1")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--held-out", type=float, default=0.1, help="share left out, the same as of gan train")
    given = parser.parse_args()
    images, larger = (
        hold_out(
            read_training_set(tuple(given.data), GanSettings(recipe="flow", image_size=side), groups=True),
            given.held_out, 0,
        )[0]
        for side in (given.image_size, 2 * given.image_size)
    )  # fmt: skip
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "autoencoder.safetensors"
    options = {"image_size": given.image_size, "channels": images.image_channels, "depth": given.depth}
    network = flow.Generator(**options)
    flow.initialise(network, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    coder = flow.Autoencoder(images.image_channels, given.depth)
    network.autoencoder, judge = train(coder, (images, larger), given.features, given.steps, kept)
    standardise(network.autoencoder, images)
    write_json(given.out / checkpoint.SOURCES, images.sources)
    (given.out / "config.yaml").write_text(yaml.safe_dump({"data": [*given.data]}), encoding="utf-8")
    about = checkpoint.Description(
        step=0, recipe="flow", architecture="flow", generator_options=options, image_channels=images.image_channels,
        class_name="", classes=[], fingerprint=images.fingerprint, settings={},
        images=checkpoint.digest_of_images([*images.sources.values()]),
    )  # fmt: skip
    judged = {name: value for name, value in judge.state_dict().items() if "frozen" not in name}
    states = {"average": network.state_dict(), "generator": network.state_dict(), "discriminator": judged}
    print(checkpoint.save_checkpoint(given.out / "checkpoints", about, states))


if __name__ == "__main__":
    main()
