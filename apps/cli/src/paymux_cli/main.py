"""`paymux`: run everything here, or one process of it; merchants and keys. Heavy imports wait for their command."""

import asyncio
import importlib
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from paymux_core.api_keys import Scope

_MERCHANT = typer.Argument(metavar="MERCHANT", help="The merchant's id, mer_…")
_LIMIT = "Repeat for several: rates=none, requests_per_second=100, same_key_per_second=5"


class Mode(StrEnum):
    """Whether real money moves."""

    TEST = "test"
    LIVE = "live"


def _import_structlog_alone() -> None:
    """Import structlog without rich, which it takes along for a printer we do not use: a third of the time to start."""
    if "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # how the import system says: not there
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]


class _Border(TyperGroup):
    """Where every foreseen end of a command becomes one sentence on stderr; a bug keeps its traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        _import_structlog_alone()
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            from paymux_cli.refusals import sentence_for

            end = sentence_for(error)
            if end is None:
                raise
            typer.echo(f"paymux: {end[0]}", err=True)
            raise typer.Exit(end[1]) from None


app = typer.Typer(
    cls=_Border,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="paymux, a self-hosted payment orchestrator.",
)
merchants = typer.Typer(no_args_is_help=True, help="Create and list merchants.")
keys = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")
accounts = typer.Typer(no_args_is_help=True, help="Gateway accounts: create, list, disable, enable; their webhooks.")
audit = typer.Typer(no_args_is_help=True, help="Check that what was written is still what is there.")
app.add_typer(audit, name="audit")
app.add_typer(merchants, name="merchants")
app.add_typer(keys, name="keys")
app.add_typer(accounts, name="accounts")


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"paymux {version('paymux')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """paymux, a self-hosted payment orchestrator."""


@app.command()
def run() -> None:
    """Start everything on this machine: Postgres, sandbox gateway, API, worker, a demo merchant."""
    from paymux_cli.run import run_everything

    raise typer.Exit(asyncio.run(run_everything(os.environ)))


@app.command()
def api() -> None:
    """Run one API process (needs PAYMUX_DATABASE_URL, PAYMUX_MASTER_KEY and PAYMUX_API_KEY_PEPPERS)."""
    from paymux_cli.serve import serve_api

    serve_api(os.environ)


@app.command()
def worker() -> None:
    """Run one worker process (needs PAYMUX_DATABASE_URL and PAYMUX_MASTER_KEY)."""
    from paymux_cli.serve import serve_worker

    serve_worker(os.environ)


@app.command()
def migrate() -> None:
    """Bring the database at PAYMUX_DATABASE_URL to this version's schema."""
    from paymux_cli.manage import migrate_database

    asyncio.run(migrate_database(os.environ))


