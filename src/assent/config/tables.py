"""What a table of settings may hold: its class, its variants, and which variant is the default."""

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from assent.config.base import Settings


def discriminator_of(field: FieldInfo) -> str | None:
    """The key that names the variant, such as `kind`; None when the table has one shape only."""
    if isinstance(field.discriminator, str):
        return field.discriminator
    return _nested_discriminator(field.annotation)


def _nested_discriminator(annotation: object) -> str | None:
    """The discriminator of an annotated union inside `... | None`."""
    for part in get_args(annotation):
        if get_origin(part) is Annotated:
            for extra in get_args(part)[1:]:
                if isinstance(extra, FieldInfo) and isinstance(extra.discriminator, str):
                    return extra.discriminator
    return None


def variants(annotation: object) -> list[type[Settings]]:
    """Every settings class that a field of this type may hold directly."""
    return list(_variants(annotation))


def _variants(annotation: object) -> Iterator[type[Settings]]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _variants(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _variants(member)
    elif isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation


def tags_of(variant: type[Settings], discriminator: str) -> tuple[Any, ...]:
    """The values of the discriminator that select this variant."""
    annotation = variant.model_fields[discriminator].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def settings_class(field: FieldInfo, table: Mapping[str, Any]) -> type[Settings] | None:
    """The class that reads this table, or None if none or more than one could."""
    classes = variants(field.annotation)
    tag = discriminator_of(field)
    if tag is not None:
        chosen = table.get(tag, variant_default(field))
        classes = [variant for variant in classes if chosen in tags_of(variant, tag)]
    return classes[0] if len(classes) == 1 else None


def element_class(field: FieldInfo | None) -> type[Settings] | None:
    """The class of each element of an array or of a table with free keys, if there is just one."""
    if field is None:
        return None
    classes = {one for member in get_args(field.annotation) for one in variants(member)}
    return classes.pop() if len(classes) == 1 else None


def variant_default(field: FieldInfo) -> object:
    """The tag of the field's default; None when the field has no default object."""
    tag = discriminator_of(field)
    return getattr(default_of(field), tag, None) if tag else None


def default_of(field: FieldInfo) -> object:
    """The field's default, made if a factory makes it; None when the field is required."""
    return None if field.is_required() else field.get_default(call_default_factory=True)
