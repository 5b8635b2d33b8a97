"""Price of a deployment's machines, shown before anything is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from infra.deploy.target import Check
from musicgen.capacity.plan import PRICES, Offer

GPUS: Mapping[str, Mapping[str, str]] = {
    "replicate": {
        "gpu-t4": "T4",
        "gpu-l40s": "L40S",
        "gpu-a100-large": "A100-80GB",
        "gpu-h100": "H100",
    },
    # A pool has one price, whichever of its GPUs it gives.
    "runpod": {
        "AMPERE_24": "L4",
        "ADA_24": "4090",
        "ADA_48_PRO": "L40S",
        "AMPERE_80": "A100-80GB",
        "ADA_80_PRO": "H100",
    },
    "hf": {
        "nvidia-t4": "T4",
        "nvidia-l4": "L4",
        "nvidia-a10g": "A10G",
        "nvidia-l40s": "L40S",
        "nvidia-a100": "A100-80GB",
    },
    "sagemaker": {"ml.g5.xlarge": "A10G"},
    "cloudrun": {"nvidia-l4": "L4"},
}
"""GPU in prices.json of each platform's own name for it, where they differ."""


@dataclass(frozen=True)
class Fleet:
    """Instances of a deployment.

    `platform`: as in prices.json. `gpus`: names on the platform, one of which serves; NAME:2 is two
    of them. `least` and `most`: numbers of instances.
    """

    platform: str
    gpus: Sequence[str]
    least: int
    most: int


def show_costs(fleet: Fleet) -> Check:
    """Return a check without a condition, to show the price of a fleet to the operator.

    It is risky where instances cost money without a call.
    """
    offers = [offer for gpu in fleet.gpus for offer in _find_offers(fleet.platform, gpu)]
    idle = f"; --min {fleet.least} costs it without a call too" if fleet.least else ""
    if not offers or len(offers) < len(fleet.gpus):
        unknown = ", ".join(fleet.gpus) or "the processor"
        detail = f"no price of {unknown} is known here; an instance is paid for while it is there"
        return Check("cost", True, detail + idle, is_risky=bool(fleet.least))
    highest = max(offer.usd_per_hour for offer in offers)
    detail = (
        f"up to ${highest:.4g} an hour for each instance, ${highest * fleet.most:.4g} for --max "
        f"{fleet.most} (prices of {PRICES['read']})"
    )
    if fleet.least:
        month = 730 * fleet.least * max(offer.always_on for offer in offers)
        idle = f"; --min {fleet.least} costs ${month:.0f} a month without a call"
    note = PRICES["notes"].get(fleet.platform)
    detail += f"{idle}; {note}" if note else idle
    return Check("cost", True, detail, is_risky=bool(fleet.least))


def _find_offers(platform: str, gpu: str) -> Iterator[Offer]:
    """Yield the offer of a GPU on a platform, or nothing without a price."""
    name, _, count = gpu.partition(":")
    wanted = GPUS.get(platform, {}).get(name, name)
    for entry in PRICES["offers"]:
        offer = Offer(**entry)
        if (offer.platform, offer.gpu) == (platform, wanted):
            factor = int(count) if count.isdigit() else 1
            yield Offer(platform, wanted, factor * offer.usd_per_hour, factor * offer.always_on)
