"""Seeds: every random draw derives from the project's seed and a name, never from what ran before.

So there is no generator state to save: a run that goes on at step 6 draws what an uninterrupted one
would have drawn at step 6.
"""

import hashlib

import torch


def derive_seed(*parts: object) -> int:
    """A seed in [0, 2^63) from any values with a stable text: `derive_seed(seed, "ppo", step)`."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def is_held_out(prompt: str, share: float) -> bool:
    """Whether judgements of a prompt are kept for measuring reward models, not training them.

    By a hash of the text, so a prompt stays on its side when judgements are added.
    """
    digest = hashlib.sha256(b"held out\0" + prompt.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def generator(*parts: object, device: str | torch.device = "cpu") -> torch.Generator:
    """A torch generator seeded by `derive_seed`."""
    return torch.Generator(device=device).manual_seed(derive_seed(*parts))


def permutation(count: int, *parts: object) -> list[int]:
    """A shuffled `range(count)`, the same for the same parts."""
    return torch.randperm(count, generator=generator(*parts)).tolist()
