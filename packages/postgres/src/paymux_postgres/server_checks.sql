-- read_server --
-- Read what a start-up has to know: whether this server keeps what it acknowledges, and who logged in. A session that took
-- a smaller role can go back to its login by `reset role`, so the login is what counts.
-- Locks: none.
select current_setting('server_version_num')::integer as version,
       current_setting('fsync') as fsync,
       current_setting('full_page_writes') as full_page_writes,
       current_setting('synchronous_commit') as synchronous_commit,
       current_setting('cluster_name') as cluster,
       session_user::text as login,
       (select r.rolsuper or r.rolbypassrls from pg_catalog.pg_roles r where r.rolname = session_user) as bypasses_guards,
       pg_catalog.pg_has_role(session_user, n.nspowner, 'member')
           or exists (select from pg_catalog.pg_class c
                      where c.relnamespace = n.oid and c.relkind in ('r', 'p')
                        and pg_catalog.pg_has_role(session_user, c.relowner, 'member')) as may_become_owner
from pg_catalog.pg_namespace n where n.nspname = 'public'
