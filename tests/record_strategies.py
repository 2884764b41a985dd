"""Strategies of hypothesis for records of others: JSON values, YAML texts, and records with changed values."""

from __future__ import annotations

import copy
import json
from typing import Any

import yaml
from hypothesis import strategies as st

# What breaks a reader that expects another type or range.
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "${oc.env:HOME}",
    "???",
    "\x1b[2J",
    "\ud800",
    "=1+1",
    [],
    {},
    [[]],
    [{"a": 1}],
)

json_values = st.recursive(
    st.one_of(
        st.sampled_from(ODD_VALUES),
        st.integers(),
        st.floats(),
        st.text(),
        st.text(st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF), max_size=2),
    ),
    lambda values: st.one_of(st.lists(values, max_size=4), st.dictionaries(st.text(max_size=8), values, max_size=4)),
    max_leaves=12,
)

YAML_PARTS = (
    "a: 1\n",
    "b: &x [1]\n",
    "c: *x\n",
    "!!int ''\n",
    "!!binary é\n",
    "!!python/name:os.system\n",
    "? [1]\n: 2\n",
    "2001-99-99\n",
    "<<: {a: 1}\n",
    "1:60:9\n",
    "0x" + "f" * 5000 + "\n",
    "- " * 100,
    "--- 1\n",
    "%YAML 9.9\n",
)
# Signs that YAML gives a meaning, between letters.
yaml_texts = st.one_of(
    st.text(),
    st.text(st.sampled_from("ab1. \n-:,?[]{}#&*!|>'\"%@`<=~\t")),
    json_values.map(lambda value: yaml.safe_dump(value, allow_unicode=True) if _can_dump(value) else json.dumps(value)),
    st.lists(st.sampled_from(YAML_PARTS)).map("".join),
)


@st.composite
def changed_records(draw: st.DrawFn, record: dict[str, Any]) -> dict[str, Any]:
    """Draw the record with one to three of its values or keys changed, at any depth."""
    changed = copy.deepcopy(record)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(changed))
        if not places:
            break
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        if draw(st.booleans()):
            holder[key] = draw(json_values)
        else:
            del holder[key]
    return changed


def _places(value: Any) -> Any:
    """Yield (container, key or index) of everything inside a record."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(pairs):
        yield value, key
        yield from _places(child)


def _can_dump(value: Any) -> bool:
    try:
        yaml.safe_dump(value, allow_unicode=True).encode("utf-8")
    except (ValueError, yaml.YAMLError):
        return False
    return True
