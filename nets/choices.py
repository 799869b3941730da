"""Checks settings whose allowed values are listed by a `Literal`."""

from typing import Any, Literal, get_args, get_origin, get_type_hints


def check_choices(record: Any) -> None:
    """Checks every field of a dataclass that is annotated with a `Literal`.

    Dataclasses call it from `__post_init__`, so none can be created with an unknown value.

    Args:
        record: Instance of a dataclass.

    Raises:
        ValueError: A field has a value that its `Literal` does not list. The message names the
            field and lists the choices.
    """
    for name, kind in get_type_hints(type(record)).items():
        if get_origin(kind) is Literal and getattr(record, name) not in get_args(kind):
            choices = ", ".join(map(str, get_args(kind)))
            raise ValueError(f"{name} is {getattr(record, name)!r}; choose one of {choices}")
