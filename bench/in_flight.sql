-- count_connections --
-- Connections of the API to its database.
select count(*) from pg_stat_activity where datname = current_database() and application_name = 'paymux-api'
