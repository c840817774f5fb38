-- Limits are settings of a merchant and of a key; what is not set is the default of the API.
alter table api_keys add column limits jsonb not null default '{}';
grant update (limits) on api_keys to paymux_app;

-- A limit that cannot be read would refuse every request of its key.
create function limits_readable(limits jsonb) returns boolean language sql immutable as $$
    select case when jsonb_typeof(limits) <> 'object' then false else (
        select coalesce(bool_and(coalesce(
            case l.key
                when 'rates' then l.value = 'none'
                when 'requests_per_second' then l.value ~ '^[1-9][0-9]{0,5}$'
                when 'confirms_per_second' then l.value ~ '^[1-9][0-9]{0,5}$'
                when 'same_key_per_second' then l.value ~ '^[1-9][0-9]{0,5}$'
            end, false)), true)
        from jsonb_each_text(limits) l) end
$$;
alter table merchants add constraint merchants_limits_readable check (limits_readable(limits));
alter table api_keys add constraint api_keys_limits_readable
    check (limits_readable(limits) and not limits ? 'confirms_per_second');
