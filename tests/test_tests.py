"""Tests that can fail: no assert whose message is a comparison."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("src", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def vacuous_asserts(code: str) -> list[int]:
    """Lines of each `assert a, b == c`: it checks `a` alone, and the comparison is its message."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Assert) and any(isinstance(part, ast.Compare) for part in _decided(node.msg))
    ]


def _decided(message: ast.expr | None) -> list[ast.expr]:
    """The message, and the parts of one that is a tuple, `and`, `or` or `not`."""
    if isinstance(message, ast.BoolOp):
        return [part for value in message.values for part in _decided(value)]
    if isinstance(message, ast.Tuple):
        return [part for value in message.elts for part in _decided(value)]
    if isinstance(message, ast.UnaryOp) and isinstance(message.op, ast.Not):
        return _decided(message.operand)
    return [] if message is None else [message]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_assert_has_comparison_as_message(path: Path) -> None:
    assert vacuous_asserts(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "code",
    [
        'assert metadata["mean"], metadata["std"] == ("[0.1]", "[0.4]")',
        "assert a, b in c",
        "assert a, b is None and c",
        "assert a, not b == c",
        "assert a, (b == c, d)",
    ],
)
def test_assert_with_comparison_as_message_is_found(code: str) -> None:
    assert vacuous_asserts(f"x = 1\n{code}\n") == [2]


@pytest.mark.parametrize(
    "code", ["assert a == b", "assert a == b, 'why'", "assert a == b, f'{a == b}'", "assert (a, b)"]
)
def test_other_asserts_are_not_found(code: str) -> None:
    assert vacuous_asserts(code) == []
