"""``labrun completion SHELL``: the shell script for completing labrun's commands and hosts."""

from __future__ import annotations

import click

from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.verb import verb

__all__ = ["command"]


@verb("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(invocation: Invocation, shell: str) -> Report:
    """Print the shell code that completes labrun's command line.

    \b
    bash: eval "$(labrun completion bash)"      in ~/.bashrc
    zsh:  eval "$(labrun completion zsh)"       in ~/.zshrc
    fish: labrun completion fish > ~/.config/fish/completions/labrun.fish
    """
    from click.shell_completion import get_completion_class

    from labrun.runner.cli.shells import use_own_shells

    use_own_shells()
    shell_class = get_completion_class(shell)
    assert shell_class is not None, shell
    source = shell_class(click.get_current_context().find_root().command, {}, "labrun", "_LABRUN_COMPLETE")
    # source() of click's bash class runs bash to get its version. The text alone does not need that.
    script = source.source_template % source.source_vars()
    return Report(text=script, extra={"script": script})
