"""A command that finds nothing changed replaces nothing."""

from __future__ import annotations

from tests.support.compose import Stack, request
from tests.support.steady_load import steady_load


def containers(stack: Stack) -> dict[str, str]:
    """Return the names of all containers by their ids, those that have ended too."""
    listed = stack.compose("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Name}}")
    return dict(line.split() for line in listed.splitlines())


def test_plain_compose_up_replaces_nothing_after_make_up_and_make_scale(
    other_stack: Stack,
) -> None:
    def nothing_is_replaced_by(*command: str) -> None:
        before = containers(other_stack)
        with steady_load(lambda: request(f"{other_stack.url}/explore").status) as outcomes:
            other_stack.run(*command)
        assert containers(other_stack) == before
        assert set(outcomes) == {200}

    other_stack.make("up")
    code = other_stack.directory / "app" / "__init__.py"
    code.write_text(code.read_text() + "\nREVISION = 2\n")
    before = other_stack.containers("web")
    other_stack.make("up")
    assert other_stack.containers("web") != before
    other_stack.make("scale", "N=2")
    nothing_is_replaced_by("docker", "compose", "up", "--detach", "--wait")
    nothing_is_replaced_by("make", "up")
    assert len(other_stack.containers("web")) == 2
