-- Expand: the fetch stage of jobs with a web address as input audio.
-- fetches: the job waits for its sound, not for a slot. fetched: the upload with this sound.
ALTER TABLE musicgen_jobs ADD COLUMN IF NOT EXISTS fetches boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS fetched text;
CREATE INDEX IF NOT EXISTS musicgen_jobs_fetched ON musicgen_jobs (fetched)
    WHERE fetched IS NOT NULL;
-- fetches: the worker serves the fetch stage; workers of older programs do not.
ALTER TABLE musicgen_workers ADD COLUMN IF NOT EXISTS fetches boolean NOT NULL DEFAULT false;
