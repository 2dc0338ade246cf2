"""Options that are declared as fields of dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from camsearch.commands.grouped import grouped


@dataclass(frozen=True)
class _Colour:
    red: Annotated[int, typer.Option(max=255, help="How red.")] = 7


@dataclass(frozen=True)
class _Paint(_Colour):
    matt: Annotated[bool, typer.Option("--matt", help="Not shiny.")] = False


@pytest.fixture
def run():
    app, got = typer.Typer(), []

    @app.command()
    @grouped
    def paint(
        ctx: typer.Context,
        wall: Annotated[str, typer.Argument()],
        *,
        paint: _Paint,
        coats: Annotated[int, typer.Option(help="How often.")] = 1,
    ) -> None:
        """Paint a wall."""
        got.append((sorted(ctx.params), wall, paint, coats))

    def invoke(*words):
        return CliRunner().invoke(app, words), got

    return invoke


def test_a_command_gets_its_options_as_a_dataclass(run):
    said, got = run("north", "--matt", "--red", "9", "--coats", "2")
    assert said.exit_code == 0, said.output
    assert got == [(["coats", "matt", "red", "wall"], "north", _Paint(red=9, matt=True), 2)]


def test_what_is_not_given_has_the_default_of_its_field(run):
    _, got = run("north")
    assert got[0][2:] == (_Paint(), 1)


def test_limits_and_help_are_those_of_the_fields_where_the_dataclass_stood(run):
    assert run("north", "--red", "256")[0].exit_code == 2
    page = run("--help")[0].output
    assert page.index("How red.") < page.index("Not shiny.") < page.index("How often.")
    assert "Paint a wall." in page
