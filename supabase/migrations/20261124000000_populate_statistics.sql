-- What populate-all-statistics needs in the database, second part: the statistics columns of jockeys, trainers and
-- owners, indexes for the usual questions about them, one function that writes a whole batch, and updates that cost
-- Postgres little. It needs nothing of the first part but the tables, for `supabase db push` does not run that again
-- where an earlier version of it was applied.
-- May be run again at any time: what exists already stays as it is, other programs' columns included, and where
-- nothing is missing no table is locked.

-- One of the same name that has other words for its parameters, or another result, cannot be replaced: an earlier
-- version returned an array of ids.
do $$
declare
  signature text;
begin
  for signature in
    select wanted.signature
    from (values
      ('public.populate_statistics(text, jsonb)', 'entity_type text, statistics jsonb', 'jsonb'),
      ('public.populate_statistics_columns(text)', 'entity_type text', 'TABLE(column_name text, data_type text)')
    ) as wanted (signature, arguments, result)
    join pg_proc on pg_proc.oid = to_regprocedure(wanted.signature)
    where (pg_get_function_arguments(oid), pg_get_function_result(oid)) is distinct from (arguments, result)
  loop
    execute 'drop routine ' || signature;
  end loop;
end
$$;

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
        -- A view has none of its own.
        and exists (select from pg_class where oid = to_regclass('public.' || table_name) and relkind in ('r', 'p'))
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