@app.command()
def doctor(
    everything: Annotated[bool, typer.Option("--all", help="Check the whole book, however long that takes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Look for what is wrong and say what to do; exits with 0 (nothing), 1 (something) or 2 (it could not look)."""
    from paymux_cli.doctor import doctor as look

    raise typer.Exit(asyncio.run(look(os.environ, everything=everything, as_json=as_json)))


@app.command()
def torture(
    payments: Annotated[int, typer.Option(min=1, help="How many payments.")] = 2000,
    kills: Annotated[int, typer.Option(min=0, help="How many SIGKILLs, spread over API, worker and Postgres.")] = 40,
    seed: Annotated[int | None, typer.Option(help="Draws the same load, faults and kills again.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the home with logs, database and book.")] = False,
) -> None:
    """Kill processes under load on a stack of its own, then hold our tables against the gateway's book."""
    from paymux_cli.torture.command import TortureOptions, torture

    raise typer.Exit(asyncio.run(torture(TortureOptions(payments, kills, seed, keep))))


@merchants.command("create")
def create_merchant(
    name: Annotated[str, typer.Argument(help="How you call the merchant.")],
    limit: Annotated[list[str] | None, typer.Option(help=f"{_LIMIT} or confirms_per_second=25.")] = None,
) -> None:
    """Create a merchant and print its id."""
    from paymux_cli.manage import new_merchant

    typer.echo(asyncio.run(new_merchant(os.environ, name, limits=limit or [])))


@keys.command("create")
def create_key(
    merchant: Annotated[str, _MERCHANT],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "default",
    scope: Annotated[list[Scope] | None, typer.Option(help="Repeat for several; else read, write and confirm.")] = None,
    mode: Annotated[Mode, typer.Option(help="Whether real money moves.")] = Mode.TEST,
    limit: Annotated[list[str] | None, typer.Option(help=f"{_LIMIT}; else its merchant's.")] = None,
) -> None:
    """Create an API key and print it; it is shown only now."""
    from paymux_cli.manage import new_key

    made = new_key(os.environ, merchant=merchant, name=name, scopes=scope, mode=mode, limits=limit or [])
    typer.echo(asyncio.run(made))


@accounts.command("create")
def create_account(
    merchant: Annotated[str, _MERCHANT],
    gateway: Annotated[str, typer.Argument(help="stripe, mock, flaky or instant.")],
    base_url: Annotated[str, typer.Option(help="The gateway's address.")],
    name: Annotated[str, typer.Option(help="How you call the account.")] = "default",
    priority: Annotated[int, typer.Option(help="Lower is tried first.")] = 100,
    mode: Annotated[Mode, typer.Option(help="Whether real money moves.")] = Mode.TEST,
    yes_embedded: Annotated[
        bool, typer.Option("--yes-embedded", help="Live credentials on the embedded server, which is for trial.")
    ] = False,
) -> None:
    """Create a gateway account; its secret key is read from standard input, not from the command line."""
    from paymux_cli.manage import NewAccount, new_account

    new = NewAccount(gateway, base_url, name, priority, mode, _secret_from_stdin(), yes_embedded)
    typer.echo(asyncio.run(new_account(os.environ, merchant, new)))


@merchants.command("list")
def list_merchants() -> None:
    """Name all merchants."""
    from paymux_cli import listing

    _tell(asyncio.run(listing.merchants(os.environ)))


@keys.command("list")
def list_keys(merchant: Annotated[str, _MERCHANT]) -> None:
    """Name a merchant's keys; the tokens themselves are kept nowhere."""
    from paymux_cli import listing

    _tell(asyncio.run(listing.keys(os.environ, merchant)))


@keys.command("revoke")
def revoke_key(
    merchant: Annotated[str, _MERCHANT],
    key: Annotated[str, typer.Argument(help="The key's id, as `keys list` shows it.")],
) -> None:
    """End a key's life, everywhere within five seconds."""
    from paymux_cli import listing

    asyncio.run(listing.revoke(os.environ, merchant, key))


@accounts.command("list")
def list_accounts(merchant: Annotated[str, _MERCHANT]) -> None:
    """Name a merchant's gateway accounts in the order in which they are tried."""
    from paymux_cli import listing

    _tell(asyncio.run(listing.accounts(os.environ, merchant)))


@accounts.command("disable")
def disable_account(
    merchant: Annotated[str, _MERCHANT], account: Annotated[str, typer.Argument(help="The account's id, ga_…")]
) -> None:
    """Send no new payment through an account; what it has begun goes on."""
    from paymux_cli import listing

    asyncio.run(listing.set_status(os.environ, merchant, account, status="disabled"))


@accounts.command("enable")
def enable_account(
    merchant: Annotated[str, _MERCHANT], account: Annotated[str, typer.Argument(help="The account's id, ga_…")]
) -> None:
    """Send payments through an account again."""
    from paymux_cli import listing

    asyncio.run(listing.set_status(os.environ, merchant, account, status="enabled"))


@accounts.command("add-webhook-secret")
def add_webhook_secret(
    merchant: Annotated[str, _MERCHANT], account: Annotated[str, typer.Argument(help="The account's id, ga_…")]
) -> None:
    """Take a webhook secret from standard input; print where the gateway sends its webhooks. It is not shown again."""
    from paymux_cli import webhook_secrets

    typer.echo(asyncio.run(webhook_secrets.add(os.environ, merchant, account, secret=_secret_from_stdin())))


@accounts.command("roll-webhook-secret")
def roll_webhook_secret(
    merchant: Annotated[str, _MERCHANT],
    account: Annotated[str, typer.Argument(help="The account's id, ga_…")],
    at_once: Annotated[
        bool, typer.Option("--at-once", help="The secret before is worth nothing from now on: it leaked.")
    ] = False,
) -> None:
    """Take the next webhook secret from standard input; the one before goes on being accepted, until the next roll."""
    from paymux_cli import webhook_secrets

    secret = _secret_from_stdin()
    typer.echo(asyncio.run(webhook_secrets.roll(os.environ, merchant, account, secret=secret, at_once=at_once)))


@accounts.command("webhooks")
def list_webhooks(
    merchant: Annotated[str, _MERCHANT],
    account: Annotated[str, typer.Argument(help="The account's id, ga_…")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 20,
) -> None:
    """List what an account's gateway sent: when it came, what came of it, and why it was refused."""
    from paymux_cli import webhook_secrets

    _tell(asyncio.run(webhook_secrets.webhooks(os.environ, merchant, account, limit=limit)))


def _secret_from_stdin() -> str:
    return "" if sys.stdin.isatty() else sys.stdin.buffer.readline(1 << 16).decode(errors="replace").strip()


@audit.command("verify")
def verify(
    file: Annotated[Path | None, typer.Argument(help="A timeline's bundle; without one the database's seals.")] = None,
    head: Annotated[
        str | None, typer.Option(metavar="BLOCK:HASH", help="A head of the chain as it was logged: it must be there.")
    ] = None,
) -> None:
    """Hash a bundle, or everything that was sealed, again. The exit code is 1 if something no longer fits."""
    from paymux_cli.audit import verify_database, verify_file

    if file is None:
        typer.echo(asyncio.run(verify_database(os.environ, head=head)))
    else:
        typer.echo(verify_file(file))


def _tell(lines: Sequence[str]) -> None:
    for line in lines:
        typer.echo(line)


if __name__ == "__main__":
    app()
