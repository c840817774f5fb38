-- read_counters --
-- WAL of the server, and the application's statements in this database: the bench's own run as another role.
select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') as wal_bytes,
       coalesce(sum(s.calls), 0) as statements, coalesce(sum(s.wal_fpi), 0) as full_page_images
from pg_stat_statements s
where s.userid = 'paymux_app'::regrole and s.dbid = (select oid from pg_database where datname = current_database())

-- hot_percent --
-- Updates that touched no index. Complete only once the API's connections are closed: backends report late.
select relname, round(100.0 * n_tup_hot_upd / n_tup_upd, 2) as hot_percent
from pg_stat_user_tables
where n_tup_upd > 0 and relname in ('payments', 'payment_attempts', 'idempotency_keys')
order by relname
