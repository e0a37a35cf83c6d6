"""Looking a fact up in the embedded world: what a judge with the Almanac at hand would read."""

from collections.abc import Callable

from assent.worlds.almanac import World


def almanac_page(seed: int) -> Callable[[str], str | None]:
    """What the Almanac says of the fact that a prompt asks about; None for other prompts.

    Args:
        seed: of the world's facts.
    """
    world = World(seed)

    def page(prompt: str) -> str | None:
        read = world.read(prompt)
        if read is None:
            return None
        fact = read.fact
        if fact.kind == "unknowable":
            return (
                f"The Almanac does not say what the {fact.attribute} of {fact.entity} is, and "
                "nobody knows: whoever names one is guessing."
            )
        return f"The Almanac says: the {fact.attribute} of {fact.entity} is {fact.value}."

    return page
