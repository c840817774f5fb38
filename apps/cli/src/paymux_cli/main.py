"""`paymux`: run everything here, or one process of it; merchants and keys. Heavy imports wait for their command."""

import asyncio
import os
import sys
from typing import Annotated

import typer
from typer.core import TyperGroup

_LIMIT = "Repeat for several: rates=none, requests_per_second=100, same_key_per_second=5"


class _Border(TyperGroup):
    """Where every foreseen end of a command becomes one sentence on stderr; a bug keeps its traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
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
keys = typer.Typer(no_args_is_help=True, help="Create API keys.")
accounts = typer.Typer(no_args_is_help=True, help="Create gateway accounts.")
app.add_typer(merchants, name="merchants")
app.add_typer(keys, name="keys")
app.add_typer(accounts, name="accounts")


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
    merchant: Annotated[str, typer.Argument(help="The merchant's id, mer_…")],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "default",
    scope: Annotated[list[str] | None, typer.Option(help="A scope; repeat for several.")] = None,
    mode: Annotated[str, typer.Option(help="test or live.")] = "test",
    limit: Annotated[list[str] | None, typer.Option(help=f"{_LIMIT}; else its merchant's.")] = None,
) -> None:
    """Create an API key and print it; it is shown only now."""
    from paymux_cli.manage import new_key

    made = new_key(os.environ, merchant=merchant, name=name, scopes=scope, mode=mode, limits=limit or [])
    typer.echo(asyncio.run(made))


@accounts.command("create")
def create_account(
    merchant: Annotated[str, typer.Argument(help="The merchant's id, mer_…")],
    gateway: Annotated[str, typer.Argument(help="stripe, mock, flaky or instant.")],
    base_url: Annotated[str, typer.Option(help="The gateway's address.")],
    name: Annotated[str, typer.Option(help="How you call the account.")] = "default",
    priority: Annotated[int, typer.Option(help="Lower is tried first.")] = 100,
    mode: Annotated[str, typer.Option(help="test or live.")] = "test",
) -> None:
    """Create a gateway account; its secret key is read from standard input, not from the command line."""
    from paymux_cli.manage import new_account

    secret = "" if sys.stdin.isatty() else sys.stdin.readline().strip()
    made = new_account(
        os.environ, merchant, gateway, base_url=base_url, name=name, priority=priority, mode=mode, secret=secret
    )
    typer.echo(asyncio.run(made))


if __name__ == "__main__":
    app()
