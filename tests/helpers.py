"""What several tests use."""

from typer.testing import CliRunner

from recbayes import cli


def recbayes(*arguments):
    """The command in this process: exit_code, stdout, stderr."""
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def listing(folder):
    """Every file of a folder with its bytes and time."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}
