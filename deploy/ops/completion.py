"""`completion`: what a shell is told so that it completes the command; and what it completes."""

from __future__ import annotations

import contextlib
import os

import click
from click.shell_completion import CompletionItem, get_completion_class

from deploy.ops.directories import Directories
from deploy.state.process import start_ticks
from deploy.state.scoreboard import Scoreboard, ScoreboardError

PROGRAM = "smart-factory"
VARIABLE = "_SMART_FACTORY_COMPLETE"
_SHELLS = ("bash", "zsh", "fish")
_UNITS = ("bare", "prune", "topup")
_CONSUMERS = ("purchase", "allocation", "session", "cache")


@click.command("completion", short_help="Print what makes a shell complete this command.")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of smart-factory for a SHELL.

    \b
    bash: eval "$(smart-factory completion bash)"   in ~/.bashrc
    zsh:  eval "$(smart-factory completion zsh)"    in ~/.zshrc, after compinit
    fish: smart-factory completion fish > ~/.config/fish/completions/smart-factory.fish
    """
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click knows these three
    root = context.find_root().command
    complete = found(root, {}, PROGRAM, VARIABLE)
    # Not source(): for bash it asks the machine's for its version, which is not where it is used.
    click.echo(complete.source_template % complete.source_vars(), nl=False)


def slots(
    context: click.Context,  # noqa: ARG001 - click's signature
    parameter: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """The slots of the cluster that runs; none, silently, where there is none."""
    return _beginning(incomplete, _slots())


def workers(
    context: click.Context,  # noqa: ARG001 - click's signature
    parameter: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """Whose lines `logs` can choose."""
    return _beginning(incomplete, [*_slots(), "master"])


def units(
    context: click.Context,  # noqa: ARG001 - click's signature
    parameter: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """Our units beside the service, as `logs` names them."""
    return _beginning(incomplete, [*_UNITS, *(f"consumer@{name}" for name in _CONSUMERS)])


def _slots() -> list[str]:
    with contextlib.suppress(OSError, ScoreboardError, click.ClickException):
        path = Directories.read(os.environ).runtime / "scoreboard"
        board = Scoreboard.open(path)
        master = board.master()
        if start_ticks(master.pid) == master.start_ticks:
            seated = {row.slot for row in board.rows() if row.slot}
            return [f"worker-{slot}" for slot in sorted({*range(1, master.wanted + 1), *seated})]
    return []


def _beginning(incomplete: str, names: list[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
