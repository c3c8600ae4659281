-- What populate-all-statistics needs in the database, first part: the tables of jockeys, trainers and owners. The next
-- file has their statistics columns, and all else. Both may be run again at any time.

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
