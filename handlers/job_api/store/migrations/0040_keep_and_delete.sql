-- Expand: names and favourites of jobs, search in prompts and names, and deletions by owners.
ALTER TABLE musicgen_jobs ADD COLUMN IF NOT EXISTS name text,
    ADD COLUMN IF NOT EXISTS favourite boolean NOT NULL DEFAULT false;
CREATE INDEX IF NOT EXISTS musicgen_jobs_favourites
    ON musicgen_jobs (owner, created_at DESC, id) WHERE favourite;

-- Words of a job's name and prompts. Without these characters a word such as ac/dc would be a path.
CREATE OR REPLACE FUNCTION musicgen_words(name text, request jsonb) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT to_tsvector('pg_catalog.simple', translate(left(concat_ws(' ', name, request ->> 'prompt',
        (SELECT string_agg(word, ' ') FROM jsonb_array_elements_text(
            jsonb_path_query_array(request, '$.prompts[*]')
            || jsonb_path_query_array(request, '$.sections[*].prompt')) AS word)
    ), 20000), '/.-_@:&#=?', '          '))
$$;
CREATE INDEX IF NOT EXISTS musicgen_jobs_words
    ON musicgen_jobs USING gin (musicgen_words(name, request));

-- A row for each deleted job or upload. is_gone: its files were deleted. is_done: no worker of the
-- job can write others.
-- due_at: the next attempt. Local copies of other machines are found by it for a month.
CREATE TABLE IF NOT EXISTS musicgen_deletions (
    kind text NOT NULL CHECK (kind IN ('job', 'upload')),
    id text NOT NULL,
    owner text NOT NULL,
    queue_id bigint,
    is_gone boolean NOT NULL DEFAULT false,
    is_done boolean NOT NULL DEFAULT false,
    deleted_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, id)
);
CREATE INDEX IF NOT EXISTS musicgen_deletions_due ON musicgen_deletions (due_at) WHERE NOT is_done;
CREATE INDEX IF NOT EXISTS musicgen_deletions_time ON musicgen_deletions (deleted_at);

-- stored: the upload is complete. is_inline: the sound was inside the call of a job.
ALTER TABLE musicgen_uploads ADD COLUMN IF NOT EXISTS stored boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS is_inline boolean NOT NULL DEFAULT false;
UPDATE musicgen_uploads SET stored = true;
