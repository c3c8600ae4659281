-- What populate-all-statistics needs in the database: the statistics columns of jockeys, trainers and owners,
-- indexes for the usual questions about them, and one function that writes a whole batch.
-- May be run again at any time: what exists already stays as it is, other programs' columns included.

-- Only an empty database lacks these tables. With row level security from the start, the Data API shows a new table
-- to nobody but the service role; an existing table keeps the access rules that its owner chose.
do $$
declare
  missing_table text;
begin
  foreach missing_table in array array['ra_jockeys', 'ra_trainers', 'ra_owners'] loop
    continue when to_regclass('public.' || missing_table) is not null;
    execute format('create table public.%I (id text primary key, name text not null)', missing_table);
    execute format('alter table public.%I enable row level security', missing_table);
  end loop;
end
$$;

alter table public.ra_jockeys
  add column if not exists last_ride_date date,
  add column if not exists last_win_date date,
  add column if not exists days_since_last_ride integer,
  add column if not exists days_since_last_win integer,
  add column if not exists recent_14d_rides integer,
  add column if not exists recent_14d_wins integer,
  add column if not exists recent_14d_win_rate numeric(5, 2),
  add column if not exists recent_30d_rides integer,
  add column if not exists recent_30d_wins integer,
  add column if not exists recent_30d_win_rate numeric(5, 2),
  add column if not exists stats_updated_at timestamptz;

alter table public.ra_trainers
  add column if not exists last_runner_date date,
  add column if not exists last_win_date date,
  add column if not exists days_since_last_runner integer,
  add column if not exists days_since_last_win integer,
  add column if not exists recent_14d_runs integer,
  add column if not exists recent_14d_wins integer,
  add column if not exists recent_14d_win_rate numeric(5, 2),
  add column if not exists recent_30d_runs integer,
  add column if not exists recent_30d_wins integer,
  add column if not exists recent_30d_win_rate numeric(5, 2),
  add column if not exists stats_updated_at timestamptz;

alter table public.ra_owners
  add column if not exists last_runner_date date,
  add column if not exists last_win_date date,
  add column if not exists days_since_last_runner integer,
  add column if not exists days_since_last_win integer,
  add column if not exists recent_14d_runs integer,
  add column if not exists recent_14d_wins integer,
  add column if not exists recent_14d_win_rate numeric(5, 2),
  add column if not exists recent_30d_runs integer,
  add column if not exists recent_30d_wins integer,
  add column if not exists recent_30d_win_rate numeric(5, 2),
  add column if not exists stats_updated_at timestamptz;

-- Who has no statistics yet.
create index if not exists ra_jockeys_without_statistics on public.ra_jockeys (id) where stats_updated_at is null;
create index if not exists ra_trainers_without_statistics on public.ra_trainers (id) where stats_updated_at is null;
create index if not exists ra_owners_without_statistics on public.ra_owners (id) where stats_updated_at is null;

-- Who was active lately.
create index if not exists ra_jockeys_last_ride_date on public.ra_jockeys (last_ride_date desc nulls last);
create index if not exists ra_trainers_last_runner_date on public.ra_trainers (last_runner_date desc nulls last);
create index if not exists ra_owners_last_runner_date on public.ra_owners (last_runner_date desc nulls last);

-- Who has the best recent win rate.
create index if not exists ra_jockeys_recent_win_rate on public.ra_jockeys (recent_30d_win_rate desc nulls last);
create index if not exists ra_trainers_recent_win_rate on public.ra_trainers (recent_30d_win_rate desc nulls last);
create index if not exists ra_owners_recent_win_rate on public.ra_owners (recent_30d_win_rate desc nulls last);

-- Writes a batch of statistics in one statement: all of it or nothing. PostgREST alone cannot update many rows with
-- differing values (its issues 1959 and 4046), and an upsert would insert entities that do not exist.
--
-- entity_type: jockeys, trainers or owners.
-- statistics:  an array of {"id", every statistics column of the type}; instants as ISO text in UTC ("...Z").
-- Returns the ids that the table does not hold.
create or replace function public.populate_statistics(entity_type text, statistics jsonb) returns text[]
  language plpgsql
  volatile
  security invoker
  set search_path = ''
