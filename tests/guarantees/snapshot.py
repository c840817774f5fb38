"""Write down what guards the book: triggers, functions, constraints, indexes and grants, as the catalog has them.

`python -m tests.guarantees.snapshot` writes catalog_snapshot.txt anew; a change of a guard shows in its diff.
"""

import asyncio
from pathlib import Path

import asyncpg

from tests.support.postgres import Databases, running_server

SNAPSHOT = Path(__file__).parent / "catalog_snapshot.txt"

# One query per kind; each returns lines. System schemas and the runner's own table are left out.
_CATALOG = {
    "triggers": """
        select tgrelid::regclass || ': ' || pg_get_triggerdef(t.oid)
               || case tgenabled when 'O' then '' else ' -- enabled: ' || tgenabled::text end
        from pg_trigger t where not tgisinternal
    """,
    "functions": """
        select p.oid::regprocedure || case when prosecdef then ' security definer' else '' end || ' '
               || md5(prosrc)
        from pg_proc p where pronamespace in ('public'::regnamespace, 'inv'::regnamespace)
    """,
    # Since 18 a NOT NULL is a constraint; columns say it for all versions.
    "constraints": """
        select conrelid::regclass || ': ' || conname || ' ' || pg_get_constraintdef(c.oid)
               || case when convalidated then '' else ' not valid' end
        from pg_constraint c
        where connamespace in ('public'::regnamespace, 'inv'::regnamespace) and contype <> 'n' and conrelid <> 0
    """,
    "indexes": """
        select pg_get_indexdef(indexrelid) || case when indisvalid then '' else ' invalid' end
        from pg_index i join pg_class c on c.oid = i.indrelid where c.relnamespace = 'public'::regnamespace
    """,
    "columns": """
        select attrelid::regclass || '.' || attname || ' ' || format_type(atttypid, atttypmod)
               || case when attnotnull then ' not null' else '' end
               || coalesce(case attgenerated when 's' then ' generated ' else ' default ' end
                           || pg_get_expr(d.adbin, d.adrelid), '')
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and attnum > 0 and not attisdropped
    """,
    "grants on tables": """
        select c.oid::regclass || ': ' || grantee::regrole || ' '
               || string_agg(lower(privilege_type), ', ' order by privilege_type)
        from pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner)))
        where c.relnamespace in ('public'::regnamespace, 'inv'::regnamespace) and c.relkind in ('r', 'p', 'v')
          -- Since 17 owners also have MAINTAIN.
          and privilege_type <> 'MAINTAIN'
        group by c.oid, grantee
    """,
    "grants on columns": """
        select attrelid::regclass || '.' || attname || ': ' || grantee::regrole || ' ' || lower(privilege_type)
        from pg_attribute a join pg_class c on c.oid = a.attrelid, aclexplode(a.attacl)
        where c.relnamespace = 'public'::regnamespace and a.attacl is not null
    """,
    "schemas": """
        select nspname || ': owner ' || nspowner::regrole || ', '
               || string_agg(case grantee when 0 then 'public' else grantee::regrole::text end || ' '
                             || lower(privilege_type), ', ' order by grantee::regrole::text, privilege_type)
        from pg_namespace n, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
        where nspname in ('public', 'inv') group by nspname, nspowner
    """,
}


async def describe(dsn: str) -> str:
    """Describe the guards of a migrated database, in one order on every server."""
    connection = await asyncpg.connect(dsn)
    try:
        parts = []
        for kind, query in _CATALOG.items():
            lines = sorted(
                str(row[0]) for row in await connection.fetch(query) if "schema_migrations" not in str(row[0])
            )
            parts.append("\n".join([f"## {kind}", *lines]))
        return "\n\n".join(parts) + "\n"
    finally:
        await connection.close()


def main() -> None:
    """Write the snapshot anew."""
    with running_server() as server_dsn, Databases(server_dsn) as databases:
        SNAPSHOT.write_text(asyncio.run(describe(databases.fresh().dsn)))


if __name__ == "__main__":
    main()
