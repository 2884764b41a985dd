"""What every typed node of the config is: a dataclass whose instances cannot be changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import FrozenInstanceError, dataclass, field, fields
from typing import Any, TypeVar, cast

from omegaconf import MISSING
from typing_extensions import dataclass_transform

C = TypeVar("C", bound=type)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def node(cls: C) -> C:
    """Make a class a dataclass whose attributes are set once.

    ``dataclass(frozen=True)`` would do the same, but OmegaConf makes a read-only config of such a class, and nothing
    could be overridden any more.
    """

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if name in self.__dict__ or name not in {item.name for item in fields(self)}:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        self.__dict__[name] = value

    def __delattr__(self: Any, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    # Here and not in a base class: mypy would take a __setattr__ there as leave to assign any attribute.
    cls.__setattr__ = __setattr__  # type: ignore[method-assign, assignment]
    cls.__delattr__ = __delattr__  # type: ignore[method-assign, assignment]
    made: Any = dataclass(cls)
    return cast(C, made)


@node
class Option:
    """One option of a group.

    Attributes:
        name: of the option; no argument of its target.
        _target_: dotted path of what `build` calls.
    """

    name: str = MISSING
    _target_: str = MISSING

    def to_dict(self) -> dict[str, Any]:
        """The keys and values of the YAML, the nested nodes as mappings."""
        return {key: _plain(value) for key, value in vars(self).items()}


class Untyped(Option):
    """An option of the user's own YAML that is bound to no type: every key is an attribute.

    Args:
        values: as in the YAML. A field of the base type that they lack has its default, or is None.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(defaults(type(self)))
        self.__dict__.update(values)

    def __getattr__(self, key: str) -> Any:
        raise AttributeError(f"the option has no key {key}")


def defaults(kind: type[Option]) -> dict[str, Any]:
    """The defaults of a type's fields; None for a field that the YAML has to set."""
    found: dict[str, Any] = {}
    for item in fields(kind):
        default = item.default if item.default_factory is NO_DEFAULT else item.default_factory()
        found[item.name] = None if default == MISSING else default
    return found


def _plain(value: Any) -> Any:
    return value.to_dict() if isinstance(value, (Option, Part)) else copy.deepcopy(value)


@node
class Part:
    """A node below an option: a group of keys without a name or a target."""

    def to_dict(self) -> dict[str, Any]:
        """The keys and values of the YAML."""
        return {key: _plain(value) for key, value in vars(self).items()}