as $$
declare
  ride_columns constant text[] := array[
    'last_ride_date', 'last_win_date', 'days_since_last_ride', 'days_since_last_win',
    'recent_14d_rides', 'recent_14d_wins', 'recent_14d_win_rate',
    'recent_30d_rides', 'recent_30d_wins', 'recent_30d_win_rate', 'stats_updated_at'];
  run_columns constant text[] := array[
    'last_runner_date', 'last_win_date', 'days_since_last_runner', 'days_since_last_win',
    'recent_14d_runs', 'recent_14d_wins', 'recent_14d_win_rate',
    'recent_30d_runs', 'recent_30d_wins', 'recent_30d_win_rate', 'stats_updated_at'];
  statistics_columns text[];
  unknown_ids text[];
begin
  -- From here on the type is one of three constants, so that it may become part of the statement's text.
  statistics_columns := case entity_type
    when 'jockeys' then ride_columns
    when 'trainers' then run_columns
    when 'owners' then run_columns
  end;
  if statistics_columns is null then
    raise exception 'unknown entity type %', coalesce(quote_literal(entity_type), 'null')
      using errcode = 'invalid_parameter_value', hint = 'The entity types are jockeys, trainers and owners.';
  end if;
  if jsonb_typeof(statistics) is distinct from 'array' then
    raise exception 'statistics must be a JSON array of objects' using errcode = 'invalid_parameter_value';
  end if;

  -- A missing key would read as null and empty a column that nobody meant to empty.
  if exists (
    select from jsonb_array_elements(statistics) as entry
    where jsonb_typeof(entry) <> 'object' or entry ->> 'id' is null or not entry ?& statistics_columns
  ) then
    raise exception 'every object needs an id and each statistics column of %', entity_type
      using errcode = 'invalid_parameter_value', hint = 'The columns are ' || array_to_string(statistics_columns, ', ');
  end if;
  if exists (select from jsonb_array_elements(statistics) as entry group by entry ->> 'id' having count(*) > 1) then
    raise exception 'the same id occurs twice among the statistics' using errcode = 'invalid_parameter_value';
  end if;

  -- The table's own row type converts the values, so that stats_updated_at may be timestamptz or timestamp:
  -- the one honours the Z, the other ignores it, and both then hold UTC whatever the session's time zone.
  execute format(
    'with given as materialized (select * from jsonb_populate_recordset(null::public.%1$I, $1)),
     updated as (
       update public.%1$I as entity set %2$s from given where entity.id = given.id returning entity.id
     )
     select coalesce(array_agg(given.id::text order by given.id), ''{}'') from given
     where not exists (select from updated where updated.id = given.id)',
    'ra_' || entity_type,
    (select string_agg(format('%1$I = given.%1$I', column_name), ', ') from unnest(statistics_columns) as column_name)
  ) into unknown_ids using statistics;
  return unknown_ids;
end
$$;

comment on function public.populate_statistics(text, jsonb) is
  'Writes the statistics of many jockeys, trainers or owners at once; returns the ids that the table does not hold.';

-- Supabase lets every role call a new function; only the batch job may call this one. The roles do not exist on a
-- plain Postgres.
revoke execute on function public.populate_statistics(text, jsonb) from public;
do $$
declare
  api_role name;
begin
  for api_role in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
    execute format('revoke execute on function public.populate_statistics(text, jsonb) from %I', api_role);
  end loop;
  if exists (select from pg_roles where rolname = 'service_role') then
    grant execute on function public.populate_statistics(text, jsonb) to service_role;
    grant select, update on public.ra_jockeys, public.ra_trainers, public.ra_owners to service_role;
  end if;
end
$$;

-- PostgREST finds the function and the columns only after it has read the schema anew.
notify pgrst, 'reload schema';
