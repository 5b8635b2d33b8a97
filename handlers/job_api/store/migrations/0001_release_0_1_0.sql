-- Expand: the tables of release 0.1.0, whose databases kept no versions.
-- Running this again changes nothing.

CREATE TABLE IF NOT EXISTS musicgen_keys (
    prefix text PRIMARY KEY,
    sha256 text NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    webhook_secret text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);

-- queue_id: the current run of a job. Writes of any other run are ignored.
-- maker: the worker of this run. streams: live audio is available.
CREATE TABLE IF NOT EXISTS musicgen_jobs (
    id text PRIMARY KEY,
    owner text NOT NULL,
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    request jsonb NOT NULL,
    request_hash text NOT NULL,
    idempotency_key text,
    priority integer NOT NULL DEFAULT 0,
    webhook_url text,
    webhook_queued boolean NOT NULL DEFAULT false,
    trace text,
    queue text NOT NULL,
    queue_id bigint,
    attempt integer NOT NULL DEFAULT 0,
    maker text,
    progress real NOT NULL DEFAULT 0,
    streams boolean NOT NULL DEFAULT false,
    result jsonb,
    error jsonb,
    audio_seconds real NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS musicgen_jobs_once
    ON musicgen_jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS musicgen_jobs_of_owner ON musicgen_jobs (owner, created_at DESC, id);
CREATE INDEX IF NOT EXISTS musicgen_jobs_unfinished
    ON musicgen_jobs (priority DESC, created_at) WHERE state IN ('queued', 'running');
CREATE INDEX IF NOT EXISTS musicgen_jobs_untold ON musicgen_jobs (id)
    WHERE webhook_url IS NOT NULL AND NOT webhook_queued;
CREATE INDEX IF NOT EXISTS musicgen_jobs_finished ON musicgen_jobs (finished_at);

CREATE TABLE IF NOT EXISTS musicgen_uploads (
    id text PRIMARY KEY,
    owner text NOT NULL,
    bytes bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS musicgen_workers (
    name text PRIMARY KEY,
    slots integer NOT NULL,
    makes text NOT NULL CHECK (makes IN ('local', 'remote')),
    models text[] NOT NULL,
    loading text,
    seen_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS musicgen_wanted (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    model text NOT NULL
);
-- The model requested last. error: why it could not be loaded; before: the default until it is.
ALTER TABLE musicgen_wanted ADD COLUMN IF NOT EXISTS error text,
    ADD COLUMN IF NOT EXISTS before text;

CREATE TABLE IF NOT EXISTS musicgen_spent (
    month text PRIMARY KEY,
    usd numeric NOT NULL DEFAULT 0
);

CREATE OR REPLACE FUNCTION musicgen_tell_of_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('musicgen_jobs', NEW.id);
    RETURN NULL;
END;
$$;
CREATE OR REPLACE TRIGGER musicgen_tell_of_job AFTER INSERT OR UPDATE ON musicgen_jobs
    FOR EACH ROW EXECUTE FUNCTION musicgen_tell_of_job();