-- Every run changes every row. An update is cheap (HOT, https://www.postgresql.org/docs/current/storage-hot.html) where
-- no indexed column changes and the new row fits into the page of the old one; otherwise it writes into every index.
do $$
declare
  table_name text;
  change text;
begin
  -- As above.
  perform set_config('lock_timeout', '5s', true);
  foreach table_name in array array['ra_jockeys', 'ra_trainers', 'ra_owners'] loop
    for change in
      -- An earlier version had this index, on a column that every run changes.
      select format('drop index public.%I', index_name)
      from concat(table_name, '_without_statistics') as index_name
      where to_regclass('public.' || index_name) is not null
      union all
      -- More than half of each new page stays free, for its rows' next versions: 2,000 rows that stand side by side are
      -- updated at once. A setting of the owner's stays; a view or a partitioned table has no pages.
      select format('alter table public.%I set (fillfactor = 40)', table_name)
      from pg_class
      where oid = to_regclass('public.' || table_name) and relkind = 'r' and not exists (
        select from unnest(reloptions) as setting where setting like 'fillfactor=%'
      )
    loop
      begin
        execute change;
      exception when insufficient_privilege then
        -- It works without, only less cheaply.
        raise warning 'Updates of % stay expensive (%): let the owner of the table run %', table_name, sqlerrm, change;
      end;
    end loop;
  end loop;
exception
  when lock_not_available then
    raise exception 'Another session uses %: look for its open transaction in pg_stat_activity, end it, run this again.',
      table_name using errcode = 'lock_not_available';
end
$$;

-- Writes a batch of statistics in one statement. PostgREST alone cannot update many rows with differing values (its
-- issues 1959 and 4046), and an upsert would insert entities that do not exist.
--
-- entity_type: jockeys, trainers or owners.
-- statistics:  an array of {"id", every statistics column of the type}; instants as ISO text in UTC ("...Z").
-- Returns what became of them; each id is counted once:
--   "written":   how many rows were written
--   "gone":      the ids that the table does not hold
--   "unreached": the ids of rows that the table shows but no update reaches, because of a trigger or a policy
--   "refused":   by id what the database said to the row, in a constraint or a trigger
-- A fault that may pass (a lock, a timeout, a connection) or is no row's own (a privilege) is raised, and then nothing
-- is written.
--
-- There is no `set search_path`: the table's own triggers run inside of it and may use names as they are found
-- in any other update. So that nothing of the same name takes their place, functions and tables are qualified here;
-- operators are not, and who may create some in a schema of the search path could offer others. Whatever runs has but
-- the caller's rights.
create or replace function public.populate_statistics(entity_type text, statistics jsonb) returns jsonb
  language plpgsql
  volatile
  security invoker
as $$
declare
  table_name constant text := 'ra_' || entity_type;
  statistics_columns constant text[] := array(
    select column_name from public.populate_statistics_columns(entity_type));
  -- Of what passes or concerns the whole database, by https://www.postgresql.org/docs/current/errcodes-appendix.html;
  -- other codes of classes 25, 55 and 58, and those of class XX, come out of a trigger that is wrong about one row.
  of_the_database constant text := '^(08|25006|40|53|55006|55P03|57|58000|58030)';
  update_rows text;
  id_type text;
  one jsonb;
  one_id text[];
  written text[];
  refused jsonb := '{}';
  lacking text;
  missing text[] := '{}';
  unreached text[] := '{}';
begin
  -- A type that has columns is one of three constants, so that it may become part of the statement's text.
  if statistics_columns = '{}' then
    raise exception 'unknown entity type %', coalesce(pg_catalog.quote_literal(entity_type), 'null')
      using errcode = 'invalid_parameter_value', hint = 'The entity types are jockeys, trainers and owners.';
  end if;
  if pg_catalog.jsonb_typeof(statistics) is distinct from 'array' then
    raise exception 'statistics must be a JSON array of objects' using errcode = 'invalid_parameter_value';
  end if;

  -- A missing key would read as null and empty a column that nobody meant to empty.
  if exists (
    select from pg_catalog.jsonb_array_elements(statistics) as entry
    where pg_catalog.jsonb_typeof(entry) <> 'object' or entry ->> 'id' is null or not entry ?& statistics_columns
  ) then
    raise exception 'every object needs an id and each statistics column of %', entity_type
      using errcode = 'invalid_parameter_value',
        hint = 'The columns are ' || pg_catalog.array_to_string(statistics_columns, ', ');
  end if;
  if exists (
    select from pg_catalog.jsonb_array_elements(statistics) as entry
    group by entry ->> 'id'
    having pg_catalog.count(*) > 1
  ) then
    raise exception 'the same id occurs twice among the statistics' using errcode = 'invalid_parameter_value';
  end if;

  -- Otherwise rows would be told as written without it.
  select pg_catalog.string_agg(column_name, ', ') into lacking
  from pg_catalog.unnest(statistics_columns) as column_name
  where not exists (
    select from pg_catalog.pg_attribute
    where attrelid = pg_catalog.to_regclass('public.' || table_name) and attname = column_name and not attisdropped
  );
  if lacking is not null then
    raise exception '% lacks %', table_name, lacking
      using errcode = 'undefined_column', hint = 'Apply supabase/migrations.';
  end if;

  -- The table's own types convert the values, so that stats_updated_at may be timestamptz or timestamp: the one
  -- honours the Z, the other ignores it, and both then hold UTC whatever the session's time zone. No other column is
  -- named, whatever its type demands, and none that Postgres computes is set. What a trigger has made of the row is
  -- returned here, the old one perhaps: it is written only where it holds the figures, and the instant or a later one.
  select
    pg_catalog.format(
      'with given as materialized (select * from pg_catalog.jsonb_to_recordset($1) as given (%s)),
       updated as (
         update public.%I as entity set %s from given where entity.id = given.id
         returning entity.id::text as id,
           coalesce(entity.stats_updated_at >= given.stats_updated_at, given.stats_updated_at is null)
             and (%s) as is_written
       )
       select coalesce(pg_catalog.array_agg(id) filter (where is_written), ''{}'') from updated',
      pg_catalog.string_agg(pg_catalog.format('%I %s', attname, pg_catalog.format_type(atttypid, atttypmod)), ', '),
      table_name,
      pg_catalog.string_agg(pg_catalog.format('%1$I = given.%1$I', attname), ', ')
        filter (where attname <> 'id' and attgenerated = ''),
      pg_catalog.string_agg(pg_catalog.format('entity.%1$I is not distinct from given.%1$I', attname), ' and ')
        filter (where attname not in ('id', 'stats_updated_at') and attgenerated = '')
    ),
    pg_catalog.min(pg_catalog.format_type(atttypid, atttypmod)) filter (where attname = 'id')
  into update_rows, id_type
  from pg_catalog.pg_attribute
  where attrelid = pg_catalog.to_regclass('public.' || table_name) and not attisdropped
    and (attname = 'id' or attname = any (statistics_columns));

  -- Otherwise it would be heard only when all is over, and could not be told of any row.
  set constraints all immediate;
  begin
    execute update_rows into written using statistics;
  exception when others or assert_failure then
    if sqlstate ~ of_the_database then
      raise;
    end if;
    -- Raises what is no row's fault, such as a privilege that is missing: it checks these, and no trigger runs.
    execute 'explain ' || update_rows using statistics;
    written := '{}';
    for one in select pg_catalog.jsonb_array_elements(statistics) loop
      begin
        execute update_rows into one_id using pg_catalog.jsonb_build_array(one);
        written := written || one_id;
      exception when others or assert_failure then
        if sqlstate ~ of_the_database then
          raise;
        end if;
        refused := refused
          || pg_catalog.jsonb_build_object(one ->> 'id', pg_catalog.format('%s (%s)', sqlerrm, sqlstate));
      end;
    end loop;
  end;

  -- Seldom, for it costs as much as the update.
  if pg_catalog.cardinality(written) < pg_catalog.jsonb_array_length(statistics) then
    missing := array(
      select entry ->> 'id' from pg_catalog.jsonb_array_elements(statistics) as entry
      where entry ->> 'id' <> all (written) and not refused ? (entry ->> 'id')
      order by 1
    );
    execute pg_catalog.format(
      'select array(select id::text from public.%I where id = any ($1::%s[]))', table_name, id_type
    ) into unreached using missing;
  end if;
  return pg_catalog.jsonb_build_object(
    'written', pg_catalog.cardinality(written),
    'gone', pg_catalog.to_jsonb(array(select id from pg_catalog.unnest(missing) as id where id <> all (unreached))),
    'unreached', pg_catalog.to_jsonb(unreached),
    'refused', refused
  );
end
$$;

comment on function public.populate_statistics(text, jsonb) is
  'Writes the statistics of many jockeys, trainers or owners at once; returns what became of each.';

-- Supabase lets every role call a new function; only the batch job may call the one that writes. The roles do not
-- exist on a plain Postgres.
revoke execute on function public.populate_statistics(text, jsonb) from public;
do $$
declare
  api_role name;
begin
  for api_role in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
    execute format('revoke execute on function public.populate_statistics(text, jsonb) from %I', api_role);
  end loop;
  if exists (select from pg_roles where rolname = 'service_role') then
    -- Also the columns: not every project lets all roles call a new function.
    grant execute on function public.populate_statistics(text, jsonb), public.populate_statistics_columns(text)
      to service_role;
  end if;
end
$$;

-- PostgREST finds the function only after it has read the schema anew.
notify pgrst, 'reload schema';
