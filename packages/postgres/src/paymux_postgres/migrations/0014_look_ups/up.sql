-- Look-ups are given out per gateway account, to all processes together, as parts of a second that follow each other. And
-- what was about to be sent once more is noted before it leaves.
create table lookup_budgets (
    merchant_id uuid not null,
    gateway_account_id uuid not null,
    -- All parts before this moment are somebody's.
    given_until timestamptz not null,
    -- One process reads the gateway's list, until this moment; and when that was begun last.
    listing_until timestamptz,
    listed_at timestamptz,
    primary key (merchant_id, gateway_account_id),
    foreign key (merchant_id, gateway_account_id) references gateway_accounts (merchant_id, id)
) with (fillfactor = 50);
grant select, insert on lookup_budgets to paymux_app;
grant update (given_until, listing_until, listed_at) on lookup_budgets to paymux_app;

alter table payment_attempts add column sending_since timestamptz;
grant update (sending_since) on payment_attempts to paymux_app;

-- What is counted is counted one by one; a check for which nobody was asked is taken back.
create or replace trigger attempts_ratchet after update of money_requested, was_requires_action, fence_count on payment_attempts for each row
    when (old.money_requested and not new.money_requested or old.was_requires_action and not new.was_requires_action
          or new.fence_count < old.fence_count or new.fence_count > old.fence_count + 1)
    execute function refuse_change('what was sent cannot be unsent, and is counted one by one');
create trigger attempts_checks_counted after update of check_count on payment_attempts for each row
    when (abs(new.check_count - old.check_count) > 1)
    execute function refuse_change('checks are counted one by one');
