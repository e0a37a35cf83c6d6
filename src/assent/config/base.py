"""The base of all settings and the number types they share.

Settings are frozen, refuse unknown keys and are documented by the string under each field, which
the command line, the JSON schema and the reference page all read. A field that may be None
defaults to None, because TOML has no null: that makes every object expressible as a file.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
"""A share or a probability, both ends included."""
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
"""A share or a probability, both ends excluded."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""Any seed that torch and numpy both take."""


class Settings(BaseModel):
    """Base of all settings: immutable, no unknown keys, documented where declared."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        ser_json_inf_nan="constants",
    )

    renamed: ClassVar[Mapping[str, str]] = {}
    """Keys of earlier versions and the dotted path that replaced each: named in the error only."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - pydantic's hook
        """Refuse a field that may be None and does not default to it."""
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            if type(None) in get_args(field.annotation) and (
                field.is_required() or field.get_default(call_default_factory=True) is not None
            ):
                message = f"{cls.__name__}.{name} may be None and so must default to None"
                raise TypeError(message)
