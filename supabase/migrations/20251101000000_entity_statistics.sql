-- What populate-all-statistics needs in the database, first part: the statistics columns of jockeys, trainers and
-- owners, and indexes for the usual questions about them. The next file has the function that writes them.
-- May be run again at any time: what exists already stays as it is, other programs' columns included, and where
-- nothing is missing no table is locked.

-- Every column that is written: the one place to add a statistic. {run} and {runs} stand for an entity type's words,
-- as in src/entity-types.ts.
create or replace function public.populate_statistics_columns(entity_type text)
  returns table (column_name text, data_type text)
  language sql
  immutable
  set search_path = ''
as $$
  select replace(replace(statistic.name, '{runs}', words.runs), '{run}', words.run), statistic.data_type
  from (values
    ('last_{run}_date', 'date'),
    ('last_win_date', 'date'),
    ('days_since_last_{run}', 'integer'),
    ('days_since_last_win', 'integer'),
    ('recent_14d_{runs}', 'integer'),
    ('recent_14d_wins', 'integer'),
    ('recent_14d_win_rate', 'numeric(5, 2)'),
    ('recent_30d_{runs}', 'integer'),
    ('recent_30d_wins', 'integer'),
    ('recent_30d_win_rate', 'numeric(5, 2)'),
    ('stats_updated_at', 'timestamptz')
  ) as statistic (name, data_type)
  join (values ('jockeys', 'ride', 'rides'), ('trainers', 'runner', 'runs'), ('owners', 'runner', 'runs'))
    as words (entity_type, run, runs) on words.entity_type = populate_statistics_columns.entity_type
$$;

comment on function public.populate_statistics_columns(text) is
  'The columns that populate_statistics writes for jockeys, trainers or owners, and their types.';

do $$
declare
  entity_type text;
  table_name text;
  missing text;
begin
  -- Whoever waits for a table makes everybody queue behind it: somebody's open transaction must not stop all readers.
  perform set_config('lock_timeout', '5s', true);
  foreach entity_type in array array['jockeys', 'trainers', 'owners'] loop
    table_name := 'ra_' || entity_type;

    -- Only an empty database lacks these tables. With row level security from the start, the Data API shows a new
    -- table to nobody but the service role; an existing table keeps the access rules that its owner chose.
    if to_regclass('public.' || table_name) is null then
      execute format('create table public.%I (id text primary key, name text not null)', table_name);
      execute format('alter table public.%I enable row level security', table_name);
    end if;

    select string_agg(format('add column %I %s', column_name, data_type), ', ') into missing
    from public.populate_statistics_columns(entity_type)
    where not exists (
      select from pg_attribute
      where attrelid = to_regclass('public.' || table_name) and attname = column_name and not attisdropped
    );
    if missing is not null then
      execute format('alter table public.%I %s', table_name, missing);
    end if;

    -- Who was active lately, and who has the best recent win rate.
    for missing in
      select format('create index %I on public.%I (%I desc nulls last)', index_name, table_name, column_name)
      from public.populate_statistics_columns(entity_type)
      cross join lateral (select table_name || '_' || replace(column_name, '_30d', '') as index_name) as named
      where column_name in ('last_ride_date', 'last_runner_date', 'recent_30d_win_rate')
        and to_regclass('public.' || index_name) is null
    loop
      execute missing;
    end loop;

    -- As which the batch job reads and writes; on a plain Postgres that role does not exist.
    select format('grant select, update on public.%I to service_role', table_name) into missing
    from pg_roles
    where rolname = 'service_role' and not (
      has_table_privilege(oid, 'public.' || table_name, 'select')
      and has_table_privilege(oid, 'public.' || table_name, 'update')
    );
    if missing is not null then
      execute missing;
    end if;
  end loop;
exception
  when lock_not_available then
    raise exception 'Another session uses %: look for its open transaction in pg_stat_activity, end it, run this again.',
      table_name using errcode = 'lock_not_available';
  when insufficient_privilege then
    raise exception '% lacks something: run this as the owner of the table (%).', table_name, sqlerrm using
      errcode = 'insufficient_privilege';
end
$$;

-- PostgREST finds the columns only after it has read the schema anew.
notify pgrst, 'reload schema';
