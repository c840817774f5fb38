-- read_server --
-- Read what a start-up has to know: whether this server keeps what it acknowledges, and as whom we are connected.
-- Locks: none.
select current_setting('server_version_num')::integer as version,
       current_setting('fsync') as fsync,
       current_setting('full_page_writes') as full_page_writes,
       current_setting('synchronous_commit') as synchronous_commit,
       current_user::text as role,
       (select r.rolsuper or r.rolbypassrls from pg_catalog.pg_roles r where r.rolname = current_user) as bypasses_guards,
       exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
               where n.nspname = 'public' and c.relkind in ('r', 'p')
                 and pg_catalog.pg_has_role(current_user, c.relowner, 'usage')) as owns_tables
